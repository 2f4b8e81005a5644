// SPDX-License-Identifier: GPL-2.0
/*
 * Writing a set: by difference, in order, refused values tried again until a
 * pass changes nothing (low <= high pairs). Switches and restores do it.
 */
#include "ktune.h"

static bool kt_may_change(const struct kt_knob *knob)
{
	return knob->outcome == KTUNE_REFUSED || knob->outcome == KTUNE_GONE ||
	       knob->outcome == KTUNE_NOT_TRIED;
}

/* One knob in one pass. Returns whether it has moved. */
static bool kt_reach_one(struct kt_session *s, unsigned int index, bool first)
{
	struct kt_knob *knob = s->knob[index];
	char now[KTUNE_TEXT_MAX];
	int err = kt_knob_read(s, knob, now);

	if (!first && !err && !kt_may_change(knob) && !strcmp(now, knob->live))
		return false;	/* the kernel has said its last word */
	if (kt_file_is_dead(err)) {
		knob->outcome = KTUNE_GONE;
		knob->error = err;
		knob->live[0] = '\0';
		s->attempts_refused++;
		return false;
	}
	if (!err && !strcmp(now, knob->want)) {
		if (first || kt_may_change(knob))
			knob->outcome = KTUNE_UNCHANGED;
		knob->error = 0;
		strscpy(knob->live, now, sizeof(knob->live));
		return false;
	}
	kt_knob_write(s, index, knob->want);
	if (!kt_may_change(knob))
		return true;
	s->attempts_refused++;
	return false;
}

void kt_reach(struct kt_session *s, unsigned int n, bool stoppable)
{
	unsigned int pass, i;
	struct kt_knob *knob;
	bool moved, good;

	for (i = 0; i < n; i++)
		if (s->knob[s->order[i]]->wanted)
			s->knob[s->order[i]]->outcome = KTUNE_NOT_TRIED;
	for (pass = 0; pass < KT_PASSES_MAX; pass++) {
		moved = false;
		good = true;
		for (i = 0; i < n; i++) {
			knob = s->knob[s->order[i]];
			if (!knob->wanted)
				continue;
			if (stoppable && (READ_ONCE(s->abort) || atomic_read(&s->ending)))
				return;
			moved |= kt_reach_one(s, s->order[i], !pass);
			good &= knob->outcome == KTUNE_APPLIED ||
				knob->outcome == KTUNE_UNCHANGED;
		}
		if (!moved || (good && !s->pairs))
			return;
	}
}

void kt_drop_left_to_partner(struct kt_session *s)
{
	struct kt_knob *from, *to;
	unsigned int i, p;

	for (i = 0; i < s->knobs; i++)
		s->knob[i]->named = s->knob[i]->wanted;
	for (p = 0; p < s->pairs; p++) {
		from = s->knob[s->pair[p].from];
		to = s->knob[s->pair[p].to];
		if (s->pair[p].kind == KTUNE_EITHER_OR && from->named &&
		    !strcmp(from->want, "0") &&
		    kt_plan_left_to_partner(from->rule->flags & KTUNE_RULE_NO_ZERO,
					    to->named, !strcmp(to->want, "0")))
			from->wanted = false;
	}
}
