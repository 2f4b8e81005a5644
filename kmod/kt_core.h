/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The mode machine: a pure function from state and event to state and command
 * bits, as ktune/modes/machine.py has it, with what the kernel can decide by
 * itself. No kernel call in here: the same text is built into the module, into
 * a KUnit suite and into a shared object that is tested against the Python.
 */
#ifndef KT_CORE_H
#define KT_CORE_H

#include <linux/types.h>
#ifndef __KERNEL__
#include <stdbool.h>
#endif
#include "uapi/ktune_modes.h"

enum kt_mode {
	KT_IDLE = KTUNE_MODE_IDLE,
	KT_LEARNING = KTUNE_MODE_LEARNING,
	KT_COLLABORATION = KTUNE_MODE_COLLABORATION,
	KT_RECOMMENDATION = KTUNE_MODE_RECOMMENDATION,
	KT_EMERGENCY = KTUNE_MODE_EMERGENCY,
	KT_MODES,
};

/* The first are user space's to tell: enum ktune_event. */
enum kt_event {
	KT_STARTED = KTUNE_EVENT_STARTED,
	KT_FINALISTS = KTUNE_EVENT_FINALISTS,
	KT_NO_FINALIST = KTUNE_EVENT_NO_FINALIST,
	KT_CONFIRMED = KTUNE_EVENT_CONFIRMED,
	KT_WATCH = KTUNE_EVENT_WATCH,
	KT_REGRESSED = KTUNE_EVENT_REGRESSED,
	KT_POLICY_GONE = KTUNE_EVENT_POLICY_GONE,
	KT_TRIPPED = KTUNE_EVENT_TRIPPED,
	KT_FOREIGN = KTUNE_EVENT_FOREIGN,
	KT_CRITICAL = KTUNE_EVENT_CRITICAL,
	KT_CLEARED = KTUNE_EVENT_CLEARED,
	KT_CLOSED,		/* user space has gone: the file was closed */
	KT_EXPIRED,		/* user space is silent: the deadline passed */
	KT_LOST,		/* a restore could not be verified */
	KT_QUIET,		/* the quiet time is over */
	KT_EVENTS,
};

/* What the caller does next, from the lowest bit up. */
enum kt_command {
	KT_DO_RESTORE	= 1 << 0,	/* the baseline, verified */
	KT_DO_INFEASIBLE = 1 << 1,	/* the candidate under test is infeasible */
	KT_DO_WAIT_QUIET = 1 << 2,	/* leave the machine alone for a while */
	KT_DO_SEARCH	= 1 << 3,
	KT_DO_CONFIRM	= 1 << 4,
	KT_DO_LOCK_OUT	= 1 << 5,	/* the policy is refused for a while */
	KT_DO_RETURN	= 1 << 6,	/* end a holdback: the policy is in force */
	KT_DO_VOID	= 1 << 7,	/* the pair under way does not count */
	KT_DO_RESTART	= 1 << 8,	/* the tests begin anew */
	KT_DO_APPLY	= 1 << 9,	/* put the policy in force */
	KT_DO_KEEP	= 1 << 10,	/* somebody else's value stays */
	KT_DO_ALERT	= 1 << 11,
	KT_DO_REFUSE	= 1 << 12,	/* no recommendation is applied any more */
	KT_DO_END	= 1 << 13,
};

enum kt_write {
	KT_RESTORE,		/* the baseline, for good */
	KT_CANDIDATE,		/* a candidate, or the baseline beside it */
	KT_POLICY,
	KT_HOLDBACK,		/* the baseline for one window */
	KT_WRITES,
};

/* Decided beforehand. */
struct kt_conduct {
	__u32 max_trips;	/* this trip is an emergency; 1..KTUNE_TRIPS_MAX */
	bool stays;		/* a policy outlives its watcher */
	bool reapplies;		/* a foreign write is written over, else kept */
};

struct kt_state {
	enum kt_mode mode;
	__u32 trips;
	bool unguarded;		/* the policy has outlived its watcher */
	struct kt_conduct conduct;
};

struct kt_step {
	struct kt_state state;
	__u32 commands;		/* of enum kt_command */
};

/* The way back is always open. */
static inline bool kt_may(struct kt_state s, enum kt_write write)
{
	if (write == KT_RESTORE)
		return true;
	if (write == KT_CANDIDATE)
		return s.mode == KT_LEARNING || s.mode == KT_COLLABORATION;
	return s.mode == KT_RECOMMENDATION;
}

static inline struct kt_step kt_to(struct kt_state s, enum kt_mode mode,
				   __u32 commands)
{
	struct kt_step step = { .state = s, .commands = commands };

	step.state.mode = mode;
	step.state.unguarded = false;
	return step;
}

