// SPDX-License-Identifier: GPL-2.0
/*
 * The state of the mode machine, and who holds it: the session that began to
 * learn or to watch. Decisions are kt_core.h's; this carries them out.
 */
#include <linux/printk.h>

#include "kt_holder.h"

unsigned int kt_quiet_s;
atomic64_t kt_modes_count[KT_MODES_COUNTS];

/* the state, its holder and what that has at work (kt_modes.h has the order of locks) */
DEFINE_MUTEX(kt_modes_lock);
struct kt_state kt_state = { .conduct = { .max_trips = 3 } };
static const char *kt_reason = "not started";

static void kt_quiet_over(struct work_struct *work);
static DECLARE_DELAYED_WORK(kt_quiet, kt_quiet_over);

static const char * const kt_words[KT_MODES] = {
	[KT_IDLE]		= "idle",
	[KT_LEARNING]		= "learning",
	[KT_COLLABORATION]	= "collaboration",
	[KT_RECOMMENDATION]	= "recommendation",
	[KT_EMERGENCY]		= "emergency",
};

const char *kt_mode_word(enum kt_mode mode)
{
	return kt_words[mode];
}

void kt_modes_show(struct kt_modes_shown *shown)
{
	mutex_lock(&kt_modes_lock);
	shown->mode = kt_state.mode;
	shown->reason = kt_reason;
	shown->trips = kt_state.trips;
	shown->unguarded = kt_state.unguarded;
	mutex_unlock(&kt_modes_lock);
}

bool kt_modes_in_emergency(void)
{
	return READ_ONCE(kt_state.mode) == KT_EMERGENCY;
}

/* ---- steps ---- */

/* A pair that is void ends a schedule; a tree looks on. */
static bool kt_ends_loop(u32 commands)
{
	if (commands & KT_DO_RESTORE || (commands & KT_DO_END && !kt_state.unguarded))
		return true;
	return commands & KT_DO_VOID && kt_loop && !kt_loop->is_tree;
}

/* The commands of the step; what they ask of the loop is done. */
static u32 kt_tell(enum kt_event event, const char *why)
{
	enum kt_mode from = kt_state.mode;
	struct kt_step step = kt_step(kt_state, event);

	lockdep_assert_held(&kt_modes_lock);
	kt_state.trips = step.state.trips;
	kt_state.unguarded = step.state.unguarded;
	WRITE_ONCE(kt_state.mode, step.state.mode);
	if (kt_ends_loop(step.commands))
		kt_drop_loop();
	if (from == step.state.mode)
		return step.commands;
	kt_reason = why;
	kt_trace_mode(kt_words[from], kt_words[step.state.mode], why);
	kt_sysfs_changed();
	if (step.state.mode == KT_EMERGENCY) {
		pr_warn("emergency: %s\n", why);
		kt_modes_counted(KT_N_EMERGENCIES);
		kt_restore_all(KTUNE_BY_EMERGENCY);
		if (kt_quiet_s)
			mod_delayed_work(kt_wq, &kt_quiet, kt_quiet_s * HZ);
	}
	return step.commands;
}

void kt_modes_critical(const char *why)
{
	mutex_lock(&kt_modes_lock);
	kt_tell(KT_CRITICAL, why);
	mutex_unlock(&kt_modes_lock);
}

void kt_modes_lost(struct kt_session *s, const char *why)
{
	mutex_lock(&kt_modes_lock);
	if (s == kt_holder)
		kt_tell(KT_LOST, why);
	mutex_unlock(&kt_modes_lock);
}

static void kt_quiet_over(struct work_struct *work)
{
	mutex_lock(&kt_modes_lock);
	if (kt_memory_is_low() && kt_quiet_s)
		mod_delayed_work(kt_wq, &kt_quiet, kt_quiet_s * HZ);
	else if (kt_state.mode == KT_EMERGENCY)
		kt_tell(KT_QUIET, "quiet again");
	mutex_unlock(&kt_modes_lock);
}

int kt_modes_idle(void)
{
	int err = 0;

	mutex_lock(&kt_modes_lock);
	if (kt_state.mode == KT_EMERGENCY) {
		kt_tell(KT_CLEARED, "cleared by hand");
	} else if (kt_state.mode == KT_RECOMMENDATION && kt_state.unguarded) {
		kt_tell(KT_POLICY_GONE, "ended by hand");
		if (kt_holder)
			kt_restore_session(kt_holder, KTUNE_BY_RELEASE);
	} else if (kt_state.mode != KT_IDLE) {
		err = -EBUSY;	/* its session's to end */
	}
	mutex_unlock(&kt_modes_lock);
	return err;
}

/* ---- what the sessions ask and tell ---- */

bool kt_modes_keeps(struct kt_session *s)
{
	bool keeps = false;

	mutex_lock(&kt_modes_lock);
	if (s == kt_holder && kt_state.mode == KT_RECOMMENDATION && kt_loop &&
	    kt_loop->is_tree && kt_loop->tree.keeps) {
		kt_drop_past();
		kt_loop_resume(kt_loop);
		WRITE_ONCE(kt_resting, false);
		kt_state.conduct.stays = true;
		kt_tell(KT_CLOSED, "user space is gone: the tree goes on");
		kt_reason = "user space is gone: the tree goes on";
		kt_sysfs_changed();
		keeps = true;
	}
	mutex_unlock(&kt_modes_lock);
	return keeps;
}

