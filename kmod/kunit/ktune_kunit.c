// SPDX-License-Identifier: GPL-2.0
/*
 * The pure parts of the module, tested in a kernel: kmod/kunit/README says how.
 * tests/kmod tests the same headers in user space, against the Python.
 */
#include <kunit/test.h>
#include <linux/slab.h>

#include "../kt_core.h"
#include "../kt_features.h"
#include "../kt_schedule.h"
#include "../kt_tree.h"

#define ALL_FEATURES (BIT(KTUNE_FEATURES) - 1)
#define LEAF(n) (KTUNE_TREE_LEAF | (n))

/* ---- modes ---- */

static struct kt_state begun(u32 max_trips, bool stays)
{
	return (struct kt_state) {
		.mode = KT_IDLE,
		.conduct = { .max_trips = max_trips, .stays = stays },
	};
}

static u32 follow(struct kt_state *s, enum kt_event event)
{
	struct kt_step step = kt_step(*s, event);

	*s = step.state;
	return step.commands;
}

static void core_third_trip_is_an_emergency(struct kunit *test)
{
	struct kt_state s = begun(3, false);

	follow(&s, KT_STARTED);
	follow(&s, KT_TRIPPED);
	KUNIT_EXPECT_TRUE(test, follow(&s, KT_TRIPPED) & KT_DO_WAIT_QUIET);
	KUNIT_EXPECT_EQ(test, s.mode, KT_LEARNING);
	KUNIT_EXPECT_TRUE(test, follow(&s, KT_TRIPPED) & KT_DO_REFUSE);
	KUNIT_EXPECT_EQ(test, s.mode, KT_EMERGENCY);
}

static void core_emergency_wins_and_lasts(struct kunit *test)
{
	enum kt_event event;
	int mode;

	for (mode = KT_IDLE; mode < KT_MODES; mode++) {
		struct kt_state s = begun(3, true);

		s.mode = mode;
		KUNIT_EXPECT_TRUE(test, follow(&s, KT_CRITICAL) & KT_DO_RESTORE);
		for (event = 0; event < KT_EVENTS; event++) {
			if (event == KT_CLEARED || event == KT_QUIET)
				continue;
			follow(&s, event);
			KUNIT_EXPECT_EQ(test, s.mode, KT_EMERGENCY);
			KUNIT_EXPECT_FALSE(test, kt_may(s, KT_POLICY));
			KUNIT_EXPECT_FALSE(test, kt_may(s, KT_CANDIDATE));
			KUNIT_EXPECT_TRUE(test, kt_may(s, KT_RESTORE));
		}
		follow(&s, KT_CLEARED);
		KUNIT_EXPECT_EQ(test, s.mode, KT_IDLE);
	}
}

static void core_policy_outlives_its_watcher_if_asked(struct kunit *test)
{
	struct kt_state stays = begun(3, true), goes = begun(3, false);

	follow(&stays, KT_WATCH);
	KUNIT_EXPECT_FALSE(test, follow(&stays, KT_CLOSED) & KT_DO_RESTORE);
	KUNIT_EXPECT_EQ(test, stays.mode, KT_RECOMMENDATION);
	KUNIT_EXPECT_TRUE(test, stays.unguarded);
	follow(&goes, KT_WATCH);
	KUNIT_EXPECT_TRUE(test, follow(&goes, KT_CLOSED) & KT_DO_RESTORE);
	KUNIT_EXPECT_EQ(test, goes.mode, KT_IDLE);
}

static struct kunit_case core_cases[] = {
	KUNIT_CASE(core_third_trip_is_an_emergency),
	KUNIT_CASE(core_emergency_wins_and_lasts),
	KUNIT_CASE(core_policy_outlives_its_watcher_if_asked),
	{}
};

static struct kunit_suite core_suite = {
	.name = "ktune_core", .test_cases = core_cases,
};

/* ---- tree ---- */

/* major_faults >= 100: leaf 0; else packets >= 10: leaf 1, else leaf 2 */
static void three_leaves(struct ktune_tree *raw)
{
	*raw = (struct ktune_tree) {
		.version = KTUNE_TREE_VERSION,
		.sample_ms = 1000, .dwell_ms = 5000, .looks = 2,
		.nodes = 2, .leaves = 3, .root = 0, .first = 2,
		.node = {
			{ .threshold = 100, .stay_then = 90, .stay_otherwise = 110,
			  .feature = KTUNE_MAJOR_FAULTS, .then = LEAF(0),
			  .otherwise = 1 },
			{ .threshold = 10, .stay_then = 9, .stay_otherwise = 11,
			  .feature = KTUNE_PACKETS, .then = LEAF(1),
			  .otherwise = LEAF(2) },
		},
	};
}

