/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Who is running, by CO-RE: the network namespace, and whether it is a thread
 * of the kernel's own. Only the fields that are read are declared, libbpf finds their offsets in the kernel's BTF.
 * net_cookie is what SO_NETNS_COOKIE gives; a plain number since Linux 5.13.
 */
#ifndef KTUNE_WRITER_BPF_H
#define KTUNE_WRITER_BPF_H

#include <bpf/bpf_core_read.h>

struct net {
	__u64 net_cookie;
} __attribute__((preserve_access_index));

struct nsproxy {
	struct net *net_ns;
} __attribute__((preserve_access_index));

#define PF_KTHREAD	0x00200000	/* include/linux/sched.h; io_uring's workers do not have it since 5.12 */

struct task_struct {
	unsigned int flags;
	struct nsproxy *nsproxy;
} __attribute__((preserve_access_index));

/* Not inlined: its frame is gone before a deeper one is needed. */
static __noinline __u64 writer_netns(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct nsproxy *nsproxy = BPF_CORE_READ(task, nsproxy);

	if (!nsproxy)
		return 0;
	return BPF_CORE_READ(nsproxy, net_ns, net_cookie);
}

static __always_inline int writer_is_kernel_thread(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	return (BPF_CORE_READ(task, flags) & PF_KTHREAD) != 0;
}

#endif