/* A tree that was to go on until now, and no longer. */
static bool kt_lasts_with_lease(void)
{
	lockdep_assert_held(&kt_modes_lock);
	return kt_loop && kt_loop->is_tree && kt_loop->tree.keeps == KTUNE_KEEPS_LEASE;
}

static enum kt_event kt_event_of(const struct kt_session *s)
{
	if (READ_ONCE(s->state) != KTUNE_RESTORED)
		return KT_LOST;
	switch (s->result.reason) {
	case KTUNE_BY_RELEASE:
		return kt_state.mode == KT_RECOMMENDATION ? KT_POLICY_GONE : KT_CONFIRMED;
	case KTUNE_BY_DEADLINE:
		return kt_state.unguarded && kt_lasts_with_lease() ? KT_CLOSED : KT_EXPIRED;
	default:
		return KT_CLOSED;
	}
}

static const char *kt_why(enum kt_event event)
{
	switch (event) {
	case KT_LOST:
		return "a restore could not be verified";
	case KT_EXPIRED:
		return "the lease was not renewed";
	case KT_CLOSED:
		return "user space is gone";
	default:
		return "released";
	}
}

void kt_modes_event(struct kt_session *s, enum kt_session_event event)
{
	u32 state = READ_ONCE(s->state);
	enum kt_event told;

	mutex_lock(&kt_modes_lock);
	if (event == KT_SESSION_CLOSED && s == kt_holder)
		kt_drop_loop();
	if (event == KT_SESSION_CLOSED && kt_past && kt_past->session == s)
		kt_drop_past();
	if (event == KT_SESSION_RESTORED && state != KTUNE_RESTORED) {
		/* a plain lease is tried again first; given up is given up */
		if (kt_state.mode != KT_EMERGENCY && (s == kt_holder || state == KTUNE_FAILED))
			kt_tell(KT_LOST, kt_why(KT_LOST));
		if (s == kt_holder && state == KTUNE_FAILED)
			kt_drop_holder();
	} else if (s == kt_holder) {
		switch (event) {
		case KT_SESSION_RESTORED:
			told = kt_event_of(s);
			kt_state.conduct.stays = false;
			kt_tell(told, kt_why(told));
			kt_drop_holder();
			break;
		case KT_SESSION_COMMITTED:
			kt_state.conduct.stays = true;
			kt_drop_loop();
			break;
		case KT_SESSION_CLOSED:
			kt_tell(KT_CLOSED, kt_why(KT_CLOSED));
			kt_drop_holder();
			break;
		default:
			break;
		}
	}
	mutex_unlock(&kt_modes_lock);
}

/* ---- what kt_request.c asks for ---- */

static int kt_hold(struct kt_session *s, const struct ktune_mode *asked)
{
	enum kt_mode begun = asked->event == KTUNE_EVENT_STARTED ? KT_LEARNING :
								  KT_RECOMMENDATION;

	lockdep_assert_held(&kt_modes_lock);
	if (kt_state.mode == KT_EMERGENCY)
		return -EPERM;
	if (kt_holder && kt_holder != s)
		return -EBUSY;
	if (kt_state.mode != KT_IDLE && kt_state.mode != begun)
		return -EBADFD;
	if (asked->max_trips > KTUNE_TRIPS_MAX || !asked->max_trips ||
	    asked->flags & ~KTUNE_MODE_REAPPLIES)
		return -EINVAL;
	if (kt_holder)
		return 0;
	kt_session_get(s);
	WRITE_ONCE(kt_holder, s);
	kt_state.conduct.max_trips = asked->max_trips;
	kt_state.conduct.reapplies = asked->flags & KTUNE_MODE_REAPPLIES;
	kt_state.conduct.stays = false;
	kt_state.trips = 0;
	return 0;
}

int kt_modes_told(struct kt_session *s, struct ktune_mode *asked)
{
	bool begins = kt_begins(asked->event), holds;
	int err = 0;

	mutex_lock(&kt_modes_lock);
	if (begins)
		err = kt_hold(s, asked);
	else if (s != kt_holder && asked->event != KTUNE_EVENT_CRITICAL &&
		 asked->event != KTUNE_EVENT_CLEARED)
		err = -ESRCH;	/* another session's mode, or nobody's */
	holds = s == kt_holder;
	if (!err)
		asked->commands = kt_tell(asked->event, "told by user space");
	if (!err && holds && kt_state.mode == KT_IDLE)
		kt_drop_holder();
	asked->mode = kt_state.mode;
	asked->trips = kt_state.trips;
	mutex_unlock(&kt_modes_lock);
	return err;
}

/* ---- load and unload ---- */

int kt_modes_init(void)
{
	int err = kt_counters_init();

	if (err)
		return err;
	err = kt_loops_init();
	if (err)
		goto counters;
	err = kt_sysfs_init();
	if (err)
		goto loops;
	err = kt_memory_init();
	if (err)
		goto sysfs;
	return 0;
sysfs:
	kt_sysfs_exit();
loops:
	kt_loops_exit();
counters:
	kt_counters_exit();
	return err;
}

/*
 * No file is left, and no restore: but a worker that has done the last one may
 * be about to tell us.
 */
void kt_modes_exit(void)
{
	kt_memory_exit();
	kt_loops_exit();
	cancel_delayed_work_sync(&kt_quiet);
	flush_workqueue(kt_wq);
	mutex_lock(&kt_modes_lock);
	kt_drop_holder();
	kt_drop_past();
	mutex_unlock(&kt_modes_lock);
	kt_sysfs_exit();
	kt_counters_exit();
}
