/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of the module know of each other.
 *
 *   ktune_main.c   load, unload, the counters
 *   kt_allow.c     which knobs there are, and their hard limits
 *   kt_files.c     a knob's file: opened, read, written
 *   kt_session.c   sessions: their states, deadline, life
 *   kt_knob.c      a session's knob: opened, read, written
 *   kt_reach.c     writing a set
 *   kt_switch.c    which set: a request's, or a staged slot's
 *   kt_restore.c   bringing it back
 *   kt_ioctl.c     /dev/ktune
 *   kt_trace.c     the trace points
 *
 * Locks, outer first: session->calls (one request at a time), session->lock
 * (all of a session; held while its knobs are written), kt_claims_lock (who
 * holds which file, and the list of sessions; nothing sleeps on I/O under it).
 */
#ifndef KTUNE_H
#define KTUNE_H

#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "uapi/ktune.h"
#include "kt_plan.h"

#define KT_SESSIONS_MAX		16
#define KT_RESULTS_MAX		16
#define KT_PASSES_MAX		6
#define KT_ROUNDS_MAX		12	/* tries of a restore, about two minutes in all */

/* ---- kt_allow.c ---- */

enum kt_root { KT_SYSCTL, KT_SYSFS, KT_CGROUP };

enum kt_fact { KT_NUMBER, KT_MEM_BYTES, KT_MEM_KIB, KT_MEM_PAGES, KT_CPUS, KT_PAGE_BYTES };

/* number; or fact * number; or fact / number */
struct kt_bound {
	s64 number;
	u8 fact;
	bool divide;
};

struct kt_rule {
	const char *name;	/* `*` stands for one component */
	const char *choices;	/* NULL: any */
	const struct kt_bound *least;
	const struct kt_bound *most;
	const s64 *special;
	u8 specials;
	u8 elements;		/* of least and most: 0 none, 1 for all, n one for each */
	u8 length;		/* of a vector, 0 any */
	u8 type;		/* enum ktune_type */
	u8 flags;		/* KTUNE_RULE_* */
	u8 root;		/* enum kt_root */
};

/* The limits a client sets, within the rule's. */
struct kt_limits {
	u32 elements;
	u32 specials;
	s64 step;
	s64 least[KTUNE_ELEMENTS_MAX];
	s64 most[KTUNE_ELEMENTS_MAX];
	s64 special[KTUNE_SPECIALS_MAX];
	char choices[KTUNE_TEXT_MAX];
};

const struct kt_rule *kt_rule_of(const char *name);
unsigned int kt_rules(void);
/* A canonical text against both: 0, -ERANGE, -EINVAL. */
int kt_check_value(const struct kt_rule *rule, const struct kt_limits *limits,
		   const char *text);

/* ---- kt_files.c ---- */

int kt_files_init(void);
void kt_files_exit(void);
struct file *kt_file_open(const struct kt_rule *rule, const char *name);
int kt_file_read(struct file *file, char *page);	/* a page; 0 or -errno */
int kt_file_write(struct file *file, const char *text);
bool kt_file_is_dead(int err);

/* ---- sessions ---- */

struct kt_knob {
	struct list_head claim;		/* in kt_claims */
	struct kt_session *session;
	const struct kt_rule *rule;
	struct file *file;
	struct kt_limits limits;
	u32 written;			/* number of our last write, 0: never */
	u32 outcome;			/* enum ktune_outcome */
	int error;
	bool watched;			/* not to be set */
	bool touched;			/* seen holds what we saw after a write */
	bool pending;
	bool foreign;
	bool wanted;			/* want is to be reached */
	bool named;			/* in the request under way */
	char name[KTUNE_NAME_MAX];
	char original[KTUNE_TEXT_MAX];
	char seen[KTUNE_TEXT_MAX];
	char before[KTUNE_TEXT_MAX];	/* what the last write or the restore found */
	char live[KTUNE_TEXT_MAX];
	char want[KTUNE_TEXT_MAX];
};

/* A staged assignment: one value for each knob of its session. */
struct kt_slot {
	bool set[KTUNE_KNOBS_MAX];
	char value[][KTUNE_TEXT_MAX];
};

struct kt_session {
	struct list_head all;		/* in kt_sessions */
	struct kref ref;
	u64 number;
	struct mutex calls;		/* one request at a time */
	struct mutex lock;		/* all below */
	u32 state;			/* enum ktune_state */
	u32 reason;			/* enum ktune_reason */
	unsigned int knobs;
	unsigned int pairs;
	u32 writes;			/* counts them */
	u32 attempts_refused;
	struct kt_knob *knob[KTUNE_KNOBS_MAX];
	struct kt_pair pair[KTUNE_COUPLES_MAX];
	struct kt_slot *slot[KTUNE_SLOTS_MAX];
	/* kept for the restore, which may not allocate */
	struct kt_item item[KTUNE_KNOBS_MAX];
	u16 order[KTUNE_KNOBS_MAX];
	char *page;
	struct ktune_result result;
	/* what ends it */
	atomic_t ending;		/* enum ktune_reason; the first one stays */
	bool abort;			/* stop a switch under way; READ_ONCE */
	bool holds_module;		/* no file is left that does */
	u64 deadline_ns;
	struct hrtimer timer;
	struct delayed_work restore;
	/* a switch that a request waits for */
	struct work_struct act;
	struct completion acted;
	unsigned int act_knobs;		/* in order[]; 0: act_slot */
	unsigned int act_slot;
	int act_err;
	wait_queue_head_t changed;	/* of state; also poll */
	void *modes;			/* of the modes part */
};

