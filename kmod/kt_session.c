// SPDX-License-Identifier: GPL-2.0
/*
 * Sessions: the knobs of an open file, and the lease on them. A session is
 * held by its file, by its deadline while that runs, and by work that is queued
 * for it; what is over lets go of its knobs at once, and remembers the result.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/file.h>
#include <linux/kernel.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/nsproxy.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <net/net_namespace.h>

#include "ktune.h"
#include "kt_text.h"
#include "kt_trace.h"

/* both lists, which file a knob has, and the results (ktune.h has the order of locks) */
DEFINE_MUTEX(kt_claims_lock);
LIST_HEAD(kt_sessions);
static unsigned int kt_open;
static u64 kt_last_number;

/* ---- life ---- */

static enum hrtimer_restart kt_deadline_passed(struct hrtimer *timer)
{
	struct kt_session *s = container_of(timer, struct kt_session, timer);

	kt_restore_session(s, KTUNE_BY_DEADLINE);
	return HRTIMER_NORESTART;
}

struct kt_session *kt_session_new(void)
{
	struct kt_session *s = kvzalloc(sizeof(*s), GFP_KERNEL_ACCOUNT);
	int err = 0;

	if (!s)
		return ERR_PTR(-ENOMEM);
	s->page = (char *)__get_free_page(GFP_KERNEL_ACCOUNT);
	if (!s->page) {
		kvfree(s);
		return ERR_PTR(-ENOMEM);
	}
	kref_init(&s->ref);
	mutex_init(&s->calls);
	mutex_init(&s->lock);
	init_completion(&s->acted);
	init_waitqueue_head(&s->changed);
	INIT_DELAYED_WORK(&s->restore, kt_restore_work);
	INIT_WORK(&s->act, kt_switch_work);
#ifdef KT_HAS_HRTIMER_SETUP
	hrtimer_setup(&s->timer, kt_deadline_passed, CLOCK_BOOTTIME, HRTIMER_MODE_ABS);
#else
	hrtimer_init(&s->timer, CLOCK_BOOTTIME, HRTIMER_MODE_ABS);
	s->timer.function = kt_deadline_passed;
#endif
	mutex_lock(&kt_claims_lock);
	if (kt_open < KT_SESSIONS_MAX) {
		kt_open++;
		s->number = ++kt_last_number;
		list_add_tail(&s->all, &kt_sessions);
	} else {
		err = -EMFILE;
	}
	mutex_unlock(&kt_claims_lock);
	if (err) {
		free_page((unsigned long)s->page);
		kvfree(s);
		return ERR_PTR(err);
	}
	s->result.session = s->number;
	return s;
}

static void kt_session_free(struct kref *ref)
{
	struct kt_session *s = container_of(ref, struct kt_session, ref);
	unsigned int i;

	mutex_lock(&kt_claims_lock);
	list_del(&s->all);
	kt_open--;
	mutex_unlock(&kt_claims_lock);
	for (i = 0; i < s->knobs; i++)
		kfree(s->knob[i]);
	for (i = 0; i < KTUNE_SLOTS_MAX; i++)
		kvfree(s->slot[i]);
	free_page((unsigned long)s->page);
	mutex_destroy(&s->lock);
	mutex_destroy(&s->calls);
	kvfree(s);
}

void kt_session_get(struct kt_session *s)
{
	kref_get(&s->ref);
}

void kt_session_put(struct kt_session *s)
{
	kref_put(&s->ref, kt_session_free);
}

unsigned int kt_sessions_open(void)
{
	return READ_ONCE(kt_open);
}

/* Queued work holds the session; so does a deadline that may call this. */
void kt_session_kick(struct kt_session *s, unsigned long delay)
{
	kt_session_get(s);
	if (mod_delayed_work(kt_wq, &s->restore, delay))
		kt_session_put(s);	/* it was queued already */
}

/*
 * Nothing is in force any more, or for good. Files and claims go at once, what
 * they read stays for the result.
 */