static inline struct kt_step kt_stay(struct kt_state s, __u32 commands)
{
	struct kt_step step = { .state = s, .commands = commands };

	return step;
}

static inline struct kt_step kt_emergency(struct kt_state s, __u32 more)
{
	return kt_to(s, KT_EMERGENCY,
		     KT_DO_RESTORE | KT_DO_REFUSE | KT_DO_END | more);
}

static inline struct kt_step kt_unguarded(struct kt_state s)
{
	s.unguarded = true;
	return kt_stay(s, KT_DO_RETURN | KT_DO_VOID | KT_DO_END);
}

static inline struct kt_step kt_from_idle(struct kt_state s, enum kt_event e)
{
	switch (e) {
	case KT_STARTED:
		return kt_to(s, KT_LEARNING, KT_DO_SEARCH);
	case KT_WATCH:
		return kt_to(s, KT_RECOMMENDATION, KT_DO_APPLY);
	case KT_CLOSED:
	case KT_EXPIRED:
		return kt_to(s, KT_IDLE, KT_DO_RESTORE | KT_DO_END);
	default:
		return kt_stay(s, 0);
	}
}

static inline struct kt_step kt_while_tuning(struct kt_state s,
					     enum kt_event e)
{
	bool learning = s.mode == KT_LEARNING;

	switch (e) {
	case KT_STARTED:
		return kt_stay(s, learning ? KT_DO_SEARCH : 0);
	case KT_FINALISTS:
		if (!learning)
			return kt_stay(s, 0);
		return kt_to(s, KT_COLLABORATION, KT_DO_CONFIRM);
	case KT_NO_FINALIST:
		if (!learning)
			return kt_stay(s, 0);
		return kt_to(s, KT_IDLE, KT_DO_RESTORE | KT_DO_END);
	case KT_CONFIRMED:
	case KT_CLOSED:
		return kt_to(s, KT_IDLE, KT_DO_RESTORE | KT_DO_END);
	case KT_EXPIRED:
		return kt_emergency(s, 0);
	case KT_TRIPPED:
		s.trips++;
		if (s.trips >= s.conduct.max_trips)
			return kt_emergency(s, 0);
		return kt_stay(s, KT_DO_RESTORE | KT_DO_INFEASIBLE |
				  KT_DO_WAIT_QUIET);
	case KT_FOREIGN:
		return kt_stay(s, KT_DO_VOID);
	default:
		return kt_stay(s, 0);
	}
}

static inline struct kt_step kt_while_watching(struct kt_state s,
					       enum kt_event e)
{
	switch (e) {
	case KT_TRIPPED:
		return kt_emergency(s, KT_DO_LOCK_OUT);
	case KT_REGRESSED:
		return kt_to(s, KT_IDLE,
			     KT_DO_RESTORE | KT_DO_LOCK_OUT | KT_DO_END);
	case KT_WATCH:		/* a watcher again, after the last one died */
		s.unguarded = false;
		return kt_stay(s, KT_DO_APPLY);
	case KT_FOREIGN:
		return kt_stay(s, KT_DO_VOID | KT_DO_RESTART | KT_DO_ALERT |
			       (s.conduct.reapplies ? KT_DO_APPLY : KT_DO_KEEP));
	case KT_POLICY_GONE:
		return kt_to(s, KT_IDLE, KT_DO_VOID | KT_DO_END);
	case KT_CLOSED:
		if (s.conduct.stays)
			return kt_unguarded(s);
		return kt_to(s, KT_IDLE, KT_DO_RESTORE | KT_DO_END);
	case KT_EXPIRED:
		if (s.conduct.stays)
			return kt_unguarded(s);
		return kt_emergency(s, 0);
	default:
		return kt_stay(s, 0);
	}
}

static inline struct kt_step kt_in_emergency(struct kt_state s,
					     enum kt_event e)
{
	switch (e) {
	case KT_CLEARED:
	case KT_QUIET:
		s.trips = 0;
		return kt_to(s, KT_IDLE, 0);
	case KT_CLOSED:
		return kt_stay(s, KT_DO_RESTORE | KT_DO_END);
	default:
		return kt_stay(s, KT_DO_REFUSE);
	}
}

/* One transition. An event that has no place in the mode changes nothing. */
static inline struct kt_step kt_step(struct kt_state s, enum kt_event e)
{
	if (e == KT_LOST || e == KT_CRITICAL)
		return kt_emergency(s, 0);
	switch (s.mode) {
	case KT_IDLE:
		return kt_from_idle(s, e);
	case KT_LEARNING:
	case KT_COLLABORATION:
		return kt_while_tuning(s, e);
	case KT_RECOMMENDATION:
		return kt_while_watching(s, e);
	default:
		return kt_in_emergency(s, e);
	}
}

#endif
