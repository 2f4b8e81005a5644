// SPDX-License-Identifier: GPL-2.0
/*
 * The sensors on kernels without BTF: the same numbers from the classic tracepoints, of the whole
 * machine alone, and dearer (run-queue latency needs a hook on wakeups and a map of tasks).
 *
 * Without BTF nothing can be relocated: the fields are those of the events' `format` files, which
 * have kept these places since Linux 4.14 (include/trace/events/{sched,block}.h).
 */
#include "sensor.bpf.h"

struct sched_wakeup_fields {
	__u64 common;
	char comm[16];
	__u32 pid;
};

struct sched_switch_fields {
	__u64 common;
	char prev_comm[16];
	__u32 prev_pid;
	__u32 prev_prio;
	__u64 prev_state;
	char next_comm[16];
	__u32 next_pid;
};

struct block_rq_fields {
	__u64 common;
	__u32 dev;
	__u64 sector;
};

#define NOT_RUNNABLE 0xff	/* TASK_REPORT and idle; a higher bit marks a preempted task */

struct block_key {
	__u64 dev;
	__u64 sector;
};

HISTOGRAM;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u64);
} since SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct block_key);
	__type(value, __u64);
} issued SEC(".maps");

static __always_inline int start(__u32 thread)
{
	__u64 now = bpf_ktime_get_ns();

	if (thread && chosen())
		bpf_map_update_elem(&since, &thread, &now, BPF_ANY);
	return 0;
}

static __always_inline int stop(__u32 thread)
{
	__u64 *from = bpf_map_lookup_elem(&since, &thread);
	struct choice *only = chosen();

	if (!from)
		return 0;
	if (only && *from >= only->from_ns)
		RECORD(bpf_ktime_get_ns() - *from);
	bpf_map_delete_elem(&since, &thread);
	return 0;
}

static __always_inline int count(void)
{
	__u32 zero = 0;
	__u64 *counter = bpf_map_lookup_elem(&events, &zero);

	if (counter && chosen())
		*counter += 1;
	return 0;
}

SEC("tracepoint/sched/sched_wakeup")
int plain_wakeup(struct sched_wakeup_fields *fields)
{
	return start(fields->pid);
}

SEC("tracepoint/sched/sched_wakeup_new")
int plain_wakeup_new(struct sched_wakeup_fields *fields)
{
	return start(fields->pid);
}

SEC("tracepoint/sched/sched_switch")
int plain_switch(struct sched_switch_fields *fields)
{
	if (!(fields->prev_state & NOT_RUNNABLE))
		start(fields->prev_pid);
	return stop(fields->next_pid);
}

SEC("tracepoint/block/block_rq_issue")
int plain_issue(struct block_rq_fields *fields)
{
	struct block_key key = { fields->dev, fields->sector };
	struct choice *only = chosen();
	__u64 now;

	if (!only || (only->device && only->device != key.dev))
		return 0;
	now = bpf_ktime_get_ns();
	bpf_map_update_elem(&issued, &key, &now, BPF_ANY);
	return 0;
}

SEC("tracepoint/block/block_rq_complete")
int plain_complete(struct block_rq_fields *fields)
{
	struct block_key key = { fields->dev, fields->sector };
	__u64 *from = bpf_map_lookup_elem(&issued, &key);
	struct choice *only = chosen();

	if (!from)
		return 0;
	if (only && *from >= only->from_ns)
		RECORD(bpf_ktime_get_ns() - *from);
	bpf_map_delete_elem(&issued, &key);
	return 0;
}

SEC("tracepoint/vmscan/mm_vmscan_direct_reclaim_begin")
int plain_reclaim_begin(void *fields)
{
	return start(bpf_get_current_pid_tgid());
}

SEC("tracepoint/vmscan/mm_vmscan_direct_reclaim_end")
int plain_reclaim_end(void *fields)
{
	return stop(bpf_get_current_pid_tgid());
}

SEC("tracepoint/vmscan/mm_vmscan_memcg_reclaim_begin")
int plain_memcg_reclaim_begin(void *fields)
{
	return start(bpf_get_current_pid_tgid());
}

SEC("tracepoint/vmscan/mm_vmscan_memcg_reclaim_end")
int plain_memcg_reclaim_end(void *fields)
{
	return stop(bpf_get_current_pid_tgid());
}

SEC("tracepoint/tcp/tcp_retransmit_skb")
int plain_retransmits(void *fields)
{
	return count();
}

SEC("tracepoint/exceptions/page_fault_user")
int plain_page_faults(void *fields)
{
	return count();
}

char LICENSE[] SEC("license") = "GPL";
