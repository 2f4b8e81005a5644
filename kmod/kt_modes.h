/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of the modes know of each other.
 *
 *   kt_modes.c     the state, and who holds it
 *   kt_holder.c    what the holder has at work
 *   kt_request.c   /dev/ktune: modes, schedules and trees
 *   kt_loop.c      a schedule or a tree at work, for one session
 *   kt_counters.c  readings of the kernel's counters
 *   kt_memory.c    low memory is an emergency
 *   kt_sysfs.c     /sys/kernel/ktune
 *
 * Locks, outer first: session->calls, kt_modes_lock (the state and its holder),
 * loop->lock (one loop). session->lock is never taken under either of ours: its
 * holder may ask kt_modes_gate(), which takes none. loop->turn is outer of
 * session->lock and of loop->lock, and is never taken under kt_modes_lock.
 */
#ifndef KT_MODES_H
#define KT_MODES_H

#include <linux/atomic.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/workqueue.h>

#include "kt_core.h"
#include "kt_features.h"
#include "kt_lines.h"
#include "kt_schedule.h"
#include "kt_tree.h"
#include "ktune.h"

struct kt_loop;

/* ---- kt_modes.c ---- */

/* For whoever only shows it; both may be a moment old. */
struct kt_modes_shown {
	enum kt_mode mode;
	const char *reason;
	u32 trips;
	bool unguarded;
};

void kt_modes_show(struct kt_modes_shown *shown);
const char *kt_mode_word(enum kt_mode mode);
/* From any context that may sleep: emergency now, all leases restored soon. */
void kt_modes_critical(const char *why);
/* By hand: end an emergency, or a policy that has outlived its watcher. */
int kt_modes_idle(void);
/* The loop of this session could not go on. */
void kt_modes_lost(struct kt_session *s, const char *why);
bool kt_modes_in_emergency(void);
static inline bool kt_begins(u32 event)
{
	return event == KTUNE_EVENT_STARTED || event == KTUNE_EVENT_WATCH;
}

/* An event from user space, whose fields are in range; answers in *@asked. */
int kt_modes_told(struct kt_session *s, struct ktune_mode *asked);

extern unsigned int kt_quiet_s;		/* an emergency ends after it; 0: never */

enum kt_modes_count {
	KT_N_EMERGENCIES, KT_N_LOW_MEMORY, KT_N_SWITCHES, KT_N_LOOKS, KT_N_GATED,
	KT_MODES_COUNTS,
};

extern atomic64_t kt_modes_count[KT_MODES_COUNTS];

static inline void kt_modes_counted(enum kt_modes_count which)
{
	atomic64_inc(&kt_modes_count[which]);
}

/* ---- kt_holder.c ---- */

/* Start @loop where the session holds @mode; the loop is the callee's, always. */
int kt_modes_loop_begin(struct kt_session *s, struct kt_loop *loop, enum kt_mode mode);
int kt_modes_loop_end(struct kt_session *s);
/* Have the session's tree rest: the session itself may write meanwhile. */
int kt_modes_tree_pause(struct kt_session *s, bool pause);
/* The loop under way, with a reference, or NULL. */
struct kt_loop *kt_modes_loop(void);
/* This session's last schedule, also one that has ended, with a reference, or NULL. */
struct kt_loop *kt_modes_stamps_of(const struct kt_session *s);
/* ns until the holder's lease ends; 0 without one. */
u64 kt_modes_lease_left(void);

/* ---- kt_loop.c ---- */

struct kt_loop {
	struct kref ref;
	struct kt_session *session;	/* with a reference */
	struct delayed_work work;	/* holds a reference while queued */
	struct mutex turn;		/* a look and its switch are one */
	struct mutex lock;		/* all below */
	bool stop;
	bool paused;			/* a tree */
	bool is_tree;
	int error;
	/* a schedule */
	struct kt_schedule schedule;
	struct ktune_stamp *stamps;
	/* a tree */
	struct kt_tree tree;
	struct kt_choice choice;
	struct kt_reading before;
	u64 found[KTUNE_FEATURES];
	u32 changes;			/* of the leaf */
	bool looked;
};

struct kt_loop *kt_loop_schedule(struct kt_session *s, const struct ktune_schedule *raw);
struct kt_loop *kt_loop_tree(struct kt_session *s, const struct ktune_tree *raw);
void kt_loop_start(struct kt_loop *loop);
/* Nothing is switched after a switch that is under way. Does not wait. */
void kt_loop_stop(struct kt_loop *loop);
/* Returns when no switch is under way. Not under kt_modes_lock. */
void kt_loop_wait(struct kt_loop *loop);
/* A tree neither looks nor switches; what it has chosen is remembered. */
void kt_loop_pause(struct kt_loop *loop);
void kt_loop_resume(struct kt_loop *loop);
void kt_loop_put(struct kt_loop *loop);
/* Stamps from window @first on, at most @most; how many there were. */
u32 kt_loop_stamps(struct kt_loop *loop, struct ktune_stamp *to, u32 first, u32 most,
		   struct ktune_stamps *about);
int kt_loops_init(void);
void kt_loops_exit(void);

/* ---- kt_counters.c ---- */

int kt_counters_init(void);
void kt_counters_exit(void);
/* The features that can be told on this kernel, a bit each. */
u32 kt_counters_known(void);
/* Counters that none of @features needs stay 0. Sleeps. 0 or -errno. */
int kt_counters_read(u32 features, struct kt_reading *reading);

/* ---- kt_memory.c ---- */

extern unsigned long kt_low_kib;	/* less available is low; 0: only OOM is */

int kt_memory_init(void);
void kt_memory_exit(void);
bool kt_memory_is_low(void);

/* ---- kt_sysfs.c ---- */

int kt_sysfs_init(void);
void kt_sysfs_exit(void);
void kt_sysfs_changed(void);

#endif