void kt_session_settle(struct kt_session *s, u32 state)
{
	bool leased = s->state == KTUNE_LEASED || s->state == KTUNE_RESTORING;
	unsigned int i;

	lockdep_assert_held(&s->lock);
	s->result.state = state;
	s->result.knobs = s->knobs;
	mutex_lock(&kt_claims_lock);
	for (i = 0; i < s->knobs; i++) {
		list_del_init(&s->knob[i]->claim);
		fput(s->knob[i]->file);
		s->knob[i]->file = NULL;
	}
	mutex_unlock(&kt_claims_lock);
	hrtimer_cancel(&s->timer);
	if (s->holds_module)
		module_put(THIS_MODULE);	/* unloading waits for the workers */
	WRITE_ONCE(s->state, state);
	wake_up_all(&s->changed);	/* who waits may unload the module now */
	if (leased)
		kt_session_put(s);	/* the deadline's; the caller has its own */
}

/* ---- knobs ---- */

static int kt_session_add_locked(struct kt_session *s, struct ktune_add *add)
{
	const struct kt_rule *rule = kt_rule_of(add->name);
	struct kt_knob *knob;
	int err;

	if (s->state != KTUNE_NEW)
		return -EBADFD;
	if (!rule)
		return -EACCES;
	if (add->type != rule->type || add->flags & ~KTUNE_ADD_WATCH)
		return -EINVAL;
	if (s->knobs == KTUNE_KNOBS_MAX)
		return -ENOSPC;
	knob = kzalloc(sizeof(*knob), GFP_KERNEL_ACCOUNT);
	if (!knob)
		return -ENOMEM;
	knob->rule = rule;
	err = kt_knob_open(s, knob, add);
	if (err) {
		kfree(knob);
		return err;
	}
	add->index = s->knobs;
	add->rule = rule->flags;
	memcpy(add->original, knob->original, sizeof(add->original));
	s->knob[s->knobs++] = knob;
	return 0;
}

int kt_session_add(struct kt_session *s, struct ktune_add *add)
{
	int err;

	if (!capable(CAP_SYS_ADMIN)) {
		err = -EPERM;
	} else if (!net_eq(current->nsproxy->net_ns, &init_net)) {
		err = -EXDEV;	/* a worker would write another namespace's knobs */
	} else {
		mutex_lock(&s->lock);
		err = kt_session_add_locked(s, add);
		mutex_unlock(&s->lock);
	}
	if (err) {
		trace_ktune_refused(s->number, add->name, "", err);
		kt_counted(KT_N_REFUSED);
	}
	return err;
}

int kt_session_couple(struct kt_session *s, const struct ktune_couple *couple)
{
	struct kt_pair *pair;
	unsigned int p;
	int err = -EBADFD;

	mutex_lock(&s->lock);
	if (s->state != KTUNE_NEW)
		goto out;
	err = -EINVAL;
	if (couple->reserved || couple->from >= s->knobs || couple->to >= s->knobs ||
	    couple->from == couple->to ||
	    (couple->kind != KTUNE_EITHER_OR && couple->kind != KTUNE_DRAGS))
		goto out;
	err = -EEXIST;
	for (p = 0; p < s->pairs; p++)
		if (s->pair[p].from == couple->from && s->pair[p].to == couple->to &&
		    s->pair[p].kind == couple->kind)
			goto out;
	err = -ENOSPC;
	if (s->pairs == KTUNE_COUPLES_MAX)
		goto out;
	pair = &s->pair[s->pairs++];
	pair->from = couple->from;
	pair->to = couple->to;
	pair->kind = couple->kind;
	err = 0;
out:
	mutex_unlock(&s->lock);
	return err;
}

/* Somebody else's write was witnessed: leave it alone from here on. */
int kt_session_keep(struct kt_session *s, u32 index)
{
	int err = 0;

	mutex_lock(&s->lock);
	if (index >= s->knobs)
		err = -EINVAL;
	else
		s->knob[index]->foreign = true;
	mutex_unlock(&s->lock);
	return err;
}

/* ---- the lease ---- */

