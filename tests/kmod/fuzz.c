// SPDX-License-Identifier: GPL-2.0
/*
 * Untrusted trees and schedules under AddressSanitizer: each lives in memory of
 * exactly its size. fuzz ROUNDS SEED prints how many were accepted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kt_schedule.h"
#include "kt_tree.h"

static __u64 seed;

static __u64 draw(__u64 below)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (seed >> 24) % below;
}

static void *exactly(size_t size)
{
	unsigned char *room = malloc(size);
	size_t i;

	for (i = 0; room && i < size; i++)
		room[i] = draw(4) ? 0 : draw(256);
	return room;
}

static __u8 reference(unsigned int from)
{
	switch (draw(8)) {
	case 0:
		return draw(256);
	case 1:
	case 2:
		return from + 1 + draw(3);
	default:
		return KTUNE_TREE_LEAF | draw(KTUNE_TREE_LEAVES);
	}
}

/* Nearly right, so that a good part is accepted. */
static void nearly(struct ktune_tree *t)
{
	unsigned int i;

	memset(t, 0, sizeof(*t));
	t->version = 1;
	t->sample_ms = 1000;
	t->looks = 1 + draw(3);
	t->nodes = draw(KTUNE_TREE_NODES + 1);
	t->leaves = 1 + draw(KTUNE_TREE_LEAVES);
	t->root = t->nodes ? 0 : KTUNE_TREE_LEAF;
	t->first = draw(t->leaves);
	for (i = 0; i < KTUNE_TREE_NODES; i++) {
		t->node[i].threshold = draw(100);
		t->node[i].stay_then = t->node[i].threshold / 2;
		t->node[i].stay_otherwise = t->node[i].threshold * 2;
		t->node[i].feature = draw(KTUNE_FEATURES);
		t->node[i].then = reference(i);
		t->node[i].otherwise = reference(i);
	}
	if (!draw(4))
		((unsigned char *)t)[draw(sizeof(*t))] = draw(256);
}

static int one_tree(void)
{
	struct ktune_tree *raw = exactly(sizeof(*raw));
	struct kt_tree *tree = malloc(sizeof(*tree));
	struct kt_choice choice;
	int good;
	__u64 now;

	if (!raw || !tree)
		abort();
	if (draw(8))
		nearly(raw);
	good = kt_tree_check(raw, (1U << KTUNE_FEATURES) - 1, tree) == KT_TREE_GOOD;
	if (good) {
		choice = kt_tree_begin(tree);
		for (now = 0; now < 20; now++) {
			__u64 *found = exactly(KTUNE_FEATURES * sizeof(*found));

			if (!found)
				abort();
			choice = kt_tree_follow(choice, tree, found, now * 500000000);
			if (choice.leaf >= tree->leaves)
				abort();
			free(found);
		}
	}
	free(raw);
	free(tree);
	return good;
}

static int one_schedule(void)
{
	struct ktune_schedule *raw = exactly(sizeof(*raw));
	struct kt_schedule *s = malloc(sizeof(*s));
	struct ktune_stamp *stamps;
	__u64 now = 1;
	__u32 i, taken = 0;
	int good;

	if (!raw || !s)
		abort();
	if (draw(4)) {
		raw->version = 1;
		raw->windows = 2 * (1 + draw(draw(2) ? 8 : KTUNE_WINDOWS_MAX / 2));
		raw->window_ms = 20 + draw(100);
		raw->slot = 1;
		memset(raw->bits, 0, sizeof(raw->bits));
		for (i = 0; i < raw->windows; i += 2) {
			__u32 one = i + draw(2);

			raw->bits[one / 64] |= 1ULL << one % 64;
		}
		if (!draw(4))
			((unsigned char *)raw)[draw(sizeof(*raw))] ^= 1 << draw(8);
	}
	good = kt_schedule_check(raw, s) == KT_SCHEDULE_GOOD;
	if (good) {
		stamps = calloc(s->windows, sizeof(*stamps));
		if (!stamps)
			abort();
		while (kt_schedule_turn(s, stamps, now) == KT_TURN_SWITCH) {
			kt_schedule_began(s, stamps, ++now, !draw(5000));
			now = s->due_ns;
			taken++;
		}
		if (taken > s->windows || kt_schedule_stamped(s) > s->windows)
			abort();
		kt_schedule_cut(s, stamps, now);
		free(stamps);
	}
	free(raw);
	free(s);
	return good;
}

int main(int argc, char **argv)
{
	unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000;
	unsigned long trees = 0, schedules = 0, i;

	seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	for (i = 0; i < rounds; i++) {
		trees += one_tree();
		schedules += one_schedule();
	}
	printf("%lu trees, %lu schedules accepted of %lu\n", trees, schedules, rounds);
	return 0;
}
