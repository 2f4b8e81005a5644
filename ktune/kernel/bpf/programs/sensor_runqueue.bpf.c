// SPDX-License-Identifier: GPL-2.0
/*
 * Run-queue latency: how long the task that runs next has waited on this queue.
 *
 * The kernel notes when a task was queued for its own run_delay (kernel/sched/stats.h,
 * CONFIG_SCHED_INFO), and clears it after this tracepoint. Reading that beside the queue's clock
 * needs no hook on wakeups, no map of tasks and no clock of our own: a third of the cost. A task
 * that was moved to another queue while it waited counts from the move.
 */
#include "sensor.bpf.h"

struct sched_info {
	unsigned long long last_queued;
} KERNEL_TYPE;

struct rq {
	__u64 clock;
} KERNEL_TYPE;

struct cfs_rq {
	struct rq *rq;
} KERNEL_TYPE;

struct sched_entity {
	struct cfs_rq *cfs_rq;
} KERNEL_TYPE;

struct task_struct {
	struct sched_entity se;
	struct sched_info sched_info;
	struct css_set *cgroups;
} KERNEL_TYPE;

HISTOGRAM;

SEC("tp_btf/sched_switch")
int BPF_PROG(runqueue, _Bool preempt, struct task_struct *prev, struct task_struct *next)
{
	__u64 queued = next->sched_info.last_queued, now;
	struct choice *only;

	if (!queued)	/* the idle task */
		return 0;
	only = chosen();
	if (!only || (only->cgroup && !inside(next->cgroups->dfl_cgrp, only->cgroup)))
		return 0;
	/* Of any class: a task always has the CPU's fair queue of its group. */
	now = next->se.cfs_rq->rq->clock;
	RECORD(now > queued ? now - queued : 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
