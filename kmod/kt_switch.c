// SPDX-License-Identifier: GPL-2.0
/*
 * Switching to what a request or a staged slot names, never over a value that
 * somebody else has written. A worker does it: its caller may be killed in the
 * middle.
 */
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "ktune.h"
#include "kt_text.h"
#include "kt_trace.h"

static void kt_witness(struct kt_session *s, struct kt_knob *knob)
{
	if (knob->foreign || knob->rule->flags & KTUNE_RULE_MOVES)
		return;
	if (kt_knob_read(s, knob, knob->live) ||
	    !strcmp(knob->live, kt_knob_expected(knob)))
		return;
	knob->foreign = true;
	kt_counted(KT_N_FOREIGN);
}

/* Somebody else's value stays, and its partner, whose write would zero it. */
static void kt_keep_foreign(struct kt_session *s, unsigned int index)
{
	struct kt_knob *knob = s->knob[index];
	bool foreign;
	unsigned int p;

	kt_knob_read(s, knob, knob->before);
	kt_witness(s, knob);
	foreign = knob->foreign;
	for (p = 0; p < s->pairs; p++) {
		if (s->pair[p].kind != KTUNE_EITHER_OR || s->pair[p].from != index)
			continue;
		kt_witness(s, s->knob[s->pair[p].to]);
		foreign |= s->knob[s->pair[p].to]->foreign;
	}
	if (!foreign)
		return;
	knob->wanted = false;
	knob->outcome = KTUNE_FOREIGN;
	knob->error = -EBUSY;
	kt_knob_read(s, knob, knob->live);
	trace_ktune_refused(s->number, knob->name, knob->want, -EBUSY);
	kt_counted(KT_N_REFUSED);
}

/* Reach what is wanted of order[0..n). s->lock held. */
static void kt_switch_wanted(struct kt_session *s, unsigned int n)
{
	struct kt_knob *knob;
	unsigned int i;

	lockdep_assert_held(&s->lock);
	s->attempts_refused = 0;
	for (i = 0; i < n; i++)
		if (s->knob[s->order[i]]->wanted)
			kt_keep_foreign(s, s->order[i]);
	kt_drop_left_to_partner(s);
	kt_plan_draggers_first(s->item, s->order, n, s->pair, s->pairs);
	kt_reach(s, n, true);
	for (i = 0; i < n; i++) {
		knob = s->knob[s->order[i]];
		if (knob->wanted)
			trace_ktune_apply(s->number, knob->name, knob->before, knob->live,
					  knob->outcome, knob->error);
	}
}

static int kt_leased(struct kt_session *s)
{
	if (s->state == KTUNE_NEW)
		return -EBADFD;
	return s->state != KTUNE_LEASED || atomic_read(&s->ending) ? -ESTALE : 0;
}

/* ---- slots ---- */

static bool kt_at_original(const struct kt_knob *knob)
{
	return !strcmp(knob->want, knob->original);
}

/* The partner of a pair that goes back whole goes back with it. */
static void kt_slot_takes_along(struct kt_session *s, unsigned int index)
{
	bool partners = false;
	unsigned int p;

	for (p = 0; p < s->pairs; p++) {
		if (s->pair[p].kind != KTUNE_EITHER_OR || s->pair[p].from != index)
			continue;
		if (!s->knob[s->pair[p].to]->wanted ||
		    !kt_at_original(s->knob[s->pair[p].to]))
			return;
		partners = true;
	}
	s->knob[index]->wanted = partners;
}

/* Want what the slot says, the originals for what it does not name. */
static void kt_slot_want(struct kt_session *s, unsigned int slot)
{
	struct kt_slot *staged = s->slot[slot];
	struct kt_knob *from, *to;
	unsigned int i, p;

	for (i = 0; i < s->knobs; i++) {
		from = s->knob[i];
		from->named = slot && staged->set[i];
		from->wanted = !slot || !from->watched;
		strscpy(from->want, from->named ? staged->value[i] : from->original,
			sizeof(from->want));
		s->order[i] = i;
	}
	for (p = 0; slot && p < s->pairs; p++) {
		from = s->knob[s->pair[p].from];
		to = s->knob[s->pair[p].to];
		if (s->pair[p].kind == KTUNE_EITHER_OR && from->named && !to->named &&
		    strcmp(from->want, "0"))
			to->wanted = false;
	}
	for (i = 0; slot && i < s->knobs; i++)
		if (s->knob[i]->watched)
			kt_slot_takes_along(s, i);
}

/* The first thing that is not as wanted. */
static int kt_first_error(struct kt_session *s)
{
	struct kt_knob *knob;
	unsigned int i;

	for (i = 0; i < s->knobs; i++) {
		knob = s->knob[i];
		if (knob->outcome == KTUNE_FOREIGN)
			return -EBUSY;
		if (!knob->wanted)
			continue;
		if (knob->outcome == KTUNE_NOT_TRIED)
			return -EINTR;
		if (knob->error)
			return knob->error;
	}
	return 0;
}

static int kt_switch_locked(struct kt_session *s, unsigned int slot)
{
	unsigned int i;
	int err = kt_leased(s);

	if (err)
		return err;
	if (slot >= KTUNE_SLOTS_MAX || (slot && !s->slot[slot]))
		return -ENOENT;
	for (i = 0; i < s->knobs; i++)
		s->knob[i]->outcome = KTUNE_NOTHING_DONE;
	kt_slot_want(s, slot);
	kt_switch_wanted(s, s->knobs);
	return kt_first_error(s);
}

