// SPDX-License-Identifier: GPL-2.0
/*
 * Bringing a session's knobs back: the decisions are kt_plan.h's, this does
 * them. Nothing is allocated here, and nothing is given up at the first
 * refusal: what would not go back is tried again in later rounds.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kernel.h>
#include <linux/ktime.h>
#include <linux/sched.h>
#include <linux/workqueue.h>

#include "ktune.h"
#include "kt_trace.h"

static struct ktune_result kt_results[KT_RESULTS_MAX];
static unsigned int kt_results_next;

static void kt_result_remember(const struct ktune_result *result)
{
	unsigned int i;

	mutex_lock(&kt_claims_lock);
	for (i = 0; i < KT_RESULTS_MAX; i++)
		if (kt_results[i].session == result->session)
			break;
	if (i == KT_RESULTS_MAX)
		i = kt_results_next++ % KT_RESULTS_MAX;
	kt_results[i] = *result;
	mutex_unlock(&kt_claims_lock);
}

bool kt_result_recall(u64 session, struct ktune_result *result)
{
	bool found = false;
	unsigned int i;

	mutex_lock(&kt_claims_lock);
	for (i = 0; i < KT_RESULTS_MAX && !found; i++) {
		found = kt_results[i].session == session;
		if (found)
			*result = kt_results[i];
	}
	mutex_unlock(&kt_claims_lock);
	return found;
}

/* What the plan has to know of a knob. */
static void kt_look(struct kt_session *s, unsigned int i)
{
	struct kt_knob *knob = s->knob[i];
	struct kt_item *item = &s->item[i];

	item->readable = !kt_knob_read(s, knob, knob->live);
	item->written = knob->written;
	item->at_original = !strcmp(knob->live, knob->original);
	item->at_seen = knob->touched && !strcmp(knob->live, knob->seen);
	item->touched = knob->touched;
	item->changed = knob->touched && strcmp(knob->seen, knob->original);
	item->pending = knob->pending;
	item->foreign = knob->foreign;
	item->moves = knob->rule->flags & KTUNE_RULE_MOVES;
	item->no_zero = knob->rule->flags & KTUNE_RULE_NO_ZERO;
	item->original_zero = !strcmp(knob->original, "0");
	item->live_one = !strcmp(knob->live, "1");
	item->seen_zero = knob->touched && !strcmp(knob->seen, "0");
}

/*
 * A bytes form whose original is 0 while its ratio's original is 0 too: the
 * bytes form takes no 0, and writing an unchanged ratio zeroes nothing, so the
 * ratio is moved by one first (kernel mm/page-writeback.c, dirty_ratio_handler).
 */
static void kt_open_zero_pairs(struct kt_session *s)
{
	unsigned int i, p;

	for (i = 0; i < s->knobs; i++)
		s->knob[i]->named = s->knob[i]->wanted;
	for (p = 0; p < s->pairs; p++) {
		unsigned int from = s->pair[p].from, to = s->pair[p].to;

		if (s->pair[p].kind != KTUNE_EITHER_OR || !s->knob[from]->named ||
		    !s->item[from].original_zero || !s->item[from].no_zero ||
		    !s->item[to].original_zero)
			continue;
		s->knob[from]->named = false;	/* the first partner will do */
		kt_knob_write(s, to, "1");
		s->knob[to]->wanted = true;
	}
}

static bool kt_is_back(struct kt_session *s, unsigned int i)
{
	struct kt_knob *knob = s->knob[i];

	return !kt_knob_read(s, knob, knob->live) && !strcmp(knob->live, knob->original);
}

/* What became of a knob that was to go back. Returns whether it failed. */
static bool kt_conclude(struct kt_session *s, unsigned int i)
{
	struct kt_knob *knob = s->knob[i];
	bool back = kt_is_back(s, i);

	if (back || s->item[i].moves) {
		knob->outcome = KTUNE_APPLIED;
		knob->error = 0;
		kt_counted(KT_N_RESTORED);
	} else {
		knob->outcome = KTUNE_REFUSED;
		knob->error = knob->error ? knob->error : -EIO;
	}
	trace_ktune_restore(s->number, knob->name, knob->before, knob->live, knob->outcome,
			    knob->error);
	return knob->outcome == KTUNE_REFUSED;
}

static void kt_conclude_untouched(struct kt_session *s, unsigned int i, bool first)
{
	struct kt_knob *knob = s->knob[i];

	switch (s->item[i].verdict) {
	case KT_IS_GONE:
		knob->outcome = KTUNE_GONE;
		break;
	case KT_KEEP_FOREIGN:
		knob->outcome = KTUNE_FOREIGN;
		if (!knob->foreign)
			kt_counted(KT_N_FOREIGN);
		knob->foreign = true;
		trace_ktune_restore(s->number, knob->name, knob->live, knob->live,
				    KTUNE_FOREIGN, 0);
		break;
	default:
		if (first)
			knob->outcome = KTUNE_UNCHANGED;
		else if (knob->outcome == KTUNE_REFUSED)
			knob->outcome = KTUNE_APPLIED;
		knob->error = 0;
	}
}

