/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The decision tree of a policy that adapts, in whole numbers; what
 * ktune/policy/tree.py does with the same tree. No kernel call in here.
 *
 * kt_tree_check() turns what user space sent, which may be anything, into a
 * tree that can be followed without a further check: it ends, and it never
 * leaves its arrays.
 */
#ifndef KT_TREE_H
#define KT_TREE_H

#include <linux/types.h>
#ifndef __KERNEL__
#include <stdbool.h>
#endif
#include "uapi/ktune_modes.h"

#define KT_NO_LEAF 0xff

enum kt_tree_fault {
	KT_TREE_GOOD,
	KT_TREE_UNKNOWN_VERSION,
	KT_TREE_BAD_SIZE,	/* too many nodes or leaves, or no leaf */
	KT_TREE_BAD_PACE,	/* sample, dwell or looks out of range */
	KT_TREE_BAD_PADDING,
	KT_TREE_BAD_REFERENCE,	/* backward, outside, or to one node twice */
	KT_TREE_TOO_DEEP,
	KT_TREE_LOOSE_END,	/* a node or leaf that nothing leads to */
	KT_TREE_BAD_THRESHOLD,
	KT_TREE_BAD_FEATURE,
	KT_TREE_UNREACHABLE,	/* a feature that the kernel can't count here */
	KT_TREE_FAULTS,
};

struct kt_node {
	__u64 threshold, stay_then, stay_otherwise;
	__u8 feature, then, otherwise;
	__u8 under_then, under_otherwise;	/* leaves, one bit each */
};

/* Checked: see kt_tree_check(). */
struct kt_tree {
	__u64 dwell_ns;
	__u32 sample_ms, looks;
	__u32 features;		/* that it asks for, one bit each */
	__u8 nodes, leaves, root, first;
	__u8 keeps;		/* enum ktune_keeps */
	struct kt_node node[KTUNE_TREE_NODES];
};

/* The leaf in force and what speaks for another. */
struct kt_choice {
	__u64 since_ns;
	__u32 times;		/* looks in a row that wanted another */
	__u8 leaf;
	__u8 wanted;		/* that other, or KT_NO_LEAF */
	bool free;		/* nothing is known yet: no dwell */
};

static inline bool kt_tree_is_leaf(__u8 ref)
{
	return ref & KTUNE_TREE_LEAF;
}

/* Is @ref, of node @from (-1: the root), in range and forward? */
static inline bool kt_tree_ref_ok(const struct ktune_tree *raw, int from,
				  __u8 ref)
{
	if (kt_tree_is_leaf(ref))
		return (ref & ~KTUNE_TREE_LEAF) < raw->leaves;
	return ref < raw->nodes && ref > from;
}

/* The leaves under @ref, a bit each; nodes behind it are done already. */
static inline __u8 kt_tree_under(const struct kt_tree *tree, __u8 ref)
{
	if (kt_tree_is_leaf(ref))
		return 1U << (ref & ~KTUNE_TREE_LEAF);
	return tree->node[ref].under_then | tree->node[ref].under_otherwise;
}

static inline enum kt_tree_fault kt_tree_check_node(const struct ktune_node *n,
						    __u32 known)
{
	unsigned int i;

	for (i = 0; i < sizeof(n->pad); i++)
		if (n->pad[i])
			return KT_TREE_BAD_PADDING;
	if (n->feature >= KTUNE_FEATURES)
		return KT_TREE_BAD_FEATURE;
	if (!(known & (1U << n->feature)))
		return KT_TREE_UNREACHABLE;
	if (n->threshold > KTUNE_THRESHOLD_MAX ||
	    n->stay_then > n->threshold ||
	    n->stay_otherwise < n->threshold ||
	    n->stay_otherwise > 2 * KTUNE_THRESHOLD_MAX)
		return KT_TREE_BAD_THRESHOLD;
	return KT_TREE_GOOD;
}

static inline enum kt_tree_fault kt_tree_check_head(const struct ktune_tree *raw)
{
	unsigned int i;

	if (raw->version != KTUNE_TREE_VERSION)
		return KT_TREE_UNKNOWN_VERSION;
	if (raw->nodes > KTUNE_TREE_NODES || !raw->leaves ||
	    raw->leaves > KTUNE_TREE_LEAVES || raw->first >= raw->leaves)
		return KT_TREE_BAD_SIZE;
	if (raw->sample_ms < KTUNE_TREE_SAMPLE_MS_MIN ||
	    raw->sample_ms > KTUNE_TREE_SAMPLE_MS_MAX ||
	    raw->dwell_ms > KTUNE_TREE_DWELL_MS_MAX ||
	    !raw->looks || raw->looks > KTUNE_TREE_LOOKS_MAX)
		return KT_TREE_BAD_PACE;
	if (raw->keeps >= KTUNE_KEEPS)
		return KT_TREE_BAD_PADDING;
	for (i = 0; i < sizeof(raw->pad); i++)
		if (raw->pad[i])
			return KT_TREE_BAD_PADDING;
	if (!kt_tree_ref_ok(raw, -1, raw->root))
		return KT_TREE_BAD_REFERENCE;
	return KT_TREE_GOOD;
}

