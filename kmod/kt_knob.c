// SPDX-License-Identifier: GPL-2.0
/*
 * One knob of a session: opened for it alone, read, written, and told of.
 */
#include <linux/file.h>
#include <linux/kernel.h>
#include <linux/nsproxy.h>
#include <linux/sched.h>
#include <net/net_namespace.h>

#include "ktune.h"
#include "kt_text.h"

static LIST_HEAD(kt_claims);	/* whose file is whose; kt_claims_lock */

static int kt_knob_claim(struct kt_knob *knob)
{
	struct kt_knob *other;
	int err = 0;

	mutex_lock(&kt_claims_lock);
	list_for_each_entry(other, &kt_claims, claim) {
		if (file_inode(other->file) != file_inode(knob->file))
			continue;
		if (other->session == knob->session)
			err = -EEXIST;
		else if (!other->watched || !knob->watched)
			err = -EBUSY;
	}
	if (!err)
		list_add_tail(&knob->claim, &kt_claims);
	mutex_unlock(&kt_claims_lock);
	return err;
}

/*
 * A file that has died is opened again: the knob of a device that came back, or
 * of a folder that another knob has made anew (queue/iosched).
 */
static int kt_knob_reopen(struct kt_knob *knob)
{
	struct file *file;

	/* a lookup below sys/net goes by the namespace of whoever looks */
	if (!(current->flags & PF_KTHREAD) && !net_eq(current->nsproxy->net_ns, &init_net))
		return -EXDEV;
	file = kt_file_open(knob->rule, knob->name);
	if (IS_ERR(file))
		return PTR_ERR(file);
	mutex_lock(&kt_claims_lock);
	swap(knob->file, file);
	mutex_unlock(&kt_claims_lock);
	fput(file);
	return 0;
}

int kt_knob_read(struct kt_session *s, struct kt_knob *knob, char *text)
{
	int err;

	lockdep_assert_held(&s->lock);
	text[0] = '\0';
	err = kt_file_read(knob->file, s->page);
	if (kt_file_is_dead(err)) {
		err = kt_knob_reopen(knob);
		if (!err)
			err = kt_file_read(knob->file, s->page);
	}
	if (err)
		return err;
	err = kt_canonical(knob->rule->type, s->page, text, KTUNE_TEXT_MAX);
	if (err)
		text[0] = '\0';
	return err == -EINVAL ? -EBADMSG : err;
}

/* What a write of ours may have changed besides its own knob is ours too. */
static void kt_knob_see_dragged(struct kt_session *s, unsigned int from)
{
	struct kt_knob *knob;
	unsigned int p;

	for (p = 0; p < s->pairs; p++) {
		if (s->pair[p].from != from || s->pair[p].to == from)
			continue;
		knob = s->knob[s->pair[p].to];
		if (kt_knob_read(s, knob, knob->live))
			continue;
		strscpy(knob->seen, knob->live, sizeof(knob->seen));
		knob->touched = true;
	}
}

void kt_knob_write(struct kt_session *s, unsigned int index, const char *text)
{
	struct kt_knob *knob = s->knob[index];
	int err, seen;

	lockdep_assert_held(&s->lock);
	knob->written = ++s->writes;
	knob->pending = true;
	err = kt_file_write(knob->file, text);
	if (kt_file_is_dead(err)) {
		err = kt_knob_reopen(knob);
		if (!err)
			err = kt_file_write(knob->file, text);
	}
	seen = kt_knob_read(s, knob, knob->live);
	if (!seen) {
		strscpy(knob->seen, knob->live, sizeof(knob->seen));
		knob->touched = true;
		knob->pending = false;
	}
	knob->error = err ? err : seen;
	if (kt_file_is_dead(knob->error))
		knob->outcome = KTUNE_GONE;
	else if (err)
		knob->outcome = KTUNE_REFUSED;
	else
		knob->outcome = seen || strcmp(knob->live, text) ? KTUNE_OTHERWISE :
								   KTUNE_APPLIED;
	if (!err)
		kt_knob_see_dragged(s, index);
	kt_counted(err ? KT_N_REFUSED : KT_N_APPLIED);
}

static int kt_limits_take(struct kt_limits *limits, const struct kt_rule *rule,
			  const struct ktune_add *add)
{
	bool number = rule->type == KTUNE_INT || rule->type == KTUNE_VECTOR;
	unsigned int i;

	if (add->elements > KTUNE_ELEMENTS_MAX || add->specials > KTUNE_SPECIALS_MAX ||
	    add->step < 0)
		return -EINVAL;
	if (!number && (add->elements || add->specials || add->step))
		return -EINVAL;
	if (number && add->choices[0])
		return -EINVAL;
	if (rule->type == KTUNE_INT && add->elements > 1)
		return -EINVAL;
	for (i = 0; i < add->elements; i++)
		if (add->least[i] > add->most[i])
			return -EINVAL;
	limits->elements = add->elements;
	limits->specials = add->specials;
	limits->step = add->step;
	memcpy(limits->least, add->least, sizeof(limits->least));
	memcpy(limits->most, add->most, sizeof(limits->most));
	memcpy(limits->special, add->special, sizeof(limits->special));
	strscpy(limits->choices, add->choices, sizeof(limits->choices));
	return 0;
}

int kt_knob_open(struct kt_session *s, struct kt_knob *knob, struct ktune_add *add)
{
	int err = kt_limits_take(&knob->limits, knob->rule, add);

	if (err)
		return err;
	knob->session = s;
	knob->watched = add->flags & KTUNE_ADD_WATCH;
	strscpy(knob->name, add->name, sizeof(knob->name));
	knob->file = kt_file_open(knob->rule, knob->name);
	if (IS_ERR(knob->file))
		return PTR_ERR(knob->file);
	err = kt_knob_read(s, knob, knob->original);
	if (!err)
		err = kt_knob_claim(knob);
	if (err)
		fput(knob->file);
	return err;
}

int kt_session_knob(struct kt_session *s, struct ktune_knob *out)
{
	struct kt_knob *knob;
	u32 index = out->index;

	mutex_lock(&s->lock);
	if (index >= s->knobs) {
		mutex_unlock(&s->lock);
		return -EINVAL;
	}
	knob = s->knob[index];
	if (knob->file)
		kt_knob_read(s, knob, knob->live);
	out->outcome = knob->outcome;
	out->error = knob->error;
	out->foreign = knob->foreign;
	memcpy(out->name, knob->name, sizeof(out->name));
	memcpy(out->original, knob->original, sizeof(out->original));
	if (knob->touched)
		memcpy(out->seen, knob->seen, sizeof(out->seen));
	memcpy(out->before, knob->before, sizeof(out->before));
	memcpy(out->live, knob->live, sizeof(out->live));
	mutex_unlock(&s->lock);
	return 0;
}
