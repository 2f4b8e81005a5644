// SPDX-License-Identifier: GPL-2.0
/*
 * Requests about modes, schedules and trees: what user space sends is copied
 * and checked here. One at a time for each session (session->calls).
 */
#include <linux/err.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "kt_modes.h"

static long kt_request_mode(struct kt_session *s, void __user *arg)
{
	u32 state = READ_ONCE(s->state);
	struct ktune_mode asked;
	long err;

	if (copy_from_user(&asked, arg, sizeof(asked)))
		return -EFAULT;
	if (asked.event >= KTUNE_EVENTS || memchr_inv(asked.reserved, 0, sizeof(asked.reserved)))
		return -EINVAL;
	if (kt_begins(asked.event) && state != KTUNE_LEASED)
		return state == KTUNE_NEW ? -EBADFD : -ESTALE;
	err = kt_modes_told(s, &asked);
	if (err)
		return err;
	if (asked.commands & KT_DO_RESTORE && asked.mode != KTUNE_MODE_EMERGENCY) {
		err = kt_session_switch_waiting(s, 0);
		if (err == -EBUSY || err == -ESTALE)
			err = 0;	/* somebody else's value stays; or it is over */
		if (err && err != -EINTR)
			kt_modes_critical("the baseline could not be put in force");
	}
	return copy_to_user(arg, &asked, sizeof(asked)) ? -EFAULT : err;
}

/* Whether slots @first..@last have been staged. */
static int kt_slots_staged(struct kt_session *s, unsigned int first, unsigned int last)
{
	unsigned int i;
	int err = 0;

	mutex_lock(&s->lock);
	for (i = first; !err && i <= last; i++)
		if (!s->slot[i])
			err = -ENOENT;
	mutex_unlock(&s->lock);
	return err;
}

static long kt_request_schedule(struct kt_session *s, void __user *arg)
{
	struct ktune_schedule *raw = memdup_user(arg, sizeof(*raw));
	struct kt_loop *loop;
	long err;

	if (IS_ERR(raw))
		return PTR_ERR(raw);
	loop = kt_loop_schedule(s, raw);
	err = PTR_ERR_OR_ZERO(loop);
	if (!err) {
		err = kt_slots_staged(s, raw->slot, raw->slot);
		if (err)
			kt_loop_put(loop);
		else
			err = kt_modes_loop_begin(s, loop, KT_COLLABORATION);
	}
	kfree(raw);
	return err;
}

static long kt_request_tree(struct kt_session *s, void __user *arg)
{
	struct ktune_tree *raw = memdup_user(arg, sizeof(*raw));
	struct kt_loop *loop;
	long err;

	if (IS_ERR(raw))
		return PTR_ERR(raw);
	loop = kt_loop_tree(s, raw);
	err = PTR_ERR_OR_ZERO(loop);
	if (!err) {
		err = kt_slots_staged(s, 1, loop->tree.leaves);
		if (err)
			kt_loop_put(loop);
		else
			err = kt_modes_loop_begin(s, loop, KT_RECOMMENDATION);
	}
	kfree(raw);
	return err;
}

#define KT_STAMPS_AT_ONCE 64

static long kt_copy_stamps(struct kt_loop *loop, struct ktune_stamps *asked)
{
	struct ktune_stamp __user *to = u64_to_user_ptr(asked->stamps);
	u32 first = asked->first, room = asked->count, n;
	struct ktune_stamp *some;

	some = kmalloc_array(KT_STAMPS_AT_ONCE, sizeof(*some), GFP_KERNEL);
	if (!some)
		return -ENOMEM;
	asked->count = 0;
	do {
		n = kt_loop_stamps(loop, some, first + asked->count,
				   min_t(u32, room - asked->count, KT_STAMPS_AT_ONCE),
				   asked);
		if (n && copy_to_user(to + asked->count, some, n * sizeof(*some))) {
			kfree(some);
			return -EFAULT;
		}
		asked->count += n;
	} while (n && asked->count < room);
	kfree(some);
	return 0;
}

static long kt_request_stamps(struct kt_session *s, void __user *arg)
{
	struct ktune_stamps asked;
	struct kt_loop *loop;
	long err;

	if (copy_from_user(&asked, arg, sizeof(asked)))
		return -EFAULT;
	if (asked.first > KTUNE_WINDOWS_MAX || asked.count > KTUNE_WINDOWS_MAX)
		return -EINVAL;
	loop = kt_modes_stamps_of(s);
	if (!loop)
		return -ENODATA;
	err = kt_copy_stamps(loop, &asked);
	kt_loop_put(loop);
	if (err)
		return err;
	return copy_to_user(arg, &asked, sizeof(asked)) ? -EFAULT : 0;
}

static long kt_request_stop(struct kt_session *s)
{
	long err = kt_modes_loop_end(s);

	if (err)
		return err;
	err = kt_session_switch_waiting(s, 0);
	return err == -EBUSY ? 0 : err;	/* somebody else's value stays */
}

long kt_modes_ioctl(struct kt_session *s, unsigned int cmd, void __user *arg)
{
	switch (cmd) {
	case KTUNE_IOC_MODE:
		return kt_request_mode(s, arg);
	case KTUNE_IOC_SCHEDULE:
		return kt_request_schedule(s, arg);
	case KTUNE_IOC_STAMPS:
		return kt_request_stamps(s, arg);
	case KTUNE_IOC_TREE:
		return kt_request_tree(s, arg);
	case KTUNE_IOC_STOP:
		return kt_request_stop(s);
	case KTUNE_IOC_PAUSE:
		return kt_modes_tree_pause(s, true);
	case KTUNE_IOC_RESUME:
		return kt_modes_tree_pause(s, false);
	default:
		return -ENOTTY;
	}
}