/*
 * References lead forward, so one pass down the array meets each node after
 * its parent, and one pass up meets it after its children.
 */
static inline enum kt_tree_fault kt_tree_check_shape(const struct ktune_tree *raw)
{
	__u8 depth[KTUNE_TREE_NODES] = { 0 };	/* questions up to and with it */
	unsigned int i, k;

	if (!kt_tree_is_leaf(raw->root))
		depth[raw->root] = 1;
	for (i = 0; i < raw->nodes; i++) {
		const __u8 refs[2] = { raw->node[i].then, raw->node[i].otherwise };

		if (!depth[i])
			return KT_TREE_LOOSE_END;
		if (depth[i] > KTUNE_TREE_DEPTH)
			return KT_TREE_TOO_DEEP;
		for (k = 0; k < 2; k++) {
			if (!kt_tree_ref_ok(raw, i, refs[k]))
				return KT_TREE_BAD_REFERENCE;
			if (kt_tree_is_leaf(refs[k]))
				continue;
			if (depth[refs[k]])
				return KT_TREE_BAD_REFERENCE;
			depth[refs[k]] = depth[i] + 1;
		}
	}
	return KT_TREE_GOOD;
}

/*
 * @known: features that can be counted here, one bit each. *@tree is written
 * only where KT_TREE_GOOD is returned.
 */
static inline enum kt_tree_fault kt_tree_check(const struct ktune_tree *raw,
					       __u32 known,
					       struct kt_tree *tree)
{
	struct kt_tree t = { 0 };
	enum kt_tree_fault fault;
	unsigned int i;

	fault = kt_tree_check_head(raw);
	if (!fault)
		fault = kt_tree_check_shape(raw);
	for (i = 0; !fault && i < raw->nodes; i++)
		fault = kt_tree_check_node(&raw->node[i], known);
	if (fault)
		return fault;

	t.sample_ms = raw->sample_ms;
	t.dwell_ns = (__u64)raw->dwell_ms * 1000000;
	t.looks = raw->looks;
	t.nodes = raw->nodes;
	t.leaves = raw->leaves;
	t.root = raw->root;
	t.first = raw->first;
	t.keeps = raw->keeps;
	for (i = raw->nodes; i-- > 0;) {
		const struct ktune_node *from = &raw->node[i];
		struct kt_node *to = &t.node[i];

		to->threshold = from->threshold;
		to->stay_then = from->stay_then;
		to->stay_otherwise = from->stay_otherwise;
		to->feature = from->feature;
		to->then = from->then;
		to->otherwise = from->otherwise;
		to->under_then = kt_tree_under(&t, from->then);
		to->under_otherwise = kt_tree_under(&t, from->otherwise);
		t.features |= 1U << from->feature;
	}
	if (kt_tree_under(&t, t.root) != (1U << t.leaves) - 1)
		return KT_TREE_LOOSE_END;
	*tree = t;
	return KT_TREE_GOOD;
}

/*
 * The leaf for @found. @now: the leaf in force, or KT_NO_LEAF; a question on
 * the way to it keeps its answer until the feature is well past the threshold.
 */
static inline __u8 kt_tree_choose(const struct kt_tree *tree,
				  const __u64 found[KTUNE_FEATURES], __u8 now)
{
	__u8 in_force = now == KT_NO_LEAF ? 0 : 1U << now;
	__u8 ref = tree->root;

	while (!kt_tree_is_leaf(ref)) {
		const struct kt_node *n = &tree->node[ref];
		bool in_then = n->under_then & in_force;
		bool in_otherwise = n->under_otherwise & in_force;
		__u64 threshold = n->threshold;

		if (in_then && !in_otherwise)
			threshold = n->stay_then;
		else if (in_otherwise && !in_then)
			threshold = n->stay_otherwise;
		ref = found[n->feature] >= threshold ? n->then : n->otherwise;
	}
	return ref & ~KTUNE_TREE_LEAF;
}

/* Before the first look: free to switch at once, nobody knows the context. */
static inline struct kt_choice kt_tree_begin(const struct kt_tree *tree)
{
	struct kt_choice c = {
		.leaf = tree->first, .wanted = KT_NO_LEAF, .free = true,
	};

	return c;
}

/* After one more look; a new leaf only after the dwell and enough looks. */
static inline struct kt_choice kt_tree_follow(struct kt_choice c,
					      const struct kt_tree *tree,
					      const __u64 found[KTUNE_FEATURES],
					      __u64 now_ns)
{
	__u8 wanted = kt_tree_choose(tree, found, c.leaf);

	if (wanted == c.leaf) {
		c.wanted = KT_NO_LEAF;
		c.times = 0;
		return c;
	}
	c.times = wanted == c.wanted ? c.times + 1 : 1;
	c.wanted = wanted;
	if (c.times < tree->looks ||
	    (!c.free && now_ns - c.since_ns < tree->dwell_ns))
		return c;
	c.leaf = wanted;
	c.since_ns = now_ns;
	c.wanted = KT_NO_LEAF;
	c.times = 0;
	c.free = false;
	return c;
}

#endif
