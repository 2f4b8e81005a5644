/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Counters out of the text of /proc/stat and /proc/diskstats, as
 * ktune/measure/fingerprint.py reads them: what these count is not exported to
 * modules. Fed in pieces of any size. No kernel call in here.
 */
#ifndef KT_LINES_H
#define KT_LINES_H

#include <linux/types.h>
#ifdef __KERNEL__
#include <linux/string.h>
#else
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#endif
#include "kt_features.h"

#define KT_LINE_MAX 256		/* of what is asked for; longer lines are skipped */

struct kt_lines {
	__u64 *value;		/* KT_COUNTERS, added up */
	__u32 used;
	bool too_long;
	char line[KT_LINE_MAX];
};

/* The next word of @text, its length in *@len; NULL: none is left. */
static inline const char *kt_word(const char *text, __u32 *len)
{
	*len = 0;
	while (*text == ' ')
		text++;
	while (text[*len] && text[*len] != ' ')
		++*len;
	return *len ? text : NULL;
}

/* False: no number, or larger than any counter of the kernel's. */
static inline bool kt_word_number(const char *word, __u32 len, __u64 *number)
{
	__u32 i;

	*number = 0;
	if (!len || len > 19)
		return false;
	for (i = 0; i < len; i++) {
		if (word[i] < '0' || word[i] > '9')
			return false;
		*number = *number * 10 + (word[i] - '0');
	}
	return true;
}

/* Up to @most numbers of @text; how many there were before the first other. */
static inline __u32 kt_numbers(const char *text, __u64 *numbers, __u32 most)
{
	const char *word;
	__u32 n, len;

	for (n = 0; n < most; n++) {
		word = kt_word(text, &len);
		if (!word || !kt_word_number(word, len, &numbers[n]))
			break;
		text = word + len;
	}
	return n;
}

/* How many characters from @first to @last @text begins with. */
static inline __u32 kt_span(const char *text, __u32 len, char first, char last)
{
	__u32 n = 0;

	while (n < len && text[n] >= first && text[n] <= last)
		n++;
	return n;
}

/* A whole disk, not a partition: its requests are its disk's. */
static inline bool kt_is_disk(const char *name, __u32 len)
{
	static const char * const lettered[] = { "vd", "sd", "xvd", "dasd", NULL };
	__u32 i, at, digits;

	for (i = 0; lettered[i]; i++) {
		at = strlen(lettered[i]);
		if (len > at && !strncmp(name, lettered[i], at))
			return kt_span(name + at, len - at, 'a', 'z') == len - at;
	}
	if (len > 6 && !strncmp(name, "mmcblk", 6))
		return kt_span(name + 6, len - 6, '0', '9') == len - 6;
	if (len <= 4 || strncmp(name, "nvme", 4))
		return false;
	digits = kt_span(name + 4, len - 4, '0', '9');
	at = 4 + digits;
	if (!digits || at >= len || name[at] != 'n' || ++at == len)
		return false;
	return kt_span(name + at, len - at, '0', '9') == len - at;
}

static inline void kt_line_of_stat(const char *line, __u64 *value)
{
	__u64 n[8];
	__u32 i, len;
	const char *word = kt_word(line, &len);

	if (!word)
		return;
	if (len == 3 && !strncmp(word, "cpu", 3)) {
		/* user nice system idle iowait irq softirq steal; guests in user */
		if (kt_numbers(word + len, n, 8) < 8)
			return;
		for (i = 0; i < 8; i++)
			value[KT_CPU_ALL] += n[i];
		value[KT_CPU_BUSY] += n[0] + n[1] + n[2] + n[5] + n[6] + n[7];
	} else if (len == 4 && !strncmp(word, "ctxt", 4)) {
		if (kt_numbers(word + len, n, 1))
			value[KT_CONTEXT_SWITCHES] += n[0];
	} else if (len == 9 && !strncmp(word, "processes", 9)) {
		if (kt_numbers(word + len, n, 1))
			value[KT_PROCESSES] += n[0];
	}
}

/* major minor name, then reads merged sectors ms, writes merged sectors ms */
static inline void kt_line_of_diskstats(const char *line, __u64 *value)
{
	const char *name, *word = line;
	__u32 i, len = 0;
	__u64 n[8];

	for (i = 0; i < 3; i++) {
		word = kt_word(word + len, &len);
		if (!word)
			return;
	}
	name = word;
	if (!kt_is_disk(name, len) || kt_numbers(name + len, n, 8) < 8)
		return;
	value[KT_DISK_READS] += n[0];
	value[KT_DISK_READ_SECTORS] += n[2];
	value[KT_DISK_WRITES] += n[4];
	value[KT_DISK_WRITE_SECTORS] += n[6];
}

static inline void kt_lines_begin(struct kt_lines *lines, __u64 *value)
{
	lines->value = value;
	lines->used = 0;
	lines->too_long = false;
}

/* The next @n bytes; each whole line goes to @take. */
static inline void kt_lines_feed(struct kt_lines *lines, const char *piece, size_t n,
				 void (*take)(const char *line, __u64 *value))
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (piece[i] != '\n') {
			if (lines->used == KT_LINE_MAX - 1)
				lines->too_long = true;
			else
				lines->line[lines->used++] = piece[i];
			continue;
		}
		lines->line[lines->used] = '\0';
		if (!lines->too_long)
			take(lines->line, lines->value);
		lines->used = 0;
		lines->too_long = false;
	}
}

#endif
