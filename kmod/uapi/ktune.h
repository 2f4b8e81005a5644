/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * /dev/ktune: an open file is a session, and a session that has begun is a
 * lease. kmod/ABI.md says what each request does and every errno it gives.
 *
 * All structs have one layout for 32 and 64 bit. What is reserved must be zero,
 * so that it can get a meaning later. Texts end with a NUL inside their array.
 */
#ifndef _UAPI_KTUNE_H
#define _UAPI_KTUNE_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define KTUNE_ABI		1
#define KTUNE_NAME_MAX		160	/* with the NUL */
#define KTUNE_TEXT_MAX		256	/* with the NUL */
#define KTUNE_KNOBS_MAX		256	/* in one session */
#define KTUNE_COUPLES_MAX	1024
#define KTUNE_ELEMENTS_MAX	8
#define KTUNE_SPECIALS_MAX	8
#define KTUNE_SLOTS_MAX		16	/* slot 0 is the baseline */

/* How the kernel prints and takes a value; ktune/kernel/values.py has the same. */
enum ktune_type {
	KTUNE_INT = 1,
	KTUNE_VECTOR,
	KTUNE_CHOICE,		/* the word in brackets */
	KTUNE_WORD,
	KTUNE_SWITCH,		/* Y or N */
	KTUNE_BITMAP,
	KTUNE_STRING,
};

enum ktune_state {
	KTUNE_NEW,		/* knobs are added, nothing was written */
	KTUNE_LEASED,
	KTUNE_RESTORING,	/* some knob would not go back yet; tried again */
	KTUNE_RESTORED,
	KTUNE_COMMITTED,
	KTUNE_FAILED,		/* given up: some knob would not go back */
};

/* Why a session was restored. */
enum ktune_reason {
	KTUNE_BY_NOBODY,	/* it was not */
	KTUNE_BY_RELEASE,
	KTUNE_BY_CLOSE,
	KTUNE_BY_DEADLINE,
	KTUNE_BY_EMERGENCY,
};

/* What became of one knob at a write or at the restore. */
enum ktune_outcome {
	KTUNE_NOTHING_DONE,
	KTUNE_APPLIED,		/* reads as wanted */
	KTUNE_UNCHANGED,	/* did so before */
	KTUNE_OTHERWISE,	/* taken, but reads otherwise (clamped, rounded) */
	KTUNE_REFUSED,		/* error says why */
	KTUNE_FOREIGN,		/* somebody else's value: kept */
	KTUNE_GONE,		/* the knob is no longer there */
	KTUNE_NOT_TRIED,	/* cut short: a kill or the deadline */
};

#define KTUNE_ADD_WATCH		1	/* only kept as it was; can't be set */
#define KTUNE_RULE_MOVES	1	/* the kernel moves it: never foreign */
#define KTUNE_RULE_NO_ZERO	2	/* takes no 0 (vm.dirty_bytes) */

struct ktune_info {
	__u32 abi;
	__u32 rules;		/* length of the allow-list */
	__u64 session;		/* number of this file's session */
	__u64 sessions;		/* that are open now */
	__u64 applied;		/* counters since the module was loaded: writes taken */
	__u64 refused;
	__u64 restored;
	__u64 foreign;
	__u64 failed;		/* knobs given up */
	__u64 expired;		/* leases whose deadline passed */
	char version[32];
	__u64 reserved[4];
};

struct ktune_add {
	char name[KTUNE_NAME_MAX];
	__u32 type;		/* enum ktune_type; must be the rule's */
	__u32 flags;		/* KTUNE_ADD_* */
	__u32 elements;		/* limits: 0 none, 1 for all, n one for each */
	__u32 specials;
	__s64 least[KTUNE_ELEMENTS_MAX];
	__s64 most[KTUNE_ELEMENTS_MAX];
	__s64 step;		/* 0, or least[i] + k * step only */
	__s64 special[KTUNE_SPECIALS_MAX];	/* allowed beside the limits */
	char choices[KTUNE_TEXT_MAX];	/* words, one blank between; empty: any */
	__u32 index;		/* out */
	__u32 rule;		/* out: KTUNE_RULE_* */
	char original[KTUNE_TEXT_MAX];	/* out */
	__u64 reserved[4];
};

