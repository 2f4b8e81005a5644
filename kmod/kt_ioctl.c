// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/ktune: requests are copied in, checked for shape, and answered. What
 * they mean is the session's. kmod/ABI.md lists every errno.
 */
#include <linux/capability.h>
#include <linux/compat.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/nsproxy.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <net/net_namespace.h>

#include "ktune.h"

#define KT_MODES_FIRST 32

static bool kt_ended(const char *text, size_t size)
{
	return strnlen(text, size) < size;
}

#define KT_ENDED(array) kt_ended(array, sizeof(array))
#define KT_ZERO(array) (!memchr_inv(array, 0, sizeof(array)))

static int kt_do_info(struct kt_session *s, void __user *arg)
{
	struct ktune_info info = {
		.abi = KTUNE_ABI,
		.rules = kt_rules(),
		.session = s->number,
		.sessions = kt_sessions_open(),
		.applied = atomic64_read(&kt_count[KT_N_APPLIED]),
		.refused = atomic64_read(&kt_count[KT_N_REFUSED]),
		.restored = atomic64_read(&kt_count[KT_N_RESTORED]),
		.foreign = atomic64_read(&kt_count[KT_N_FOREIGN]),
		.failed = atomic64_read(&kt_count[KT_N_FAILED]),
		.expired = atomic64_read(&kt_count[KT_N_EXPIRED]),
	};

	strscpy(info.version, THIS_MODULE->version, sizeof(info.version));
	return copy_to_user(arg, &info, sizeof(info)) ? -EFAULT : 0;
}

static int kt_do_add(struct kt_session *s, void __user *arg)
{
	struct ktune_add *add = memdup_user(arg, sizeof(*add));
	int err = -EINVAL;

	if (IS_ERR(add))
		return PTR_ERR(add);
	memset(add->original, 0, sizeof(add->original));
	if (KT_ENDED(add->name) && KT_ENDED(add->choices) && KT_ZERO(add->reserved) &&
	    !add->index && !add->rule)
		err = kt_session_add(s, add);
	if (!err && copy_to_user(arg, add, sizeof(*add)))
		err = -EFAULT;
	kfree(add);
	return err;
}

static int kt_do_couple(struct kt_session *s, void __user *arg)
{
	struct ktune_couple couple;

	if (copy_from_user(&couple, arg, sizeof(couple)))
		return -EFAULT;
	return kt_session_couple(s, &couple);
}

static int kt_do_lease(struct kt_session *s, void __user *arg,
		       int (*act)(struct kt_session *s, struct ktune_lease *lease))
{
	struct ktune_lease lease;
	int err;

	if (copy_from_user(&lease, arg, sizeof(lease)))
		return -EFAULT;
	if (!KT_ZERO(lease.reserved) || lease.deadline_ns)
		return -EINVAL;
	err = act(s, &lease);
	if (!err && copy_to_user(arg, &lease, sizeof(lease)))
		err = -EFAULT;
	return err;
}

/* What became of the items, with what their knobs read now. */
static void kt_items_answer(struct kt_session *s, struct ktune_item *items, unsigned int n)
{
	struct kt_knob *knob;
	unsigned int i;

	mutex_lock(&s->lock);
	for (i = 0; i < n; i++) {
		knob = s->knob[items[i].index];
		items[i].outcome = knob->outcome;
		items[i].error = knob->error;
		memcpy(items[i].value, knob->live, sizeof(items[i].value));
	}
	mutex_unlock(&s->lock);
}

static int kt_do_items(struct kt_session *s, void __user *arg, bool stage)
{
	struct ktune_item *items;
	struct ktune_set set;
	void __user *from;
	size_t size;
	int err;

	if (copy_from_user(&set, arg, sizeof(set)))
		return -EFAULT;
	if (!KT_ZERO(set.reserved2) || set.reserved || set.attempts_refused ||
	    (!stage && set.slot) || set.count > KTUNE_KNOBS_MAX || (!stage && !set.count))
		return -EINVAL;
	from = u64_to_user_ptr(set.items);
	size = array_size(set.count, sizeof(*items));
	items = set.count ? vmemdup_user(from, size) : NULL;
	if (IS_ERR(items))
		return PTR_ERR(items);
	if (stage)
		err = kt_session_stage(s, set.slot, items, set.count);
	else
		err = kt_session_apply(s, items, set.count);
	if (!err && !stage) {
		kt_items_answer(s, items, set.count);
		set.attempts_refused = READ_ONCE(s->attempts_refused);
		if (copy_to_user(from, items, size) || copy_to_user(arg, &set, sizeof(set)))
			err = -EFAULT;
	}
	kvfree(items);
	return err;
}

static int kt_do_switch(struct kt_session *s, void __user *arg)
{
	struct ktune_set set;
	int err;

	if (copy_from_user(&set, arg, sizeof(set)))
		return -EFAULT;
	if (!KT_ZERO(set.reserved2) || set.reserved || set.attempts_refused || set.count ||
	    set.items)
		return -EINVAL;
	err = kt_session_switch_waiting(s, set.slot);
	set.attempts_refused = READ_ONCE(s->attempts_refused);
	if (!err && copy_to_user(arg, &set, sizeof(set)))
		err = -EFAULT;
	return err;
}