static int kt_session_arm(struct kt_session *s, struct ktune_lease *lease)
{
	if (!lease->lasts_ns || lease->lasts_ns > 24ULL * 3600 * NSEC_PER_SEC)
		return -ERANGE;
	s->deadline_ns = ktime_get_boottime_ns() + lease->lasts_ns;
	lease->deadline_ns = s->deadline_ns;
	hrtimer_start(&s->timer, ns_to_ktime(s->deadline_ns), HRTIMER_MODE_ABS);
	return 0;
}

int kt_session_begin(struct kt_session *s, struct ktune_lease *lease)
{
	int err;

	mutex_lock(&s->lock);
	if (s->state != KTUNE_NEW)
		err = -EBADFD;
	else if (!s->knobs)
		err = -ENODATA;
	else
		err = kt_modes_gate(s);
	if (!err)
		err = kt_session_arm(s, lease);
	if (!err) {
		kt_session_get(s);	/* the deadline's */
		WRITE_ONCE(s->state, KTUNE_LEASED);
	}
	mutex_unlock(&s->lock);
	if (!err)
		kt_modes_event(s, KT_SESSION_BEGUN);
	return err;
}

int kt_session_renew(struct kt_session *s, struct ktune_lease *lease)
{
	int err;

	mutex_lock(&s->lock);
	if (s->state == KTUNE_NEW)
		err = -EBADFD;
	else if (s->state != KTUNE_LEASED || atomic_read(&s->ending))
		err = -ESTALE;
	else
		err = kt_session_arm(s, lease);
	mutex_unlock(&s->lock);
	return err;
}

int kt_session_commit(struct kt_session *s)
{
	int err = 0;

	mutex_lock(&s->lock);
	if (s->state == KTUNE_NEW)
		err = -EBADFD;
	else if (s->state != KTUNE_LEASED || atomic_read(&s->ending))
		err = -ESTALE;
	else
		kt_session_settle(s, KTUNE_COMMITTED);
	mutex_unlock(&s->lock);
	if (!err)
		kt_modes_event(s, KT_SESSION_COMMITTED);
	return err;
}

static bool kt_session_is_over(struct kt_session *s)
{
	return READ_ONCE(s->state) != KTUNE_LEASED;
}

int kt_session_release(struct kt_session *s)
{
	int err = 0;

	mutex_lock(&s->lock);
	if (s->state == KTUNE_NEW) {
		s->result.reason = KTUNE_BY_RELEASE;
		kt_session_settle(s, KTUNE_RESTORED);
	} else if (s->state == KTUNE_COMMITTED) {
		err = -ESTALE;
	}
	mutex_unlock(&s->lock);
	if (err || kt_session_is_over(s))
		return err;
	kt_restore_session(s, KTUNE_BY_RELEASE);
	if (wait_event_killable(s->changed, kt_session_is_over(s)))
		return -EINTR;
	return 0;
}

int kt_session_result(struct kt_session *s, struct ktune_result *result)
{
	if (result->session && result->session != s->number)
		return kt_result_recall(result->session, result) ? 0 : -ENOENT;
	mutex_lock(&s->lock);
	*result = s->result;
	result->state = s->state;
	result->knobs = s->knobs;
	mutex_unlock(&s->lock);
	return 0;
}

#define KT_CLOSE_WAIT (5 * HZ)

void kt_session_close(struct kt_session *s)
{
	bool keeps = kt_modes_keeps(s), leased;

	if (!keeps)
		kt_modes_event(s, KT_SESSION_CLOSED);
	mutex_lock(&s->lock);
	leased = s->state == KTUNE_LEASED || s->state == KTUNE_RESTORING;
	if (leased) {
		__module_get(THIS_MODULE);	/* the file's is about to go */
		s->holds_module = true;
	} else if (s->state == KTUNE_NEW) {
		kt_session_settle(s, KTUNE_RESTORED);
	}
	mutex_unlock(&s->lock);
	if (leased && !keeps) {
		kt_restore_session(s, KTUNE_BY_CLOSE);
		/* whoever waits for the end of a killed owner finds all back */
		wait_event_timeout(s->changed, kt_session_is_over(s), KT_CLOSE_WAIT);
	}
	kt_session_put(s);
}
