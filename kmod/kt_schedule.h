/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Collaboration by a schedule: user space tosses the coins beforehand, the
 * kernel switches and stamps each window, so that a user space that stalls
 * can't make one arm's windows longer than the other's. No kernel call in here.
 *
 * A window lasts window_ms from the moment its arm was in force, not from a
 * fixed grid: a slow switch shortens nobody's window.
 */
#ifndef KT_SCHEDULE_H
#define KT_SCHEDULE_H

#include <linux/types.h>
#ifndef __KERNEL__
#include <stdbool.h>
#endif
#include "uapi/ktune_modes.h"

#define KT_SLOT_LAST 15	/* KTUNE_SLOTS_MAX - 1 */
#define KT_SCHEDULE_WORDS (KTUNE_WINDOWS_MAX / 64)

enum kt_schedule_fault {
	KT_SCHEDULE_GOOD,
	KT_SCHEDULE_UNKNOWN_VERSION,
	KT_SCHEDULE_BAD_SIZE,	/* no window, too many, or half a pair */
	KT_SCHEDULE_BAD_PACE,
	KT_SCHEDULE_BAD_SLOT,
	KT_SCHEDULE_BAD_PADDING,	/* bits behind the last window */
	KT_SCHEDULE_ONE_SIDED,	/* a pair with one arm twice */
	KT_SCHEDULE_FAULTS,
};

enum kt_turn {
	KT_TURN_WAIT,		/* until due_ns */
	KT_TURN_SWITCH,		/* to kt_schedule_arm() of window, then _began() */
	KT_TURN_OVER,
};

struct kt_schedule {
	__u64 window_ns;
	__u64 due_ns;
	__u32 windows;
	__u32 window;		/* under way or, before the first, 0 */
	__u32 slot;		/* the candidate's */
	bool started;
	bool over;
	__u64 bits[KT_SCHEDULE_WORDS];
};

static inline __u8 kt_schedule_arm(const __u64 bits[KT_SCHEDULE_WORDS],
				   __u32 window)
{
	return bits[window / 64] >> (window % 64) & 1;
}

static inline enum kt_schedule_fault
kt_schedule_check(const struct ktune_schedule *raw, struct kt_schedule *s)
{
	__u32 i;

	if (raw->version != KTUNE_SCHEDULE_VERSION)
		return KT_SCHEDULE_UNKNOWN_VERSION;
	if (!raw->windows || raw->windows > KTUNE_WINDOWS_MAX ||
	    raw->windows % 2)
		return KT_SCHEDULE_BAD_SIZE;
	if (raw->window_ms < KTUNE_WINDOW_MS_MIN ||
	    raw->window_ms > KTUNE_WINDOW_MS_MAX)
		return KT_SCHEDULE_BAD_PACE;
	if (!raw->slot || raw->slot > KT_SLOT_LAST)
		return KT_SCHEDULE_BAD_SLOT;
	for (i = 0; i < raw->windows; i += 2)
		if (kt_schedule_arm(raw->bits, i) ==
		    kt_schedule_arm(raw->bits, i + 1))
			return KT_SCHEDULE_ONE_SIDED;
	for (; i < KTUNE_WINDOWS_MAX; i++)
		if (kt_schedule_arm(raw->bits, i))
			return KT_SCHEDULE_BAD_PADDING;

	s->window_ns = (__u64)raw->window_ms * 1000000;
	s->due_ns = 0;
	s->windows = raw->windows;
	s->window = 0;
	s->slot = raw->slot;
	s->started = false;
	s->over = false;
	for (i = 0; i < KT_SCHEDULE_WORDS; i++)
		s->bits[i] = raw->bits[i];
	return KT_SCHEDULE_GOOD;
}

static inline void kt_schedule_end(struct kt_schedule *s,
				   struct ktune_stamp *stamp, __u64 now_ns)
{
	stamp->ended_ns = now_ns;
	if (!stamp->begun_ns)
		return;
	if (now_ns - stamp->begun_ns > s->window_ns + s->window_ns / 10)
		stamp->flags |= KTUNE_STAMP_LATE;
}

/* What to do now. @stamps: one for each window, zero in the beginning. */
static inline enum kt_turn kt_schedule_turn(struct kt_schedule *s,
					    struct ktune_stamp *stamps,
					    __u64 now_ns)
{
	if (s->over)
		return KT_TURN_OVER;
	if (s->started) {
		if (now_ns < s->due_ns)
			return KT_TURN_WAIT;
		kt_schedule_end(s, &stamps[s->window], now_ns);
		if (s->window + 1 == s->windows) {
			s->over = true;
			return KT_TURN_OVER;
		}
		s->window++;
	}
	s->started = true;
	stamps[s->window].window = s->window;
	stamps[s->window].arm = kt_schedule_arm(s->bits, s->window);
	stamps[s->window].asked_ns = now_ns;
	return KT_TURN_SWITCH;
}

/* The switch is done. One that failed ends the schedule. */
static inline void kt_schedule_began(struct kt_schedule *s,
				     struct ktune_stamp *stamps, __u64 now_ns,
				     bool failed)
{
	struct ktune_stamp *stamp = &stamps[s->window];

	s->due_ns = now_ns + s->window_ns;
	if (failed) {
		stamp->flags |= KTUNE_STAMP_FAILED;
		stamp->ended_ns = now_ns;
		s->over = true;
	} else {
		stamp->begun_ns = now_ns;
	}
}

/* Ended from outside. */
static inline void kt_schedule_cut(struct kt_schedule *s,
				   struct ktune_stamp *stamps, __u64 now_ns)
{
	if (s->started && !s->over) {
		kt_schedule_end(s, &stamps[s->window], now_ns);
		stamps[s->window].flags |= KTUNE_STAMP_CUT;
	}
	s->over = true;
}

/* How many stamps there are to read. */
static inline __u32 kt_schedule_stamped(const struct kt_schedule *s)
{
	return s->started ? s->window + 1 : 0;
}

#endif
