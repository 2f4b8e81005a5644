// SPDX-License-Identifier: GPL-2.0
/* Reading the task's network namespace by CO-RE, alone: see probe.bpf.c. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "writer.bpf.h"

SEC("cgroup/sysctl")
int probe_netns(struct bpf_sysctl *ctx)
{
	return writer_netns() != 0;
}

char LICENSE[] SEC("license") = "GPL";