static void tree_answers_stick_near_a_threshold(struct kunit *test)
{
	u64 found[KTUNE_FEATURES] = { };
	struct ktune_tree raw;
	struct kt_tree tree;

	three_leaves(&raw);
	KUNIT_ASSERT_EQ(test, kt_tree_check(&raw, ALL_FEATURES, &tree),
			KT_TREE_GOOD);
	found[KTUNE_MAJOR_FAULTS] = 105;
	KUNIT_EXPECT_EQ(test, kt_tree_choose(&tree, found, KT_NO_LEAF), 0);
	KUNIT_EXPECT_EQ(test, kt_tree_choose(&tree, found, 2), 2);
	KUNIT_EXPECT_EQ(test, kt_tree_choose(&tree, found, 0), 0);
	found[KTUNE_MAJOR_FAULTS] = 95;
	KUNIT_EXPECT_EQ(test, kt_tree_choose(&tree, found, 0), 0);
	KUNIT_EXPECT_EQ(test, kt_tree_choose(&tree, found, 1), 2);
}

static void tree_waits_for_looks_and_dwell(struct kunit *test)
{
	u64 quiet[KTUNE_FEATURES] = { }, busy[KTUNE_FEATURES] = { };
	struct kt_choice c;
	struct ktune_tree raw;
	struct kt_tree tree;
	u64 second = NSEC_PER_SEC;

	busy[KTUNE_MAJOR_FAULTS] = 1000;
	three_leaves(&raw);
	KUNIT_ASSERT_EQ(test, kt_tree_check(&raw, ALL_FEATURES, &tree),
			KT_TREE_GOOD);
	c = kt_tree_begin(&tree);
	c = kt_tree_follow(c, &tree, busy, 1 * second);
	KUNIT_EXPECT_EQ(test, c.leaf, 2);
	c = kt_tree_follow(c, &tree, busy, 2 * second);
	KUNIT_EXPECT_EQ(test, c.leaf, 0);	/* free: nothing was known */
	c = kt_tree_follow(c, &tree, quiet, 3 * second);
	c = kt_tree_follow(c, &tree, quiet, 4 * second);
	c = kt_tree_follow(c, &tree, quiet, 7 * second - 1);
	KUNIT_EXPECT_EQ(test, c.leaf, 0);	/* the dwell is not over */
	c = kt_tree_follow(c, &tree, quiet, 7 * second);
	KUNIT_EXPECT_EQ(test, c.leaf, 2);
}

static void tree_refuses_nonsense(struct kunit *test)
{
	struct ktune_tree *raw = kunit_kzalloc(test, sizeof(*raw), GFP_KERNEL);
	struct kt_tree *tree = kunit_kzalloc(test, sizeof(*tree), GFP_KERNEL);
	u32 known = ALL_FEATURES;

	KUNIT_ASSERT_NOT_NULL(test, raw);
	KUNIT_ASSERT_NOT_NULL(test, tree);
	KUNIT_EXPECT_EQ(test, kt_tree_check(raw, known, tree),
			KT_TREE_UNKNOWN_VERSION);
	three_leaves(raw);
	raw->nodes = KTUNE_TREE_NODES + 1;
	KUNIT_EXPECT_EQ(test, kt_tree_check(raw, known, tree), KT_TREE_BAD_SIZE);
	three_leaves(raw);
	raw->node[1].then = 0;		/* back to the root: would never end */
	KUNIT_EXPECT_EQ(test, kt_tree_check(raw, known, tree),
			KT_TREE_BAD_REFERENCE);
	three_leaves(raw);
	raw->node[1].then = LEAF(3);
	KUNIT_EXPECT_EQ(test, kt_tree_check(raw, known, tree),
			KT_TREE_BAD_REFERENCE);
	three_leaves(raw);
	raw->node[0].feature = KTUNE_FEATURES;
	KUNIT_EXPECT_EQ(test, kt_tree_check(raw, known, tree),
			KT_TREE_BAD_FEATURE);
	three_leaves(raw);
	KUNIT_EXPECT_EQ(test, kt_tree_check(raw, BIT(KTUNE_PACKETS), tree),
			KT_TREE_UNREACHABLE);
}

static struct kunit_case tree_cases[] = {
	KUNIT_CASE(tree_answers_stick_near_a_threshold),
	KUNIT_CASE(tree_waits_for_looks_and_dwell),
	KUNIT_CASE(tree_refuses_nonsense),
	{}
};

static struct kunit_suite tree_suite = {
	.name = "ktune_tree", .test_cases = tree_cases,
};

/* ---- schedule ---- */

