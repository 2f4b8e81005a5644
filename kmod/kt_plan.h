/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which knobs a restore writes, and in which order: decisions only, as
 * ktune/proxy/planner.py has them. Three-way: live as we last saw it goes back
 * to the original; live as the original is left; anything else is somebody
 * else's and is kept. No kernel call in here: tests/kmod compares it with the
 * Python over random states.
 */
#ifndef KT_PLAN_H
#define KT_PLAN_H

#include <linux/types.h>
#ifndef __KERNEL__
#include <stdbool.h>
#endif
#include "uapi/ktune.h"

enum kt_verdict {
	KT_LEAVE,
	KT_PUT_BACK,
	KT_KEEP_FOREIGN,
	KT_IS_GONE,
};

struct kt_item {
	/* what is known */
	__u32 written;		/* number of our last write to it, 0: never */
	bool readable;
	bool at_original;	/* live == original */
	bool at_seen;		/* live == what we last saw; false when never */
	bool touched;		/* we have seen it after a write of ours */
	bool changed;		/* touched, and seen != original */
	bool pending;		/* written, and never read since */
	bool foreign;		/* somebody else's write was witnessed */
	bool moves;		/* the kernel moves it by itself */
	bool no_zero;		/* takes no 0 */
	bool original_zero;
	bool live_one;
	bool seen_zero;
	/* what is decided */
	bool unsure;
	bool was_restoring;
	bool listed;
	__u8 verdict;
	__u16 blockers;
};

struct kt_pair {
	__u16 from;
	__u16 to;
	__u8 kind;		/* enum ktune_couple_kind */
};

static inline __u8 kt_verdict_alone(const struct kt_item *item)
{
	if (!item->readable)
		return KT_IS_GONE;
	if (item->at_original)
		return KT_LEAVE;
	if (item->foreign)
		return KT_KEEP_FOREIGN;
	if (item->at_seen || item->unsure || item->moves)
		return KT_PUT_BACK;
	return KT_KEEP_FOREIGN;
}

/* Back already: a restore was cut short right after it. */
static inline bool kt_half_restored(const struct kt_item *item)
{
	return item->readable && item->at_original && item->changed;
}

/*
 * The 1 that a restore writes where both members of an either-or pair go back
 * to 0, left there by one that was cut short.
 */
static inline bool kt_stepping_stone(const struct kt_item *item,
				     const struct kt_item *partner)
{
	return item->readable && item->original_zero && item->live_one &&
	       partner->no_zero && partner->touched && !partner->seen_zero &&
	       partner->readable && partner->at_original && partner->original_zero;
}

static inline void kt_plan_verdicts(struct kt_item *items, unsigned int n,
				    const struct kt_pair *pairs, unsigned int np)
{
	unsigned int i, p;

	for (i = 0; i < n; i++)
		items[i].unsure = items[i].pending;
	for (p = 0; p < np; p++)
		if (items[pairs[p].from].pending && pairs[p].from != pairs[p].to)
			items[pairs[p].to].unsure = true;
	for (i = 0; i < n; i++)
		items[i].verdict = kt_verdict_alone(&items[i]);
	for (p = 0; p < np; p++) {
		struct kt_item *to = &items[pairs[p].to];

		if (pairs[p].kind == KTUNE_DRAGS && pairs[p].from != pairs[p].to &&
		    kt_half_restored(&items[pairs[p].from]) &&
		    to->verdict == KT_KEEP_FOREIGN && !to->foreign)
			to->verdict = KT_PUT_BACK;
	}
	for (p = 0; p < np; p++) {
		struct kt_item *item = &items[pairs[p].from];

		if (pairs[p].kind == KTUNE_EITHER_OR && !item->foreign &&
		    kt_stepping_stone(item, &items[pairs[p].to]))
			item->verdict = KT_PUT_BACK;
	}
	/* one foreign member keeps the pair: writing the other would zero it */
	for (i = 0; i < n; i++) {
		if (items[i].verdict != KT_KEEP_FOREIGN)
			continue;
		for (p = 0; p < np; p++)
			if (pairs[p].kind == KTUNE_EITHER_OR && pairs[p].from == i &&
			    items[pairs[p].to].verdict == KT_PUT_BACK)
				items[pairs[p].to].verdict = KT_KEEP_FOREIGN;
	}
	for (i = 0; i < n; i++)
		items[i].was_restoring = items[i].verdict == KT_PUT_BACK;
	for (p = 0; p < np; p++) {
		struct kt_item *to = &items[pairs[p].to];

		if (pairs[p].kind == KTUNE_DRAGS && pairs[p].from != pairs[p].to &&
		    items[pairs[p].from].was_restoring &&
		    (to->verdict == KT_LEAVE || to->verdict == KT_IS_GONE))
			to->verdict = KT_PUT_BACK;
	}
}

/*
 * What drags others along comes before them, else the order stays as given: a
 * later write would undo what was written to them.
 */
static inline void kt_plan_draggers_first(struct kt_item *items, __u16 *order,
					  unsigned int n,
					  const struct kt_pair *pairs, unsigned int np)
{
	unsigned int i, k, p;
	__u16 chosen;

	for (p = 0; p < np; p++)
		items[pairs[p].from].listed = false;
	for (i = 0; i < n; i++) {
		items[order[i]].listed = true;
		items[order[i]].blockers = 0;
	}
	for (p = 0; p < np; p++)
		if (pairs[p].kind == KTUNE_DRAGS && pairs[p].from != pairs[p].to &&
		    items[pairs[p].from].listed)
			items[pairs[p].to].blockers++;
	for (i = 0; i < n; i++) {
		for (k = i; k < n && items[order[k]].blockers; k++)
			;
		if (k == n)
			k = i;	/* a circle: as given */
		chosen = order[k];
		for (; k > i; k--)
			order[k] = order[k - 1];
		order[i] = chosen;
		for (p = 0; p < np; p++)
			if (pairs[p].kind == KTUNE_DRAGS && pairs[p].from == chosen &&
			    pairs[p].from != pairs[p].to && items[pairs[p].to].blockers)
				items[pairs[p].to].blockers--;
	}
}

/* The reverse of the writes, then what was only dragged along. */
static inline void kt_plan_order(struct kt_item *items, __u16 *order, unsigned int n,
				 const struct kt_pair *pairs, unsigned int np)
{
	unsigned int i, k;

	for (i = 0; i < n; i++) {
		for (k = i; k > 0 && items[order[k - 1]].written < items[i].written; k--)
			order[k] = order[k - 1];
		order[k] = i;
	}
	kt_plan_draggers_first(items, order, n, pairs, np);
}

/*
 * Whether the write of a 0 to one member of an either-or pair is left to the
 * other: writing one zeroes the other (kernel mm/page-writeback.c).
 */
static inline bool kt_plan_left_to_partner(bool no_zero, bool partner_wanted,
					   bool partner_zero)
{
	return partner_wanted && (!partner_zero || no_zero);
}

#endif
