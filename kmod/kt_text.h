/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Values as text: the one canonical form of what a knob prints or takes, as
 * ktune/kernel/values.py has it, so that two texts are equal when their values
 * are. No kernel call in here: tests/kmod runs the same text in user space.
 */
#ifndef KT_TEXT_H
#define KT_TEXT_H

#ifdef __KERNEL__
#include <linux/errno.h>
#include <linux/kstrtox.h>
#include <linux/string.h>
#else
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#endif
#include "uapi/ktune.h"

#define KT_DIGITS_MAX 20

static inline bool kt_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static inline bool kt_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline char kt_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}

static inline bool kt_hex(char c)
{
	c = kt_lower(c);
	return kt_digit(c) || (c >= 'a' && c <= 'f');
}

/* The next word of a text: its start, and its length in *len; NULL at the end. */
static inline const char *kt_word(const char *text, size_t *len)
{
	size_t n = 0;

	while (kt_blank(*text))
		text++;
	while (text[n] && !kt_blank(text[n]))
		n++;
	*len = n;
	return n ? text : NULL;
}

struct kt_out {
	char *text;
	size_t size;
	size_t len;
};

static inline int kt_put(struct kt_out *out, const char *from, size_t len)
{
	if (out->len + len >= out->size)
		return -EMSGSIZE;
	memcpy(out->text + out->len, from, len);
	out->len += len;
	out->text[out->len] = '\0';
	return 0;
}

/* No leading zeros: "080" is octal to the kernel. */
static inline int kt_put_integer(struct kt_out *out, const char *word, size_t len)
{
	bool minus = *word == '-';
	size_t i;

	if (*word == '+' || *word == '-') {
		word++;
		len--;
	}
	if (!len || len > KT_DIGITS_MAX || (len > 1 && *word == '0'))
		return -EINVAL;
	for (i = 0; i < len; i++)
		if (!kt_digit(word[i]))
			return -EINVAL;
	if (minus && *word != '0' && kt_put(out, "-", 1))
		return -EMSGSIZE;
	return kt_put(out, word, len);
}

/* The words of a text; `folded` ones may be anything, else they are integers. */
static inline int kt_put_words(struct kt_out *out, const char *text, bool folded)
{
	const char *word;
	size_t len;
	int err;

	while ((word = kt_word(text, &len))) {
		if (out->len) {
			err = kt_put(out, " ", 1);
			if (err)
				return err;
		}
		err = folded ? kt_put(out, word, len) : kt_put_integer(out, word, len);
		if (err)
			return err;
		text = word + len;
	}
	return out->len || folded ? 0 : -EINVAL;
}

/* What is between the only pair of brackets, or the only word there is. */
static inline int kt_put_chosen(struct kt_out *out, const char *text)
{
	const char *found = NULL, *from, *to;
	size_t len, found_len = 0, more;

	for (from = strchr(text, '['); from; from = strchr(to, '[')) {
		for (to = from + 1; *to && *to != '[' && *to != ']' && !kt_blank(*to); to++)
			;
		if (*to != ']' || to == from + 1)
			continue;
		if (found)
			return -EINVAL;
		found = from + 1;
		found_len = to - found;
	}
	if (found)
		return kt_put(out, found, found_len);
	found = kt_word(text, &len);
	if (!found || kt_word(found + len, &more))
		return -EINVAL;
	return kt_put(out, found, len);
}

static inline bool kt_is(const char *word, size_t len, const char *name)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (!name[i] || kt_lower(word[i]) != name[i])
			return false;
	return !name[len];
}

static inline int kt_put_switch(struct kt_out *out, const char *word, size_t len)
{
	static const char * const on[] = { "y", "1", "yes", "true", "on", NULL };
	static const char * const off[] = { "n", "0", "no", "false", "off", NULL };
	size_t i;

	for (i = 0; on[i]; i++) {	/* as many of both */
		if (kt_is(word, len, on[i]))
			return kt_put(out, "Y", 1);
		if (kt_is(word, len, off[i]))
			return kt_put(out, "N", 1);
	}
	return -EINVAL;
}

