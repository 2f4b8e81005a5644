/* SPDX-License-Identifier: GPL-2.0 */
/* The cgroup of a socket: softirqs work for sockets under any task. */
#ifndef KTUNE_SENSOR_SOCK_BPF_H
#define KTUNE_SENSOR_SOCK_BPF_H

#include "sensor.bpf.h"

struct sock_cgroup_data {
	struct cgroup *cgroup;
} KERNEL_TYPE;

struct sock {
	struct sock_cgroup_data sk_cgrp_data;
} KERNEL_TYPE;

static __always_inline int wanted(struct sock *sk)
{
	struct choice *only = chosen();

	return only && (!only->cgroup || inside(sk->sk_cgrp_data.cgroup, only->cgroup));
}

#endif
