// SPDX-License-Identifier: GPL-2.0
/* A ring buffer map (Linux >= 5.8), alone: see probe.bpf.c. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

SEC("raw_tp/sched_switch")
int probe_ring(void *ctx)
{
	void *sample = bpf_ringbuf_reserve(&ring, 8, 0);

	if (sample)
		bpf_ringbuf_discard(sample, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
