// SPDX-License-Identifier: GPL-2.0
/*
 * A schedule or a tree at work: a worker of ours switches the session's slots.
 * Whatever it meets that it can't put right is an emergency: the baseline
 * returns. The decisions are kt_schedule.h's and kt_tree.h's.
 */
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "kt_modes.h"

static struct workqueue_struct *kt_loops;

static void kt_loop_free(struct kref *ref)
{
	struct kt_loop *loop = container_of(ref, struct kt_loop, ref);

	kt_session_put(loop->session);
	kvfree(loop->stamps);
	mutex_destroy(&loop->lock);
	mutex_destroy(&loop->turn);
	kfree(loop);
}

void kt_loop_put(struct kt_loop *loop)
{
	kref_put(&loop->ref, kt_loop_free);
}

/* ---- a schedule ---- */

static unsigned long kt_until(u64 due_ns)
{
	u64 now = ktime_get_boottime_ns();

	return due_ns > now ? nsecs_to_jiffies(due_ns - now) + 1 : 0;
}

/* jiffies until the next turn; < 0: it is over */
static long kt_schedule_run(struct kt_loop *loop)
{
	struct kt_schedule *s = &loop->schedule;
	enum kt_turn turn;
	unsigned int slot;
	bool stop;
	int err;

	mutex_lock(&loop->lock);
	turn = kt_schedule_turn(s, loop->stamps, ktime_get_boottime_ns());
	slot = turn == KT_TURN_SWITCH && loop->stamps[s->window].arm ? s->slot : 0;
	stop = loop->stop;
	mutex_unlock(&loop->lock);
	if (stop)
		return -1;
	if (turn == KT_TURN_WAIT)
		return kt_until(s->due_ns);

	err = kt_session_switch(loop->session, slot);
	kt_modes_counted(KT_N_SWITCHES);
	mutex_lock(&loop->lock);
	if (turn == KT_TURN_SWITCH && !loop->stop)
		kt_schedule_began(s, loop->stamps, ktime_get_boottime_ns(), err);
	if (turn == KT_TURN_OVER && err != -EBUSY)	/* a foreign value stays */
		loop->error = err;
	mutex_unlock(&loop->lock);
	if (turn == KT_TURN_OVER)
		return -1;
	return err ? 0 : kt_until(s->due_ns);	/* what failed is over */
}

/* ---- a tree ---- */

/* The kernel keeps the lease while it looks; a loop that hangs loses it. */
static int kt_tree_renew(struct kt_loop *loop)
{
	u64 lasts_ns = 3ULL * loop->tree.sample_ms * NSEC_PER_MSEC + 2 * NSEC_PER_SEC;
	struct ktune_lease lease = { .lasts_ns = lasts_ns };

	if (loop->tree.keeps != KTUNE_KEEPS_ON ||
	    READ_ONCE(loop->session->deadline_ns) > ktime_get_boottime_ns() + lasts_ns)
		return 0;
	return kt_session_renew(loop->session, &lease);
}

/* One look. The slot to switch to, or < 0. */
static int kt_tree_look(struct kt_loop *loop, struct kt_reading *now)
{
	u8 leaf = loop->choice.leaf;

	if (loop->looked) {
		kt_features_between(&loop->before, now, loop->found);
		loop->choice = kt_tree_follow(loop->choice, &loop->tree, loop->found,
					      now->at_ns);
		kt_modes_counted(KT_N_LOOKS);
	}
	loop->before = *now;
	if (loop->looked && leaf == loop->choice.leaf)
		return -1;
	loop->changes += loop->looked;
	loop->looked = true;
	return loop->choice.leaf + 1;
}

static long kt_tree_run(struct kt_loop *loop)
{
	struct kt_reading now = { };
	int slot = -1;
	int err;

	err = kt_counters_read(loop->tree.features, &now);
	mutex_lock(&loop->lock);
	if (!err && !loop->stop && !loop->paused)
		slot = kt_tree_look(loop, &now);
	mutex_unlock(&loop->lock);
	if (slot >= 0) {
		err = kt_session_switch(loop->session, slot);
		kt_modes_counted(KT_N_SWITCHES);
		if (err == -EBUSY)	/* a foreign value stays, in every lease */
			err = 0;
	}
	if (!err)
		err = kt_tree_renew(loop);
	if (!err)
		return msecs_to_jiffies(loop->tree.sample_ms);
	mutex_lock(&loop->lock);
	loop->error = err;
	mutex_unlock(&loop->lock);
	return -1;
}

/* ---- both ---- */

