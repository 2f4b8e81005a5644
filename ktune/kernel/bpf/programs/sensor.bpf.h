/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the sensors share: histograms with eight buckets an octave, a counter, and the filter.
 *
 * The kernel's structures are declared with the fields used alone; CO-RE finds their places when
 * the object is loaded, so no vmlinux.h is needed. A field that a kernel does not have makes the
 * load fail, and the loader says so.
 */
#ifndef KTUNE_SENSOR_BPF_H
#define KTUNE_SENSOR_BPF_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define KERNEL_TYPE __attribute__((preserve_access_index))

#define NULL ((void *)0)
#define SUB_BITS 3	/* 8 buckets an octave; ktune/kernel/bpf/histogram.py knows the same */
#define SLOTS 320	/* up to 2^42 ns, 73 minutes; the last bucket holds what is longer */

struct histogram {
	__u64 sum_ns;
	__u64 slot[SLOTS];
};

struct choice {
	__u64 from_ns;	/* CLOCK_MONOTONIC: what began earlier does not count; 0: nothing does */
	__u64 cgroup;	/* id of a cgroup2 group, what is below it counts too; 0: everything */
	__u64 device;	/* major << 20 | minor; 0: every disk */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct choice);
} choice SEC(".maps");

/* What counts now; NULL while nothing does. */
static __always_inline struct choice *chosen(void)
{
	__u32 zero = 0;
	struct choice *only = bpf_map_lookup_elem(&choice, &zero);

	return only && only->from_ns ? only : NULL;
}

#define HISTOGRAM							\
	struct {							\
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);		\
		__uint(max_entries, 1);					\
		__type(key, __u32);					\
		__type(value, struct histogram);			\
	} counts SEC(".maps")

#define COUNTER								\
	struct {							\
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);		\
		__uint(max_entries, 1);					\
		__type(key, __u32);					\
		__type(value, __u64);					\
	} counts SEC(".maps")

/* 0..7 have a bucket each; from 8 on the bucket is the exponent and the next three bits. */
static __always_inline __u64 bucket_of(__u64 value)
{
	__u64 rest = value, exponent = 0;

	if (value < 1 << SUB_BITS)
		return value;
	if (rest >> 32) { rest >>= 32; exponent += 32; }
	if (rest >> 16) { rest >>= 16; exponent += 16; }
	if (rest >> 8)  { rest >>= 8;  exponent += 8; }
	if (rest >> 4)  { rest >>= 4;  exponent += 4; }
	if (rest >> 2)  { rest >>= 2;  exponent += 2; }
	exponent += (rest >> 1) - SUB_BITS;
	return (exponent << SUB_BITS) + (value >> exponent);
}

/* A macro: each object has a `counts` of its own. */
#define RECORD(value_ns) do {						\
	__u32 zero_ = 0;						\
	struct histogram *h_ = bpf_map_lookup_elem(&counts, &zero_);	\
	if (h_) {							\
		__u64 ns_ = (value_ns), b_ = bucket_of(ns_);		\
		/* or clang proves the bound and the verifier can't */	\
		barrier_var(b_);					\
		if (b_ >= SLOTS)					\
			b_ = SLOTS - 1;					\
		h_->slot[b_]++;						\
		h_->sum_ns += ns_;					\
	}								\
} while (0)

#define COUNT(how_many) do {						\
	__u32 zero_ = 0;						\
	__u64 *c_ = bpf_map_lookup_elem(&counts, &zero_);		\
	if (c_)								\
		*c_ += (how_many);					\
} while (0)

struct kernfs_node {
	__u64 id;
} KERNEL_TYPE;

struct cgroup;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
} KERNEL_TYPE;

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
} KERNEL_TYPE;

#define DEEPEST 16

/* Whether a group is the chosen one or below it. */
static __always_inline int inside(struct cgroup *group, __u64 wanted)
{
	struct cgroup_subsys_state *above;
	int depth;

	for (depth = 0; depth < DEEPEST && group; depth++) {
		if (group->kn->id == wanted)
			return 1;
		above = group->self.parent;
		if (!above)
			return 0;
		group = above->cgroup;
	}
	return 0;
}

struct css_set {
	struct cgroup *dfl_cgrp;
} KERNEL_TYPE;

#endif
