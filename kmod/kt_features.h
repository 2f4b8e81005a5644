/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a workload looks like: whole numbers out of two readings of counters
 * that only grow, as ktune/measure/fingerprint.py works them out. No kernel
 * call in here but the 64-bit division. Halves are rounded up.
 */
#ifndef KT_FEATURES_H
#define KT_FEATURES_H

#include <linux/types.h>
#ifdef __KERNEL__
#include <linux/math64.h>
#endif
#include "uapi/ktune_modes.h"

enum kt_counter {
	KT_CPU_ALL,		/* in one unit with KT_CPU_BUSY */
	KT_CPU_BUSY,
	KT_CPU_STALLED_US,
	KT_MEMORY_STALLED_US,
	KT_IO_STALLED_US,
	KT_DISK_READS,
	KT_DISK_READ_SECTORS,	/* of 512 bytes */
	KT_DISK_WRITES,
	KT_DISK_WRITE_SECTORS,
	KT_PGMAJFAULT,
	KT_PGPGIN_KIB,
	KT_NET_PACKETS,
	KT_NET_BYTES,
	KT_CONTEXT_SWITCHES,
	KT_PROCESSES,
	KT_COUNTERS,
};

struct kt_reading {
	__u64 at_ns;
	__u64 value[KT_COUNTERS];
};

/* Larger differences are cut: no product or sum below overflows. */
#define KT_DELTA_MAX 5000000000000ULL

static inline __u64 kt_divide(__u64 part, __u64 by)
{
	if (!by)
		return 0;
#ifdef __KERNEL__
	return div64_u64(part + by / 2, by);
#else
	return (part + by / 2) / by;
#endif
}

static inline __u64 kt_percent(__u64 part, __u64 whole)
{
	__u64 share = kt_divide(100 * part, whole);

	return share > 100 ? 100 : share;
}

/* The counters that a feature is made of, a bit each. */
static inline __u32 kt_feature_needs(enum ktune_feature feature)
{
	static const __u32 needs[KTUNE_FEATURES] = {
		[KTUNE_CPU_BUSY] = 1 << KT_CPU_ALL | 1 << KT_CPU_BUSY,
		[KTUNE_CPU_PRESSURE] = 1 << KT_CPU_STALLED_US,
		[KTUNE_MEMORY_PRESSURE] = 1 << KT_MEMORY_STALLED_US,
		[KTUNE_IO_PRESSURE] = 1 << KT_IO_STALLED_US,
		[KTUNE_DISK_REQUESTS] = 1 << KT_DISK_READS | 1 << KT_DISK_WRITES,
		[KTUNE_DISK_READ_SHARE] = 1 << KT_DISK_READS | 1 << KT_DISK_WRITES,
		[KTUNE_READ_KIB_PER_REQUEST] =
			1 << KT_DISK_READS | 1 << KT_DISK_READ_SECTORS,
		[KTUNE_WRITE_KIB_PER_REQUEST] =
			1 << KT_DISK_WRITES | 1 << KT_DISK_WRITE_SECTORS,
		[KTUNE_MAJOR_FAULTS] = 1 << KT_PGMAJFAULT,
		[KTUNE_FILE_PAGES_READ_KIB] = 1 << KT_PGPGIN_KIB,
		[KTUNE_PACKETS] = 1 << KT_NET_PACKETS,
		[KTUNE_BYTES_PER_PACKET] = 1 << KT_NET_PACKETS | 1 << KT_NET_BYTES,
		[KTUNE_CONTEXT_SWITCHES] = 1 << KT_CONTEXT_SWITCHES,
		[KTUNE_FORKS] = 1 << KT_PROCESSES,
	};

	return needs[feature];
}

/* The features that a source of @counters (a bit each) can tell. */
static inline __u32 kt_features_of(__u32 counters)
{
	__u32 features = 0;
	unsigned int i;

	for (i = 0; i < KTUNE_FEATURES; i++)
		if (!(kt_feature_needs(i) & ~counters))
			features |= 1U << i;
	return features;
}

/* 0 where nothing happened, or where a counter went back. */
static inline void kt_features_between(const struct kt_reading *before,
				       const struct kt_reading *after,
				       __u64 found[KTUNE_FEATURES])
{
	__u64 passed_us = kt_divide(after->at_ns - before->at_ns, 1000);
	__u64 d[KT_COUNTERS];
	unsigned int i;

	if (after->at_ns <= before->at_ns || !passed_us)
		passed_us = 1;
	for (i = 0; i < KT_COUNTERS; i++) {
		d[i] = after->value[i] > before->value[i] ?
		       after->value[i] - before->value[i] : 0;
		if (d[i] > KT_DELTA_MAX)
			d[i] = KT_DELTA_MAX;
	}
#define KT_RATE(n) kt_divide((n) * 1000000, passed_us)
	found[KTUNE_CPU_BUSY] = kt_percent(d[KT_CPU_BUSY], d[KT_CPU_ALL]);
	found[KTUNE_CPU_PRESSURE] = kt_percent(d[KT_CPU_STALLED_US], passed_us);
	found[KTUNE_MEMORY_PRESSURE] =
		kt_percent(d[KT_MEMORY_STALLED_US], passed_us);
	found[KTUNE_IO_PRESSURE] = kt_percent(d[KT_IO_STALLED_US], passed_us);
	found[KTUNE_DISK_REQUESTS] =
		KT_RATE(d[KT_DISK_READS] + d[KT_DISK_WRITES]);
	found[KTUNE_DISK_READ_SHARE] =
		kt_percent(d[KT_DISK_READS],
			   d[KT_DISK_READS] + d[KT_DISK_WRITES]);
	found[KTUNE_READ_KIB_PER_REQUEST] =
		kt_divide(d[KT_DISK_READ_SECTORS], 2 * d[KT_DISK_READS]);
	found[KTUNE_WRITE_KIB_PER_REQUEST] =
		kt_divide(d[KT_DISK_WRITE_SECTORS], 2 * d[KT_DISK_WRITES]);
	found[KTUNE_MAJOR_FAULTS] = KT_RATE(d[KT_PGMAJFAULT]);
	found[KTUNE_FILE_PAGES_READ_KIB] = KT_RATE(d[KT_PGPGIN_KIB]);
	found[KTUNE_PACKETS] = KT_RATE(d[KT_NET_PACKETS]);
	found[KTUNE_BYTES_PER_PACKET] =
		kt_divide(d[KT_NET_BYTES], d[KT_NET_PACKETS]);
	found[KTUNE_CONTEXT_SWITCHES] = KT_RATE(d[KT_CONTEXT_SWITCHES]);
	found[KTUNE_FORKS] = KT_RATE(d[KT_PROCESSES]);
#undef KT_RATE
}

#endif