static void kt_loop_run(struct work_struct *work)
{
	struct kt_loop *loop = container_of(to_delayed_work(work), struct kt_loop, work);
	bool stop, queued = false;
	long wait;

	mutex_lock(&loop->turn);
	wait = loop->is_tree ? kt_tree_run(loop) : kt_schedule_run(loop);
	mutex_unlock(&loop->turn);
	mutex_lock(&loop->lock);
	stop = loop->stop;
	if (!stop && wait >= 0)	/* unless a resume has, with a reference of its own */
		queued = queue_delayed_work(kt_loops, &loop->work, wait);
	mutex_unlock(&loop->lock);
	if (queued)
		return;
	/* -ESTALE: the lease is over, and whoever ended it told the machine */
	if (!stop && loop->error && loop->error != -ESTALE)
		kt_modes_lost(loop->session, "a switch in the kernel failed");
	kt_loop_put(loop);
}

static struct kt_loop *kt_loop_new(struct kt_session *s)
{
	struct kt_loop *loop = kzalloc(sizeof(*loop), GFP_KERNEL_ACCOUNT);

	if (!loop)
		return NULL;
	kref_init(&loop->ref);
	mutex_init(&loop->turn);
	mutex_init(&loop->lock);
	INIT_DELAYED_WORK(&loop->work, kt_loop_run);
	kt_session_get(s);
	loop->session = s;
	return loop;
}

struct kt_loop *kt_loop_schedule(struct kt_session *s, const struct ktune_schedule *raw)
{
	struct kt_loop *loop = kt_loop_new(s);

	if (!loop)
		return ERR_PTR(-ENOMEM);
	if (kt_schedule_check(raw, &loop->schedule)) {
		kt_loop_put(loop);
		return ERR_PTR(-EINVAL);
	}
	loop->stamps = kvcalloc(raw->windows, sizeof(*loop->stamps), GFP_KERNEL_ACCOUNT);
	if (!loop->stamps) {
		kt_loop_put(loop);
		return ERR_PTR(-ENOMEM);
	}
	return loop;
}

struct kt_loop *kt_loop_tree(struct kt_session *s, const struct ktune_tree *raw)
{
	struct kt_loop *loop = kt_loop_new(s);
	enum kt_tree_fault fault;

	if (!loop)
		return ERR_PTR(-ENOMEM);
	loop->is_tree = true;
	fault = kt_tree_check(raw, kt_counters_known(), &loop->tree);
	if (fault) {
		pr_debug("a tree was refused: fault %d\n", fault);
		kt_loop_put(loop);
		return ERR_PTR(fault == KT_TREE_UNREACHABLE ? -EOPNOTSUPP : -EINVAL);
	}
	loop->choice = kt_tree_begin(&loop->tree);
	return loop;
}

void kt_loop_start(struct kt_loop *loop)
{
	kref_get(&loop->ref);	/* the work's */
	queue_delayed_work(kt_loops, &loop->work, 0);
}

void kt_loop_stop(struct kt_loop *loop)
{
	bool cancelled;

	mutex_lock(&loop->lock);
	loop->stop = true;
	if (!loop->is_tree)
		kt_schedule_cut(&loop->schedule, loop->stamps, ktime_get_boottime_ns());
	cancelled = cancel_delayed_work(&loop->work);
	mutex_unlock(&loop->lock);
	if (cancelled)
		kt_loop_put(loop);
}

void kt_loop_wait(struct kt_loop *loop)
{
	mutex_lock(&loop->turn);
	mutex_unlock(&loop->turn);
}

void kt_loop_pause(struct kt_loop *loop)
{
	mutex_lock(&loop->lock);
	loop->paused = true;
	mutex_unlock(&loop->lock);
	kt_loop_wait(loop);
}

/* What was counted meanwhile is not asked about; the leaf in force returns at once. */
void kt_loop_resume(struct kt_loop *loop)
{
	mutex_lock(&loop->lock);
	if (loop->paused && !loop->stop) {
		loop->paused = false;
		loop->looked = false;
		kref_get(&loop->ref);
		if (mod_delayed_work(kt_loops, &loop->work, 0))
			kt_loop_put(loop);	/* it was queued, with its reference */
	}
	mutex_unlock(&loop->lock);
}

u32 kt_loop_stamps(struct kt_loop *loop, struct ktune_stamp *to, u32 first, u32 most,
		   struct ktune_stamps *about)
{
	u32 there, n;

	mutex_lock(&loop->lock);
	there = kt_schedule_stamped(&loop->schedule);
	n = first < there ? min(there - first, most) : 0;
	memcpy(to, loop->stamps + first, n * sizeof(*to));
	about->windows = loop->schedule.windows;
	about->over = loop->schedule.over;
	mutex_unlock(&loop->lock);
	return n;
}

int kt_loops_init(void)
{
	/* freezable: nothing is switched while processes are frozen */
	kt_loops = alloc_workqueue("ktune_loops", WQ_UNBOUND | WQ_FREEZABLE, 0);
	return kt_loops ? 0 : -ENOMEM;
}

void kt_loops_exit(void)
{
	destroy_workqueue(kt_loops);
}
