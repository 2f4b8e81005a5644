// SPDX-License-Identifier: GPL-2.0
/*
 * Which knobs there are at all. The table is made from the catalog's tunable
 * set (python -m ktune.catalog.generate): a name that is not in it does not
 * exist for the module, whoever asks.
 */
#include <linux/cpumask.h>
#include <linux/kernel.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/overflow.h>

#include "ktune.h"
#include "kt_text.h"

#define KT_N(n)			{ .number = (n) }
#define KT_TIMES(f, n)		{ .number = (n), .fact = (f) }
#define KT_OVER(f, n)		{ .number = (n), .fact = (f), .divide = true }
#define KT_BOUNDS(...)		((const struct kt_bound[]){ __VA_ARGS__ })
#define KT_SPECIAL(...)		((const s64[]){ __VA_ARGS__ })

static const struct kt_rule kt_rule_table[] = {
#include "kt_allowlist.h"
};

unsigned int kt_rules(void)
{
	return ARRAY_SIZE(kt_rule_table);
}

const struct kt_rule *kt_rule_of(const char *name)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(kt_rule_table); i++)
		if (kt_matches(kt_rule_table[i].name, name))
			return &kt_rule_table[i];
	return NULL;
}

static s64 kt_bound_value(const struct kt_bound *bound)
{
	s64 fact, found;

	switch (bound->fact) {
	case KT_MEM_BYTES:
		fact = (s64)totalram_pages() << PAGE_SHIFT;
		break;
	case KT_MEM_KIB:
		fact = (s64)totalram_pages() << (PAGE_SHIFT - 10);
		break;
	case KT_MEM_PAGES:
		fact = totalram_pages();
		break;
	case KT_CPUS:
		fact = num_online_cpus();
		break;
	case KT_PAGE_BYTES:
		fact = PAGE_SIZE;
		break;
	default:
		return bound->number;
	}
	if (bound->divide)
		return div64_s64(fact, bound->number);
	return check_mul_overflow(fact, bound->number, &found) ? S64_MAX : found;
}

static bool kt_one_of(s64 value, const s64 *list, unsigned int n)
{
	while (n--)
		if (list[n] == value)
			return true;
	return false;
}

/* 0, -EINVAL: not a number of 64 bits, hence outside every limit. */
static int kt_number(const char *word, size_t len, s64 *value)
{
	char digits[KT_DIGITS_MAX + 2];

	if (len >= sizeof(digits))
		return -EINVAL;
	memcpy(digits, word, len);
	digits[len] = '\0';
	return kstrtos64(digits, 10, value) ? -EINVAL : 0;
}

static bool kt_within_rule(const struct kt_rule *rule, unsigned int i, s64 value)
{
	unsigned int at = rule->elements == 1 ? 0 : i;

	if (!rule->elements)
		return true;
	return at < rule->elements && value >= kt_bound_value(&rule->least[at]) &&
	       value <= kt_bound_value(&rule->most[at]);
}

static bool kt_within_limits(const struct kt_limits *limits, unsigned int i, s64 value)
{
	unsigned int at = limits->elements == 1 ? 0 : i;
	u64 above;
	u32 rest;

	if (!limits->elements)
		return true;
	if (at >= limits->elements || value < limits->least[at] || value > limits->most[at])
		return false;
	if (limits->step <= 1)
		return true;
	above = (u64)value - (u64)limits->least[at];
	if (limits->step > U32_MAX)
		return above - div64_u64(above, limits->step) * limits->step == 0;
	div_u64_rem(above, limits->step, &rest);
	return !rest;
}

static int kt_check_numbers(const struct kt_rule *rule, const struct kt_limits *limits,
			    const char *text)
{
	bool exact = rule->type == KTUNE_INT;
	const char *word;
	unsigned int i;
	size_t len;
	s64 value;

	for (i = 0; (word = kt_word(text, &len)); i++) {
		if (kt_number(word, len, &value))
			return -ERANGE;
		if (!(exact && kt_one_of(value, rule->special, rule->specials)) &&
		    !kt_within_rule(rule, i, value))
			return -ERANGE;
		if (!(exact && kt_one_of(value, limits->special, limits->specials)) &&
		    !kt_within_limits(limits, i, value))
			return -ERANGE;
		text = word + len;
	}
	if (rule->length && i != rule->length)
		return -EINVAL;
	if ((rule->elements > 1 && i != rule->elements) ||
	    (limits->elements > 1 && i != limits->elements))
		return -EINVAL;
	return 0;
}

int kt_check_value(const struct kt_rule *rule, const struct kt_limits *limits,
		   const char *text)
{
	size_t len = strlen(text);

	if (rule->type == KTUNE_INT || rule->type == KTUNE_VECTOR)
		return kt_check_numbers(rule, limits, text);
	if (rule->choices && !kt_listed(rule->choices, text, len))
		return -ERANGE;
	if (limits->choices[0] && !kt_listed(limits->choices, text, len))
		return -ERANGE;
	return 0;
}