/*
 * Hexadecimal words of 32 bits joined by commas, without leading zeros; one
 * word alone may be of any length, as a person writes it.
 */
static inline int kt_put_bitmap(struct kt_out *out, const char *word, size_t len)
{
	size_t start = out->len, digits = 0, i, run = 0, lead;
	bool commas = memchr(word, ',', len);
	char c;

	for (i = 0; i <= len; i++) {
		if (i < len && kt_hex(word[i])) {
			run++;
			continue;
		}
		if ((i < len && word[i] != ',') || !run || (commas && run > 8))
			return -EINVAL;
		run = 0;
	}
	/* every digit, each word filled up to eight */
	for (i = 0; i < len; i++) {
		if (word[i] == ',')
			continue;
		if (commas && (i == 0 || word[i - 1] == ',')) {
			for (run = 0; i + run < len && word[i + run] != ','; run++)
				;
			for (; run < 8; run++) {
				if (digits && kt_put(out, "0", 1))
					return -EMSGSIZE;
				digits += !!digits;
			}
		}
		c = kt_lower(word[i]);
		if (c == '0' && !digits)
			continue;
		if (kt_put(out, &c, 1))
			return -EMSGSIZE;
		digits++;
	}
	if (!digits)
		return kt_put(out, "0", 1);
	/* commas before each eighth digit from the right */
	for (lead = digits; lead > 8; lead -= 8) {
		size_t at = start + lead - 8;

		if (out->len + 1 >= out->size)
			return -EMSGSIZE;
		memmove(out->text + at + 1, out->text + at, out->len - at + 1);
		out->text[at] = ',';
		out->len++;
	}
	return 0;
}

/*
 * The canonical form of `in` as a value of `type`: 0, -EINVAL when it is none,
 * -EMSGSIZE when it does not fit.
 */
static inline int kt_canonical(__u32 type, const char *in, char *text, size_t size)
{
	struct kt_out out = { .text = text, .size = size };
	const char *word;
	size_t len, more;

	text[0] = '\0';
	if (type == KTUNE_VECTOR || type == KTUNE_STRING)
		return kt_put_words(&out, in, type == KTUNE_STRING);
	if (type == KTUNE_CHOICE)
		return kt_put_chosen(&out, in);
	word = kt_word(in, &len);
	if (!word || kt_word(word + len, &more))
		return -EINVAL;
	switch (type) {
	case KTUNE_INT:
		return kt_put_integer(&out, word, len);
	case KTUNE_WORD:
		return kt_put(&out, word, len);
	case KTUNE_SWITCH:
		return kt_put_switch(&out, word, len);
	case KTUNE_BITMAP:
		return kt_put_bitmap(&out, word, len);
	}
	return -EINVAL;
}

/* `word` (of `len`) is one of the words of `list`. */
static inline bool kt_listed(const char *list, const char *word, size_t len)
{
	const char *item;
	size_t n;

	while ((item = kt_word(list, &n))) {
		if (n == len && !memcmp(item, word, len))
			return true;
		list = item + n;
	}
	return false;
}

static inline bool kt_component_char(char c)
{
	return kt_digit(c) || (kt_lower(c) >= 'a' && kt_lower(c) <= 'z') ||
	       c == '_' || c == '.' || c == '!' || c == ':' || c == '-';
}

/*
 * Whether a name is what a rule's pattern says: each `*` stands for one
 * component of letters, digits and `_.!:-`, never `.` or `..`, never a slash.
 */
static inline bool kt_matches(const char *pattern, const char *name)
{
	size_t n;

	for (; *pattern; pattern++) {
		if (*pattern != '*') {
			if (*pattern != *name++)
				return false;
			continue;
		}
		for (n = 0; kt_component_char(name[n]); n++)
			;
		if (!n || (n <= 2 && !memcmp(name, "..", n)))
			return false;
		name += n;
	}
	return !*name;
}

#endif
