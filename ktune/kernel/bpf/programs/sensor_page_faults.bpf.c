// SPDX-License-Identifier: GPL-2.0
/* Page faults that user space takes. */
#include "sensor.bpf.h"

struct task_struct {
	struct css_set *cgroups;
} KERNEL_TYPE;

COUNTER;

SEC("tp_btf/page_fault_user")
int BPF_PROG(page_faults)
{
	struct choice *only = chosen();
	struct task_struct *task;

	if (!only)
		return 0;
	if (only->cgroup) {
		task = (struct task_struct *)bpf_get_current_task_btf();
		if (!inside(task->cgroups->dfl_cgrp, only->cgroup))
			return 0;
	}
	COUNT(1);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
