/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Modes, schedules and trees over /dev/ktune; kmod/ABI-modes.md says what each request
 * does and every errno it gives. All structs have one layout for 32 and 64 bit;
 * padding must be zero, so that it can get a meaning later.
 */
#ifndef _UAPI_KTUNE_MODES_H
#define _UAPI_KTUNE_MODES_H

#include <linux/ioctl.h>
#include <linux/types.h>

enum ktune_mode_name {
	KTUNE_MODE_IDLE,
	KTUNE_MODE_LEARNING,
	KTUNE_MODE_COLLABORATION,
	KTUNE_MODE_RECOMMENDATION,
	KTUNE_MODE_EMERGENCY,
};

/* What user space may tell; the module sees the rest by itself. */
enum ktune_event {
	KTUNE_EVENT_STARTED,		/* a search begins, or goes on */
	KTUNE_EVENT_FINALISTS,		/* it is over: something to confirm */
	KTUNE_EVENT_NO_FINALIST,	/* it is over: nothing found */
	KTUNE_EVENT_CONFIRMED,		/* the confirmation is over */
	KTUNE_EVENT_WATCH,		/* a policy is put in force and watched */
	KTUNE_EVENT_REGRESSED,		/* a test says that it does harm */
	KTUNE_EVENT_POLICY_GONE,	/* rolled back by hand */
	KTUNE_EVENT_TRIPPED,		/* a guardrail was crossed */
	KTUNE_EVENT_FOREIGN,		/* somebody else wrote one of its knobs */
	KTUNE_EVENT_CRITICAL,		/* emergency now */
	KTUNE_EVENT_CLEARED,		/* a person ends the emergency */
	KTUNE_EVENTS,
};

#define KTUNE_TRIPS_MAX		1000
#define KTUNE_MODE_REAPPLIES	1	/* a foreign write is written over */

struct ktune_mode {
	__u32 event;		/* in: enum ktune_event */
	__u32 max_trips;	/* in, with STARTED and WATCH: this one is an emergency */
	__u32 flags;		/* in, with STARTED and WATCH: KTUNE_MODE_* */
	__u32 mode;		/* out: enum ktune_mode_name */
	__u32 commands;		/* out: enum kt_command of kmod/kt_core.h */
	__u32 trips;		/* out */
	__u32 reserved[2];
};

#define KTUNE_TREE_VERSION	1
#define KTUNE_TREE_DEPTH	3	/* questions on the way to a leaf, at most */
#define KTUNE_TREE_NODES	7	/* (1 << KTUNE_TREE_DEPTH) - 1 */
#define KTUNE_TREE_LEAVES	4
#define KTUNE_TREE_LEAF		0x80	/* in a reference: a leaf, else a node */

/* What a tree does when user space has died. */
enum ktune_keeps {
	KTUNE_KEEPS_NOT,	/* nothing: the lease ends */
	KTUNE_KEEPS_ON,		/* goes on, and renews the lease itself */
	KTUNE_KEEPS_LEASE,	/* goes on until the lease ends */
	KTUNE_KEEPS,
};

#define KTUNE_THRESHOLD_MAX	999999999999ULL

#define KTUNE_TREE_SAMPLE_MS_MIN	100
#define KTUNE_TREE_SAMPLE_MS_MAX	3600000
#define KTUNE_TREE_DWELL_MS_MAX		86400000
#define KTUNE_TREE_LOOKS_MAX		1000

/* What a question may ask for; ktune/profile/features.py says what each is. */
enum ktune_feature {
	KTUNE_CPU_BUSY,
	KTUNE_CPU_PRESSURE,
	KTUNE_MEMORY_PRESSURE,
	KTUNE_IO_PRESSURE,
	KTUNE_DISK_REQUESTS,
	KTUNE_DISK_READ_SHARE,
	KTUNE_READ_KIB_PER_REQUEST,
	KTUNE_WRITE_KIB_PER_REQUEST,
	KTUNE_MAJOR_FAULTS,
	KTUNE_FILE_PAGES_READ_KIB,
	KTUNE_PACKETS,
	KTUNE_BYTES_PER_PACKET,
	KTUNE_CONTEXT_SWITCHES,
	KTUNE_FORKS,
	KTUNE_FEATURES,
};

/*
 * feature >= threshold leads to then. While a leaf under then is in force the
 * threshold is stay_then (lower), while one under otherwise is, stay_otherwise
 * (higher): user space works hysteresis out, so that both sides compare the
 * same whole numbers. References lead forward only, to each node once.
 */
struct ktune_node {
	__u64 threshold;
	__u64 stay_then;
	__u64 stay_otherwise;
	__u8 feature;
	__u8 then;
	__u8 otherwise;
	__u8 pad[5];
};

struct ktune_tree {
	__u32 version;		/* KTUNE_TREE_VERSION */
	__u32 sample_ms;	/* a look each so many ms */
	__u32 dwell_ms;		/* at least so long in one leaf */
	__u32 looks;		/* so many looks in a row must agree */
	__u8 nodes;
	__u8 leaves;		/* leaf i is the session's slot i + 1 */
	__u8 root;		/* a reference, as then and otherwise are */
	__u8 first;		/* the leaf in force before the first look */
	__u8 keeps;		/* enum ktune_keeps */
	__u8 pad[3];
	struct ktune_node node[KTUNE_TREE_NODES];
};

#define KTUNE_SCHEDULE_VERSION	1
#define KTUNE_WINDOWS_MAX	4096
#define KTUNE_WINDOW_MS_MIN	20
#define KTUNE_WINDOW_MS_MAX	3600000

/*
 * Which arm is in force in which window: bit i is 1 for the candidate, 0 for
 * the baseline. Windows 2k and 2k+1 are a pair and hold one of each.
 */
struct ktune_schedule {
	__u32 version;		/* KTUNE_SCHEDULE_VERSION */
	__u32 windows;
	__u32 window_ms;
	__u32 slot;		/* the candidate's; the baseline is slot 0 */
	__u64 bits[KTUNE_WINDOWS_MAX / 64];
};

#define KTUNE_STAMP_LATE	1	/* longer than asked by more than a tenth */
#define KTUNE_STAMP_FAILED	2	/* the switch to its arm did not succeed */
#define KTUNE_STAMP_CUT		4	/* ended before its time */

/* One window as it was; times in ns of CLOCK_BOOTTIME, 0: not yet. */
struct ktune_stamp {
	__u64 asked_ns;		/* the switch to its arm began */
	__u64 begun_ns;		/* its arm was in force */
	__u64 ended_ns;
	__u32 window;
	__u8 arm;
	__u8 flags;
	__u8 pad[2];
};

struct ktune_stamps {
	__u32 first;		/* in: number of a window */
	__u32 count;		/* in: room; out: so many were there */
	__u64 stamps;		/* pointer to struct ktune_stamp[count] */
	__u32 windows;		/* out: of the schedule */
	__u32 over;		/* out: 1 when nothing will be added */
};

#define KTUNE_IOC_MODE		_IOWR(0xBA, 32, struct ktune_mode)
#define KTUNE_IOC_SCHEDULE	_IOW(0xBA, 33, struct ktune_schedule)
#define KTUNE_IOC_STAMPS	_IOWR(0xBA, 34, struct ktune_stamps)
#define KTUNE_IOC_TREE		_IOW(0xBA, 35, struct ktune_tree)
#define KTUNE_IOC_STOP		_IO(0xBA, 36)	/* the schedule or tree */
#define KTUNE_IOC_PAUSE		_IO(0xBA, 40)	/* a tree: the session's to write */
#define KTUNE_IOC_RESUME	_IO(0xBA, 41)

#endif