/* One round over all knobs. Returns how many would not go back. */
static unsigned int kt_restore_round(struct kt_session *s, bool first)
{
	unsigned int i, failed = 0;

	lockdep_assert_held(&s->lock);
	for (i = 0; i < s->knobs; i++)
		kt_look(s, i);
	kt_plan_verdicts(s->item, s->knobs, s->pair, s->pairs);
	kt_plan_order(s->item, s->order, s->knobs, s->pair, s->pairs);
	for (i = 0; i < s->knobs; i++) {
		struct kt_knob *knob = s->knob[i];

		knob->wanted = s->item[i].verdict == KT_PUT_BACK;
		strscpy(knob->want, knob->original, sizeof(knob->want));
		if (first)
			strscpy(knob->before, knob->live, sizeof(knob->before));
		if (knob->wanted)
			knob->error = 0;
		else
			kt_conclude_untouched(s, i, first);
	}
	kt_open_zero_pairs(s);
	kt_drop_left_to_partner(s);
	kt_reach(s, s->knobs, false);
	for (i = 0; i < s->knobs; i++)
		if (s->item[i].verdict == KT_PUT_BACK || s->knob[i]->wanted)
			failed += kt_conclude(s, i);
	return failed;
}

static void kt_tally(struct kt_session *s)
{
	struct ktune_result *result = &s->result;
	unsigned int i;

	result->restored = 0;
	result->unchanged = 0;
	result->foreign = 0;
	result->gone = 0;
	result->failed = 0;
	for (i = 0; i < s->knobs; i++) {
		switch (s->knob[i]->outcome) {
		case KTUNE_APPLIED:
			result->restored++;
			break;
		case KTUNE_FOREIGN:
			result->foreign++;
			break;
		case KTUNE_GONE:
			result->gone++;
			break;
		case KTUNE_REFUSED:
			if (!result->failed++)
				strscpy(result->first_failed, s->knob[i]->name,
					sizeof(result->first_failed));
			break;
		default:
			result->unchanged++;
		}
	}
	result->attempts_refused = s->attempts_refused;
	result->ended_ns = ktime_get_boottime_ns();
}

/* Back in full, or given up, or another round in a while. */
static void kt_restored(struct kt_session *s, unsigned int failed)
{
	unsigned int rounds = s->result.rounds;

	if (!failed) {
		kt_session_settle(s, KTUNE_RESTORED);
	} else if (rounds >= KT_ROUNDS_MAX) {
		pr_err("session %llu: %u knobs would not go back, first %s: given up\n",
		       s->number, failed, s->result.first_failed);
		atomic64_add(failed, &kt_count[KT_N_FAILED]);
		kt_session_settle(s, KTUNE_FAILED);
	} else {
		if (rounds == 1)
			pr_warn("session %llu: %u knobs would not go back yet, first %s\n",
				s->number, failed, s->result.first_failed);
		WRITE_ONCE(s->state, KTUNE_RESTORING);
		s->result.state = KTUNE_RESTORING;
		wake_up_all(&s->changed);
		kt_session_kick(s, min(HZ / 10UL << rounds, 20UL * HZ));
	}
}

void kt_restore_work(struct work_struct *work)
{
	struct kt_session *s = container_of(to_delayed_work(work), struct kt_session, restore);
	bool done = false;
	unsigned int failed;
	u64 from_ns;

	mutex_lock(&s->lock);
	if ((s->state == KTUNE_LEASED || s->state == KTUNE_RESTORING) &&
	    atomic_read(&s->ending)) {
		if (!s->result.rounds) {
			s->attempts_refused = 0;
			s->result.reason = atomic_read(&s->ending);
			if (s->result.reason == KTUNE_BY_DEADLINE)
				kt_counted(KT_N_EXPIRED);
		}
		from_ns = ktime_get_boottime_ns();
		failed = kt_restore_round(s, !s->result.rounds++);
		kt_tally(s);
		if (s->result.rounds == 1)
			s->result.took_ns = s->result.ended_ns - from_ns;
		kt_restored(s, failed);
		kt_result_remember(&s->result);
		done = true;
	}
	mutex_unlock(&s->lock);
	if (done)
		kt_modes_event(s, KT_SESSION_RESTORED);
	kt_session_put(s);
}

void kt_restore_session(struct kt_session *s, enum ktune_reason reason)
{
	atomic_cmpxchg(&s->ending, KTUNE_BY_NOBODY, reason);
	WRITE_ONCE(s->abort, true);
	kt_session_kick(s, 0);
}

void kt_restore_all(enum ktune_reason reason)
{
	struct kt_session *found[KT_SESSIONS_MAX], *s;
	unsigned int n = 0;

	mutex_lock(&kt_claims_lock);
	list_for_each_entry(s, &kt_sessions, all) {
		u32 state = READ_ONCE(s->state);

		if ((state == KTUNE_LEASED || state == KTUNE_RESTORING) &&
		    n < ARRAY_SIZE(found) && kref_get_unless_zero(&s->ref))
			found[n++] = s;
	}
	mutex_unlock(&kt_claims_lock);
	while (n--) {
		kt_restore_session(found[n], reason);
		kt_session_put(found[n]);
	}
}