int kt_session_switch(struct kt_session *s, unsigned int slot)
{
	int err;

	mutex_lock(&s->lock);
	if (!atomic_read(&s->ending))
		WRITE_ONCE(s->abort, false);
	err = kt_switch_locked(s, slot);
	mutex_unlock(&s->lock);
	return err;
}

/* ---- requests ---- */

static int kt_item_check(struct kt_session *s, const struct ktune_item *item, char *text)
{
	struct kt_knob *knob;
	int err;

	if (item->index >= s->knobs || item->reserved)
		return -EINVAL;
	if (strnlen(item->value, sizeof(item->value)) == sizeof(item->value))
		return -EINVAL;
	knob = s->knob[item->index];
	err = kt_canonical(knob->rule->type, item->value, text, KTUNE_TEXT_MAX);
	if (err || !strcmp(text, knob->original))
		return err;
	return knob->watched ? -EROFS : kt_check_value(knob->rule, &knob->limits, text);
}

static int kt_item_refused(struct kt_session *s, const struct ktune_item *item, int err)
{
	if (item->index < s->knobs)
		trace_ktune_refused(s->number, s->knob[item->index]->name, "", err);
	kt_counted(KT_N_REFUSED);
	return err;
}

int kt_session_stage(struct kt_session *s, unsigned int slot,
		     const struct ktune_item *items, unsigned int n)
{
	struct kt_slot *staged;
	unsigned int i;
	int err;

	if (!slot || slot >= KTUNE_SLOTS_MAX)
		return -EINVAL;
	mutex_lock(&s->lock);
	err = kt_leased(s);
	if (err)
		goto out;
	staged = kvzalloc(struct_size(staged, value, s->knobs), GFP_KERNEL_ACCOUNT);
	err = staged ? 0 : -ENOMEM;
	for (i = 0; !err && i < n; i++) {
		if (items[i].index < s->knobs && staged->set[items[i].index]) {
			err = -EINVAL;
			break;
		}
		err = kt_item_check(s, &items[i],
				    staged->value[min(items[i].index, s->knobs - 1)]);
		if (err)
			err = kt_item_refused(s, &items[i], err);
		else
			staged->set[items[i].index] = true;
	}
	if (!err)
		swap(s->slot[slot], staged);
	kvfree(staged);
out:
	mutex_unlock(&s->lock);
	return err;
}

/* Nothing is written unless every item may be. */
static int kt_items_want(struct kt_session *s, const struct ktune_item *items,
			 unsigned int n)
{
	unsigned int i;
	int err;

	lockdep_assert_held(&s->lock);
	for (i = 0; i < s->knobs; i++) {
		s->knob[i]->wanted = false;
		s->knob[i]->outcome = KTUNE_NOTHING_DONE;
		s->knob[i]->error = 0;
	}
	for (i = 0; i < n; i++) {
		struct kt_knob *knob = NULL;
		char text[KTUNE_TEXT_MAX];

		err = kt_item_check(s, &items[i], text);
		if (!err) {
			knob = s->knob[items[i].index];
			err = knob->wanted ? -EINVAL : 0;
		}
		if (err)
			return kt_item_refused(s, &items[i], err);
		strscpy(knob->want, text, sizeof(knob->want));
		knob->wanted = true;
		s->order[i] = items[i].index;
	}
	return 0;
}

void kt_switch_work(struct work_struct *work)
{
	struct kt_session *s = container_of(work, struct kt_session, act);

	mutex_lock(&s->lock);
	s->act_err = kt_leased(s);
	if (!s->act_err && s->act_knobs)
		kt_switch_wanted(s, s->act_knobs);
	else if (!s->act_err)
		s->act_err = kt_switch_locked(s, s->act_slot);
	mutex_unlock(&s->lock);
	complete(&s->acted);
}

/* The caller may be killed meanwhile: then the switch stops, and the file closes. */
static int kt_act(struct kt_session *s)
{
	reinit_completion(&s->acted);
	queue_work(kt_wq, &s->act);
	if (wait_for_completion_killable(&s->acted)) {
		WRITE_ONCE(s->abort, true);
		flush_work(&s->act);
		return -EINTR;
	}
	return s->act_err;
}

int kt_session_apply(struct kt_session *s, const struct ktune_item *items, unsigned int n)
{
	int err;

	mutex_lock(&s->lock);
	err = kt_leased(s);
	if (!err)
		err = kt_modes_gate(s);
	if (!err)
		err = kt_items_want(s, items, n);
	if (!err)
		WRITE_ONCE(s->abort, false);
	s->act_knobs = n;
	mutex_unlock(&s->lock);
	return err ? err : kt_act(s);
}

int kt_session_switch_waiting(struct kt_session *s, unsigned int slot)
{
	int err;

	mutex_lock(&s->lock);
	err = kt_leased(s);
	if (!err)
		err = kt_modes_gate(s);
	if (!err)
		WRITE_ONCE(s->abort, false);
	s->act_knobs = 0;
	s->act_slot = slot;
	mutex_unlock(&s->lock);
	return err ? err : kt_act(s);
}
