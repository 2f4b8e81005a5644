/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * What user space hands to the module about modes: a tree, a schedule, and the
 * stamps that come back. Every number is little or big endian as the machine
 * is; padding is explicit and must be zero, so that it can get a meaning later.
 */
#ifndef KTUNE_MODES_UAPI_H
#define KTUNE_MODES_UAPI_H

#include <linux/types.h>

#define KTUNE_TREE_VERSION	1
#define KTUNE_TREE_DEPTH	3	/* questions on the way to a leaf, at most */
#define KTUNE_TREE_NODES	7	/* (1 << KTUNE_TREE_DEPTH) - 1 */
#define KTUNE_TREE_LEAVES	4
#define KTUNE_TREE_LEAF		0x80	/* in a reference: a leaf, else a node */
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
	__u8 leaves;
	__u8 root;		/* a reference, as then and otherwise are */
	__u8 first;		/* the leaf in force before the first look */
	__u8 keeps;		/* 1: goes on adapting when user space has died */
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
	__u32 pad;
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

#endif