extern struct workqueue_struct *kt_wq;
extern struct mutex kt_claims_lock;
extern struct list_head kt_sessions;

enum kt_count {
	KT_N_APPLIED, KT_N_REFUSED, KT_N_RESTORED, KT_N_FOREIGN, KT_N_FAILED,
	KT_N_EXPIRED, KT_COUNTS,
};

extern atomic64_t kt_count[KT_COUNTS];

static inline void kt_counted(enum kt_count which)
{
	atomic64_inc(&kt_count[which]);
}

struct kt_session *kt_session_new(void);
void kt_session_get(struct kt_session *s);
void kt_session_put(struct kt_session *s);
unsigned int kt_sessions_open(void);
int kt_session_add(struct kt_session *s, struct ktune_add *add);
int kt_session_couple(struct kt_session *s, const struct ktune_couple *couple);
int kt_session_begin(struct kt_session *s, struct ktune_lease *lease);
int kt_session_renew(struct kt_session *s, struct ktune_lease *lease);
int kt_session_keep(struct kt_session *s, u32 index);
int kt_session_commit(struct kt_session *s);
/* Restores and waits; the result is in s->result. */
int kt_session_release(struct kt_session *s);
int kt_session_result(struct kt_session *s, struct ktune_result *result);
/* The file is gone: restores, unless committed or kept by the modes. */
void kt_session_close(struct kt_session *s);

/* Ask the restore worker to look at it. Any context. */
void kt_session_kick(struct kt_session *s, unsigned long delay);
/* It is over: drop files, claims, deadline. s->lock held. */
void kt_session_settle(struct kt_session *s, u32 state);

/* ---- kt_knob.c ---- */

/* Open the file of @knob, whose rule is set, with its limits; claim it. s->lock held. */
int kt_knob_open(struct kt_session *s, struct kt_knob *knob, struct ktune_add *add);
/* A knob now; also after its file has died and came back. s->lock held. */
int kt_knob_read(struct kt_session *s, struct kt_knob *knob, char *text);
/* One write and its read-back. Sets outcome, error, seen and live. s->lock held. */
void kt_knob_write(struct kt_session *s, unsigned int index, const char *text);
/* What is known of it, and what it reads now. */
int kt_session_knob(struct kt_session *s, struct ktune_knob *out);

static inline const char *kt_knob_expected(const struct kt_knob *knob)
{
	return knob->touched ? knob->seen : knob->original;
}

/* ---- kt_reach.c ---- */

/* Write until all that is wanted, in order[0..n), is so or nothing moves. */
void kt_reach(struct kt_session *s, unsigned int n, bool stoppable);
/* Of an either-or pair only one member is written. */
void kt_drop_left_to_partner(struct kt_session *s);

/* ---- kt_switch.c ---- */

int kt_session_stage(struct kt_session *s, unsigned int slot,
		     const struct ktune_item *items, unsigned int n);
/* Have a worker write; waits. The items' knobs, or a slot. s->calls held. */
int kt_session_apply(struct kt_session *s, const struct ktune_item *items,
		     unsigned int n);
int kt_session_switch_waiting(struct kt_session *s, unsigned int slot);
void kt_switch_work(struct work_struct *work);

/* ---- kt_restore.c ---- */

void kt_restore_work(struct work_struct *work);
/* Have every lease restored soon (emergency). Does not wait. */
void kt_restore_all(enum ktune_reason reason);
/* End one. Does not wait. */
void kt_restore_session(struct kt_session *s, enum ktune_reason reason);
/* The result of a session that is over, by number. */
bool kt_result_recall(u64 session, struct ktune_result *result);

/* ---- for the modes: loops inside the kernel ---- */

/*
 * Switch a begun session to a staged slot (0: the baseline), every knob that the
 * slot does not name to its original. Sleeps; not from under s->lock. 0 when all
 * is as wanted, else the first error; -ESTALE when the lease is over, -ENOENT
 * without such a slot, -EBUSY when a value of somebody else's was in the way.
 */
int kt_session_switch(struct kt_session *s, unsigned int slot);

enum kt_session_event {
	KT_SESSION_BEGUN,
	KT_SESSION_COMMITTED,
	KT_SESSION_RESTORED,	/* s->reason says why; s->state whether in full */
	KT_SESSION_CLOSED,	/* no file is left: stop loops, drop s->modes */
};

/*
 * What the modes part defines (kt_modes.c, kt_request.c). `kt_modes_event` is
 * called without s->lock, and may sleep. kt_modes_gate: may the session write
 * now (0 or -EPERM)? kt_modes_keeps: a closed session stays in force (it is
 * then ended by kt_restore_all or kt_restore_session). kt_modes_ioctl:
 * requests from 32 up, -ENOTTY for those it does not know.
 */
int kt_modes_init(void);
void kt_modes_exit(void);
int kt_modes_gate(struct kt_session *s);
bool kt_modes_keeps(struct kt_session *s);
void kt_modes_event(struct kt_session *s, enum kt_session_event event);
long kt_modes_ioctl(struct kt_session *s, unsigned int cmd, void __user *arg);

/* ---- kt_ioctl.c ---- */

int kt_device_init(void);
void kt_device_exit(void);

/* ---- kt_trace.c: trace points for files that do not create them ---- */

void kt_trace_mode(const char *from, const char *to, const char *why);

#endif
