/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The network namespace of the running task, by CO-RE: only the fields that
 * are read are declared, libbpf finds their offsets in the kernel's BTF.
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

struct task_struct {
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

#endif
