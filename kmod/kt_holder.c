// SPDX-License-Identifier: GPL-2.0
/*
 * What the session that holds the mode has: a schedule or a tree at work, and
 * the stamps of its last schedule.
 */
#include <linux/ktime.h>

#include "kt_holder.h"

struct kt_session *kt_holder;
struct kt_loop *kt_loop;
struct kt_loop *kt_past;
bool kt_resting;

struct kt_loop *kt_modes_loop(void)
{
	struct kt_loop *loop;

	mutex_lock(&kt_modes_lock);
	loop = kt_loop;
	if (loop)
		kref_get(&loop->ref);
	mutex_unlock(&kt_modes_lock);
	return loop;
}

struct kt_loop *kt_modes_stamps_of(const struct kt_session *s)
{
	struct kt_loop *loop;

	mutex_lock(&kt_modes_lock);
	loop = kt_loop && !kt_loop->is_tree ? kt_loop : kt_past;
	if (loop && loop->session != s)
		loop = NULL;
	if (loop)
		kref_get(&loop->ref);
	mutex_unlock(&kt_modes_lock);
	return loop;
}

u64 kt_modes_lease_left(void)
{
	u64 now = ktime_get_boottime_ns(), left = 0;

	mutex_lock(&kt_modes_lock);
	if (kt_holder && READ_ONCE(kt_holder->state) == KTUNE_LEASED &&
	    READ_ONCE(kt_holder->deadline_ns) > now)
		left = READ_ONCE(kt_holder->deadline_ns) - now;
	mutex_unlock(&kt_modes_lock);
	return left;
}

/* ---- letting go ---- */

void kt_drop_past(void)
{
	lockdep_assert_held(&kt_modes_lock);
	if (kt_past)
		kt_loop_put(kt_past);
	kt_past = NULL;
}

void kt_drop_loop(void)
{
	lockdep_assert_held(&kt_modes_lock);
	if (!kt_loop)
		return;
	kt_loop_stop(kt_loop);
	kt_drop_past();
	if (kt_loop->is_tree)
		kt_loop_put(kt_loop);
	else
		kt_past = kt_loop;
	WRITE_ONCE(kt_loop, NULL);
	WRITE_ONCE(kt_resting, false);
}

void kt_drop_holder(void)
{
	lockdep_assert_held(&kt_modes_lock);
	kt_drop_loop();
	if (kt_holder)
		kt_session_put(kt_holder);
	WRITE_ONCE(kt_holder, NULL);
}

/* ---- what the sessions ask ---- */

/* Under s->lock, so without ours: a moment old is good enough. */
int kt_modes_gate(struct kt_session *s)
{
	int err = 0;

	if (kt_modes_in_emergency())
		err = -EPERM;
	else if (READ_ONCE(kt_loop) && !READ_ONCE(kt_resting) && READ_ONCE(kt_holder) == s)
		err = -EBUSY;	/* the schedule or tree switches */
	if (err)
		kt_modes_counted(KT_N_GATED);
	return err;
}

int kt_modes_loop_begin(struct kt_session *s, struct kt_loop *loop, enum kt_mode mode)
{
	int err = 0;

	mutex_lock(&kt_modes_lock);
	if (kt_modes_in_emergency())
		err = -EPERM;
	else if (s != kt_holder)
		err = -ESRCH;
	else if (kt_state.mode != mode)
		err = -EBADFD;
	else if (READ_ONCE(s->state) != KTUNE_LEASED)
		err = -ESTALE;
	if (!err) {
		kt_drop_loop();
		WRITE_ONCE(kt_loop, loop);
		kt_loop_start(loop);
	}
	mutex_unlock(&kt_modes_lock);
	if (err)
		kt_loop_put(loop);
	return err;
}

/* This session's loop with a reference, or NULL. */
static struct kt_loop *kt_loop_of(struct kt_session *s)
{
	lockdep_assert_held(&kt_modes_lock);
	if (s != kt_holder || !kt_loop)
		return NULL;
	kref_get(&kt_loop->ref);
	return kt_loop;
}

int kt_modes_loop_end(struct kt_session *s)
{
	struct kt_loop *loop;

	mutex_lock(&kt_modes_lock);
	loop = kt_loop_of(s);
	if (loop)
		kt_drop_loop();
	mutex_unlock(&kt_modes_lock);
	if (!loop)
		return -ESRCH;
	kt_loop_wait(loop);
	kt_loop_put(loop);
	return 0;
}

static void kt_rest(const struct kt_loop *loop, bool resting)
{
	mutex_lock(&kt_modes_lock);
	if (kt_loop == loop)
		WRITE_ONCE(kt_resting, resting);
	mutex_unlock(&kt_modes_lock);
}

/* The session writes only between: requests are one at a time. */
int kt_modes_tree_pause(struct kt_session *s, bool pause)
{
	struct kt_loop *loop;
	int err = 0;

	mutex_lock(&kt_modes_lock);
	loop = kt_loop_of(s);
	mutex_unlock(&kt_modes_lock);
	if (!loop)
		return -ESRCH;
	if (!loop->is_tree) {
		err = -EBADFD;
	} else if (pause) {
		kt_loop_pause(loop);
		kt_rest(loop, true);
	} else {
		kt_rest(loop, false);
		kt_loop_resume(loop);
	}
	kt_loop_put(loop);
	return err;
}