enum ktune_couple_kind {
	KTUNE_EITHER_OR = 1,	/* writing one zeroes the other */
	KTUNE_DRAGS,		/* writing `from` resets or moves `to` */
};

struct ktune_couple {
	__u32 kind;
	__u32 from;
	__u32 to;
	__u32 reserved;
};

struct ktune_lease {
	__u64 lasts_ns;		/* from now, in CLOCK_BOOTTIME */
	__u64 deadline_ns;	/* out: CLOCK_BOOTTIME */
	__u64 reserved[2];
};

struct ktune_item {
	__u32 index;
	__u32 outcome;		/* out: enum ktune_outcome */
	__s32 error;		/* out: 0 or a negative errno of the write */
	__u32 reserved;
	char value[KTUNE_TEXT_MAX];	/* in: wanted; out: what it reads now */
};

struct ktune_set {
	__u32 count;
	__u32 slot;		/* KTUNE_IOC_STAGE, KTUNE_IOC_SWITCH */
	__u32 attempts_refused;	/* out */
	__u32 reserved;
	__u64 items;		/* pointer to struct ktune_item[count] */
	__u64 reserved2[2];
};

struct ktune_knob {
	__u32 index;
	__u32 outcome;		/* out: of the last write or the restore */
	__s32 error;		/* out */
	__u32 foreign;		/* out: 1 when somebody else's write was seen */
	char name[KTUNE_NAME_MAX];	/* out, as all that follows */
	char original[KTUNE_TEXT_MAX];
	char seen[KTUNE_TEXT_MAX];	/* after our last write; empty: never written */
	char before[KTUNE_TEXT_MAX];	/* as the last write, or the restore, found it */
	char live[KTUNE_TEXT_MAX];	/* now; of a session that is over: at its end */
	__u64 reserved[2];
};

struct ktune_result {
	__u64 session;		/* in: 0 this one, else a recent one by number */
	__u32 state;		/* out, as all that follows: enum ktune_state */
	__u32 reason;		/* enum ktune_reason */
	__u32 knobs;
	__u32 restored;
	__u32 unchanged;
	__u32 foreign;
	__u32 gone;
	__u32 failed;
	__u32 attempts_refused;
	__u32 rounds;		/* the first try and those after it */
	__u64 took_ns;		/* the first round */
	__u64 ended_ns;		/* CLOCK_BOOTTIME */
	char first_failed[KTUNE_NAME_MAX];
	__u64 reserved[4];
};

#define KTUNE_IOC_INFO		_IOR(0xBA, 0, struct ktune_info)
#define KTUNE_IOC_ADD		_IOWR(0xBA, 1, struct ktune_add)
#define KTUNE_IOC_COUPLE	_IOW(0xBA, 2, struct ktune_couple)
#define KTUNE_IOC_BEGIN		_IOWR(0xBA, 3, struct ktune_lease)
#define KTUNE_IOC_RENEW		_IOWR(0xBA, 4, struct ktune_lease)
#define KTUNE_IOC_APPLY		_IOWR(0xBA, 5, struct ktune_set)
#define KTUNE_IOC_STAGE		_IOW(0xBA, 6, struct ktune_set)
#define KTUNE_IOC_SWITCH	_IOWR(0xBA, 7, struct ktune_set)
#define KTUNE_IOC_KEEP		_IOW(0xBA, 8, __u32)
#define KTUNE_IOC_KNOB		_IOWR(0xBA, 9, struct ktune_knob)
#define KTUNE_IOC_COMMIT	_IO(0xBA, 10)
#define KTUNE_IOC_RELEASE	_IOR(0xBA, 11, struct ktune_result)
#define KTUNE_IOC_RESULT	_IOWR(0xBA, 12, struct ktune_result)
/* 32 and up: modes, schedules and trees */

#endif
