// SPDX-License-Identifier: GPL-2.0
/* The module's pure headers as a shared object: what tests/kmod calls by ctypes. */
#include <stddef.h>
#include "kt_core.h"
#include "kt_features.h"
#include "kt_lines.h"
#include "kt_schedule.h"
#include "kt_tree.h"

void core_step(struct kt_state *state, int event, __u32 *commands)
{
	struct kt_step step = kt_step(*state, event);

	*state = step.state;
	*commands = step.commands;
}

int core_may(const struct kt_state *state, int write)
{
	return kt_may(*state, write);
}

int tree_check(const struct ktune_tree *raw, __u32 known, struct kt_tree *tree)
{
	return kt_tree_check(raw, known, tree);
}

int tree_choose(const struct kt_tree *tree, const __u64 *found, int now)
{
	return kt_tree_choose(tree, found, now);
}

void tree_begin(const struct kt_tree *tree, struct kt_choice *choice)
{
	*choice = kt_tree_begin(tree);
}

void tree_follow(const struct kt_tree *tree, struct kt_choice *choice, const __u64 *found,
		 __u64 now_ns)
{
	*choice = kt_tree_follow(*choice, tree, found, now_ns);
}

void features_between(const struct kt_reading *before, const struct kt_reading *after,
		      __u64 *found)
{
	kt_features_between(before, after, found);
}

__u32 features_of(__u32 counters)
{
	return kt_features_of(counters);
}

int is_disk(const char *name, __u32 len)
{
	return kt_is_disk(name, len);
}

/* The text in pieces of `piece` bytes. */
void lines_fed(int disks, const char *text, size_t n, size_t piece, __u64 *value)
{
	struct kt_lines lines;
	size_t at;

	kt_lines_begin(&lines, value);
	for (at = 0; at < n; at += piece)
		kt_lines_feed(&lines, text + at, n - at < piece ? n - at : piece,
			      disks ? kt_line_of_diskstats : kt_line_of_stat);
}

int schedule_check(const struct ktune_schedule *raw, struct kt_schedule *schedule)
{
	return kt_schedule_check(raw, schedule);
}

int schedule_turn(struct kt_schedule *schedule, struct ktune_stamp *stamps, __u64 now_ns)
{
	return kt_schedule_turn(schedule, stamps, now_ns);
}

void schedule_began(struct kt_schedule *schedule, struct ktune_stamp *stamps, __u64 now_ns,
		    int failed)
{
	kt_schedule_began(schedule, stamps, now_ns, failed);
}

void schedule_cut(struct kt_schedule *schedule, struct ktune_stamp *stamps, __u64 now_ns)
{
	kt_schedule_cut(schedule, stamps, now_ns);
}

/* Sizes, in the order in which core.py checks its own layouts against them. */
const size_t sizes[] = {
	sizeof(struct kt_state), sizeof(struct kt_tree), sizeof(struct kt_choice),
	sizeof(struct kt_reading), sizeof(struct kt_schedule), sizeof(struct ktune_tree),
	sizeof(struct ktune_schedule), sizeof(struct ktune_stamp),
};
