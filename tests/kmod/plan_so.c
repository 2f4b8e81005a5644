// SPDX-License-Identifier: GPL-2.0
/* The module's texts and restore plan as a shared object: tests/kmod/plan.py calls it by ctypes. */
#include <stddef.h>
#include "kt_text.h"
#include "kt_plan.h"

int text_canonical(__u32 type, const char *in, char *out, size_t size)
{
	return kt_canonical(type, in, out, size);
}

int text_matches(const char *pattern, const char *name)
{
	return kt_matches(pattern, name);
}

int text_listed(const char *list, const char *word)
{
	return kt_listed(list, word, strlen(word));
}

void plan_verdicts(struct kt_item *items, unsigned int n, const struct kt_pair *pairs,
		   unsigned int np)
{
	kt_plan_verdicts(items, n, pairs, np);
}

void plan_order(struct kt_item *items, __u16 *order, unsigned int n, const struct kt_pair *pairs,
		unsigned int np)
{
	kt_plan_order(items, order, n, pairs, np);
}

void plan_draggers_first(struct kt_item *items, __u16 *order, unsigned int n,
			 const struct kt_pair *pairs, unsigned int np)
{
	kt_plan_draggers_first(items, order, n, pairs, np);
}

/* Sizes, in the order in which plan.py checks its own layouts against them. */
const size_t sizes[] = {
	sizeof(struct kt_item), sizeof(struct kt_pair),
};

const unsigned long requests[] = {
	KTUNE_IOC_INFO, KTUNE_IOC_ADD, KTUNE_IOC_COUPLE, KTUNE_IOC_BEGIN, KTUNE_IOC_RENEW,
	KTUNE_IOC_APPLY, KTUNE_IOC_STAGE, KTUNE_IOC_SWITCH, KTUNE_IOC_KEEP, KTUNE_IOC_KNOB,
	KTUNE_IOC_COMMIT, KTUNE_IOC_RELEASE, KTUNE_IOC_RESULT,
};

const size_t item_size = sizeof(struct ktune_item);
const unsigned int limits[] = {
	KTUNE_ABI, KTUNE_NAME_MAX, KTUNE_TEXT_MAX, KTUNE_KNOBS_MAX, KTUNE_COUPLES_MAX,
	KTUNE_ELEMENTS_MAX, KTUNE_SPECIALS_MAX,
};

const size_t offsets[] = {
	offsetof(struct ktune_info, version), offsetof(struct ktune_add, least),
	offsetof(struct ktune_add, choices), offsetof(struct ktune_add, index),
	offsetof(struct ktune_add, original), offsetof(struct ktune_set, items),
	offsetof(struct ktune_knob, live), offsetof(struct ktune_result, took_ns),
	offsetof(struct ktune_result, first_failed),
};