static void schedule_gives_each_arm_its_windows(struct kunit *test)
{
	struct ktune_schedule *raw = kunit_kzalloc(test, sizeof(*raw), GFP_KERNEL);
	struct kt_schedule *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);
	struct ktune_stamp stamps[4] = { };
	u64 now = 1000;
	int i;

	KUNIT_ASSERT_NOT_NULL(test, raw);
	KUNIT_ASSERT_NOT_NULL(test, s);
	raw->version = KTUNE_SCHEDULE_VERSION;
	raw->windows = 4;
	raw->window_ms = 100;
	raw->slot = 1;
	raw->bits[0] = 0x6;		/* baseline, candidate; candidate, baseline */
	KUNIT_ASSERT_EQ(test, kt_schedule_check(raw, s), KT_SCHEDULE_GOOD);
	for (i = 0; i < 4; i++) {
		KUNIT_EXPECT_EQ(test, kt_schedule_turn(s, stamps, now),
				KT_TURN_SWITCH);
		now += 5 * NSEC_PER_MSEC;	/* the switch takes its time */
		kt_schedule_began(s, stamps, now, false);
		KUNIT_EXPECT_EQ(test, kt_schedule_turn(s, stamps, s->due_ns - 1),
				KT_TURN_WAIT);
		now = s->due_ns + (i == 2 ? 50 * NSEC_PER_MSEC : 0);
	}
	KUNIT_EXPECT_EQ(test, kt_schedule_turn(s, stamps, now), KT_TURN_OVER);
	for (i = 0; i < 4; i++) {
		KUNIT_EXPECT_EQ(test, stamps[i].arm, i == 1 || i == 2);
		KUNIT_EXPECT_EQ(test, stamps[i].flags,
				i == 2 ? KTUNE_STAMP_LATE : 0);
	}
}

static void schedule_refuses_uneven_halves(struct kunit *test)
{
	struct ktune_schedule *raw = kunit_kzalloc(test, sizeof(*raw), GFP_KERNEL);
	struct kt_schedule *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, raw);
	KUNIT_ASSERT_NOT_NULL(test, s);
	raw->version = KTUNE_SCHEDULE_VERSION;
	raw->windows = KTUNE_WINDOWS_MAX + 2;
	raw->window_ms = 100;
	raw->slot = 1;
	KUNIT_EXPECT_EQ(test, kt_schedule_check(raw, s), KT_SCHEDULE_BAD_SIZE);
	raw->windows = 4;
	raw->bits[0] = 0x3;
	KUNIT_EXPECT_EQ(test, kt_schedule_check(raw, s), KT_SCHEDULE_ONE_SIDED);
}

static struct kunit_case schedule_cases[] = {
	KUNIT_CASE(schedule_gives_each_arm_its_windows),
	KUNIT_CASE(schedule_refuses_uneven_halves),
	{}
};

static struct kunit_suite schedule_suite = {
	.name = "ktune_schedule", .test_cases = schedule_cases,
};

/* ---- features ---- */

static void features_are_rates_and_shares(struct kunit *test)
{
	struct kt_reading before = { }, after = { .at_ns = 2 * NSEC_PER_SEC };
	u64 found[KTUNE_FEATURES];

	after.value[KT_CPU_ALL] = 4000000;
	after.value[KT_CPU_BUSY] = 1000000;
	after.value[KT_PGMAJFAULT] = 301;
	after.value[KT_NET_PACKETS] = 3;
	after.value[KT_NET_BYTES] = 1000;
	kt_features_between(&before, &after, found);
	KUNIT_EXPECT_EQ(test, found[KTUNE_CPU_BUSY], 25);
	KUNIT_EXPECT_EQ(test, found[KTUNE_MAJOR_FAULTS], 151);
	KUNIT_EXPECT_EQ(test, found[KTUNE_BYTES_PER_PACKET], 333);
	KUNIT_EXPECT_EQ(test, found[KTUNE_DISK_READ_SHARE], 0);
}

static void features_need_all_their_counters(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, kt_features_of(BIT(KT_PGMAJFAULT)),
			BIT(KTUNE_MAJOR_FAULTS));
	KUNIT_EXPECT_EQ(test, kt_features_of(BIT(KT_NET_BYTES)), 0);
	KUNIT_EXPECT_EQ(test, kt_features_of(BIT(KT_COUNTERS) - 1),
			ALL_FEATURES);
}

static struct kunit_case features_cases[] = {
	KUNIT_CASE(features_are_rates_and_shares),
	KUNIT_CASE(features_need_all_their_counters),
	{}
};

static struct kunit_suite features_suite = {
	.name = "ktune_features", .test_cases = features_cases,
};

kunit_test_suites(&core_suite, &tree_suite, &schedule_suite, &features_suite);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("KUnit tests of ktune's pure parts");