static int kt_do_keep(struct kt_session *s, void __user *arg)
{
	u32 index;

	if (copy_from_user(&index, arg, sizeof(index)))
		return -EFAULT;
	return kt_session_keep(s, index);
}

static int kt_do_knob(struct kt_session *s, void __user *arg)
{
	struct ktune_knob *knob = memdup_user(arg, sizeof(*knob));
	u32 index;
	int err;

	if (IS_ERR(knob))
		return PTR_ERR(knob);
	index = knob->index;
	err = KT_ZERO(knob->reserved) ? 0 : -EINVAL;
	memset(knob, 0, sizeof(*knob));
	knob->index = index;
	if (!err)
		err = kt_session_knob(s, knob);
	if (!err && copy_to_user(arg, knob, sizeof(*knob)))
		err = -EFAULT;
	kfree(knob);
	return err;
}

static int kt_do_result(struct kt_session *s, void __user *arg, bool asks)
{
	struct ktune_result *result;
	int err = 0;

	result = kzalloc(sizeof(*result), GFP_KERNEL);
	if (!result)
		return -ENOMEM;
	if (asks && copy_from_user(result, arg, sizeof(*result)))
		err = -EFAULT;
	else if (!KT_ZERO(result->reserved))
		err = -EINVAL;
	if (!err && !asks)
		err = kt_session_release(s);
	if (!err)
		err = kt_session_result(s, result);
	if (!err && copy_to_user(arg, result, sizeof(*result)))
		err = -EFAULT;
	kfree(result);
	return err;
}

static long kt_request(struct kt_session *s, unsigned int cmd, void __user *arg)
{
	switch (cmd) {
	case KTUNE_IOC_ADD:
		return kt_do_add(s, arg);
	case KTUNE_IOC_COUPLE:
		return kt_do_couple(s, arg);
	case KTUNE_IOC_BEGIN:
		return kt_do_lease(s, arg, kt_session_begin);
	case KTUNE_IOC_RENEW:
		return kt_do_lease(s, arg, kt_session_renew);
	case KTUNE_IOC_APPLY:
		return kt_do_items(s, arg, false);
	case KTUNE_IOC_STAGE:
		return kt_do_items(s, arg, true);
	case KTUNE_IOC_SWITCH:
		return kt_do_switch(s, arg);
	case KTUNE_IOC_KEEP:
		return kt_do_keep(s, arg);
	case KTUNE_IOC_KNOB:
		return kt_do_knob(s, arg);
	case KTUNE_IOC_COMMIT:
		return kt_session_commit(s);
	case KTUNE_IOC_RELEASE:
		return kt_do_result(s, arg, false);
	}
	if (_IOC_TYPE(cmd) == _IOC_TYPE(KTUNE_IOC_INFO) && _IOC_NR(cmd) >= KT_MODES_FIRST)
		return kt_modes_ioctl(s, cmd, arg);
	return -ENOTTY;
}

static long kt_ioctl(struct file *file, unsigned int cmd, unsigned long raw)
{
	struct kt_session *s = file->private_data;
	void __user *arg = (void __user *)raw;
	long err;

	/* these two only look, and never wait for a switch */
	if (cmd == KTUNE_IOC_INFO)
		return kt_do_info(s, arg);
	if (cmd == KTUNE_IOC_RESULT)
		return kt_do_result(s, arg, true);
	if (!(file->f_mode & FMODE_WRITE))
		return -EBADF;
	if (mutex_lock_killable(&s->calls))
		return -EINTR;
	err = kt_request(s, cmd, arg);
	mutex_unlock(&s->calls);
	return err;
}

static __poll_t kt_poll(struct file *file, poll_table *wait)
{
	struct kt_session *s = file->private_data;
	u32 state;

	poll_wait(file, &s->changed, wait);
	state = READ_ONCE(s->state);
	return state == KTUNE_NEW || state == KTUNE_LEASED ? 0 : EPOLLIN | EPOLLPRI;
}

static int kt_open_device(struct inode *inode, struct file *file)
{
	struct kt_session *s;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (!net_eq(current->nsproxy->net_ns, &init_net))
		return -EXDEV;
	s = kt_session_new();
	if (IS_ERR(s))
		return PTR_ERR(s);
	file->private_data = s;
	return stream_open(inode, file);
}

static int kt_close_device(struct inode *inode, struct file *file)
{
	kt_session_close(file->private_data);
	return 0;
}

static const struct file_operations kt_device_operations = {
	.owner = THIS_MODULE,
	.open = kt_open_device,
	.release = kt_close_device,
	.unlocked_ioctl = kt_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.poll = kt_poll,
};

static struct miscdevice kt_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "ktune",
	.fops = &kt_device_operations,
	.mode = 0600,
};

int kt_device_init(void)
{
	return misc_register(&kt_device);
}

void kt_device_exit(void)
{
	misc_deregister(&kt_device);
}
