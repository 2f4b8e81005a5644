// SPDX-License-Identifier: GPL-2.0
/* Block latency: from handing a request to the driver to its completion. */
#include "sensor.bpf.h"

struct gendisk {
	int major;
	int first_minor;
} KERNEL_TYPE;

struct request_queue {
	struct gendisk *disk;
} KERNEL_TYPE;

struct request {
	struct request_queue *q;
} KERNEL_TYPE;

HISTOGRAM;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u64);
} issued SEC(".maps");

SEC("tp_btf/block_rq_issue")
int BPF_PROG(block_issue, struct request *request)
{
	struct choice *only = chosen();
	__u64 key = (__u64)request, now;

	if (!only)
		return 0;
	if (only->device) {
		struct gendisk *disk = request->q->disk;

		if (((__u64)disk->major << 20 | disk->first_minor) != only->device)
			return 0;
	}
	now = bpf_ktime_get_ns();
	bpf_map_update_elem(&issued, &key, &now, BPF_ANY);
	return 0;
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(block_complete, struct request *request)
{
	__u64 key = (__u64)request, *since = bpf_map_lookup_elem(&issued, &key);
	struct choice *only = chosen();

	if (!since)
		return 0;
	if (only && *since >= only->from_ns)
		RECORD(bpf_ktime_get_ns() - *since);
	bpf_map_delete_elem(&issued, &key);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
