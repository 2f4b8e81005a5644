// SPDX-License-Identifier: GPL-2.0
/*
 * Direct reclaim: how long a task that wants memory has to free some itself, because the machine
 * is short of it or because its memory cgroup is at its limit.
 */
#include "sensor.bpf.h"

struct task_struct {
	struct css_set *cgroups;
} KERNEL_TYPE;

HISTOGRAM;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u64);
} begun SEC(".maps");

static __always_inline int begin(void)
{
	struct choice *only = chosen();
	struct task_struct *task;
	__u32 thread;
	__u64 now;

	if (!only)
		return 0;
	if (only->cgroup) {
		task = (struct task_struct *)bpf_get_current_task_btf();
		if (!inside(task->cgroups->dfl_cgrp, only->cgroup))
			return 0;
	}
	thread = bpf_get_current_pid_tgid();
	now = bpf_ktime_get_ns();
	bpf_map_update_elem(&begun, &thread, &now, BPF_ANY);
	return 0;
}

static __always_inline int end(void)
{
	__u32 thread = bpf_get_current_pid_tgid();
	__u64 *since = bpf_map_lookup_elem(&begun, &thread);
	struct choice *only = chosen();

	if (!since)
		return 0;
	if (only && *since >= only->from_ns)
		RECORD(bpf_ktime_get_ns() - *since);
	bpf_map_delete_elem(&begun, &thread);
	return 0;
}

SEC("tp_btf/mm_vmscan_direct_reclaim_begin")
int BPF_PROG(reclaim_begin)
{
	return begin();
}

SEC("tp_btf/mm_vmscan_direct_reclaim_end")
int BPF_PROG(reclaim_end)
{
	return end();
}

SEC("tp_btf/mm_vmscan_memcg_reclaim_begin")
int BPF_PROG(memcg_reclaim_begin)
{
	return begin();
}

SEC("tp_btf/mm_vmscan_memcg_reclaim_end")
int BPF_PROG(memcg_reclaim_end)
{
	return end();
}

char LICENSE[] SEC("license") = "GPL";
