// SPDX-License-Identifier: GPL-2.0
/*
 * One program for each attach type that ktune uses, each loaded and attached
 * alone by ktune.kernel.bpf.features: what a kernel takes is found by trying.
 * No map and no CO-RE here, so that a kernel without them is not blamed for
 * something else.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("cgroup/sysctl")
int probe_sysctl(struct bpf_sysctl *ctx)
{
	return 1;
}

SEC("tp_btf/sched_switch")
int probe_tp_btf(void *ctx)
{
	return 0;
}

SEC("raw_tp/sched_switch")
int probe_raw_tp(void *ctx)
{
	return 0;
}

SEC("tracepoint/sched/sched_switch")
int probe_tracepoint(void *ctx)
{
	return 0;
}

SEC("iter/task")
int probe_iter_task(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
