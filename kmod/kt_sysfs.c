// SPDX-License-Identifier: GPL-2.0
/* /sys/kernel/ktune: one value a file; kmod/ABI-modes.md says what each is. */
#include <linux/kobject.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/sysfs.h>
#include <linux/time64.h>

#include "kt_modes.h"

static struct kobject *kt_kobj;

static void kt_notify(struct work_struct *work)
{
	sysfs_notify(kt_kobj, NULL, "mode");
}

static DECLARE_WORK(kt_notify_work, kt_notify);

/* poll(2) on `mode` wakes up. By a worker: whoever tells holds our lock. */
void kt_sysfs_changed(void)
{
	queue_work(kt_wq, &kt_notify_work);
}

#define KT_SHOWN(_name, _format, _value)					\
static ssize_t _name##_show(struct kobject *kobj, struct kobj_attribute *attr,	\
			    char *buf)						\
{										\
	struct kt_modes_shown shown;						\
										\
	kt_modes_show(&shown);							\
	return sysfs_emit(buf, _format "\n", _value);				\
}										\
static struct kobj_attribute kt_shown_##_name = __ATTR_RO(_name)

static ssize_t mode_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	struct kt_modes_shown shown;

	kt_modes_show(&shown);
	return sysfs_emit(buf, "%s\n", kt_mode_word(shown.mode));
}

/* Two words are a person's to write; the others are their session's to reach. */
static ssize_t mode_store(struct kobject *kobj, struct kobj_attribute *attr,
			  const char *buf, size_t n)
{
	int err = 0;

	if (sysfs_streq(buf, "emergency"))
		kt_modes_critical("asked for in sysfs");
	else if (sysfs_streq(buf, "idle"))
		err = kt_modes_idle();
	else
		err = -EINVAL;
	return err ? err : n;
}

static struct kobj_attribute kt_mode = __ATTR_RW(mode);

KT_SHOWN(reason, "%s", shown.reason);
KT_SHOWN(trips, "%u", shown.trips);
KT_SHOWN(unguarded, "%d", shown.unguarded);

/* ms until the lease ends of the session that holds the mode; 0 without one */
static ssize_t lease_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%llu\n", div_u64(kt_modes_lease_left(), NSEC_PER_MSEC));
}

static struct kobj_attribute kt_lease = __ATTR_RO(lease);

static ssize_t sessions_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", kt_sessions_open());
}

static struct kobj_attribute kt_sessions_attr = __ATTR_RO(sessions);

/* ---- emergency ---- */

static ssize_t quiet_s_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(kt_quiet_s));
}

static ssize_t quiet_s_store(struct kobject *kobj, struct kobj_attribute *attr,
			     const char *buf, size_t n)
{
	unsigned int seconds;
	int err = kstrtouint(buf, 10, &seconds);

	if (err)
		return err;
	if (seconds > 86400)
		return -ERANGE;
	WRITE_ONCE(kt_quiet_s, seconds);
	return n;
}

static struct kobj_attribute kt_quiet_attr = __ATTR_RW(quiet_s);

static ssize_t low_kib_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%lu\n", READ_ONCE(kt_low_kib));
}

static ssize_t low_kib_store(struct kobject *kobj, struct kobj_attribute *attr,
			     const char *buf, size_t n)
{
	unsigned long kib;
	int err = kstrtoul(buf, 10, &kib);

	if (err)
		return err;
	if (kib > totalram_pages() << (PAGE_SHIFT - 10))
		return -ERANGE;
	WRITE_ONCE(kt_low_kib, kib);
	return n;
}

static struct kobj_attribute kt_low_attr = __ATTR_RW(low_kib);

static struct attribute *kt_attrs[] = {
	&kt_mode.attr, &kt_shown_reason.attr, &kt_shown_trips.attr, &kt_shown_unguarded.attr,
	&kt_lease.attr, &kt_sessions_attr.attr, &kt_quiet_attr.attr, &kt_low_attr.attr,
	NULL,
};

static const struct attribute_group kt_group = { .attrs = kt_attrs };

/* ---- stats ---- */

#define KT_STAT(_name, _counter)						\
static ssize_t _name##_show(struct kobject *kobj, struct kobj_attribute *attr,	\
			    char *buf)						\
{										\
	return sysfs_emit(buf, "%lld\n", atomic64_read(&(_counter)));		\
}										\
static struct kobj_attribute kt_stat_##_name = __ATTR_RO(_name)

KT_STAT(applied, kt_count[KT_N_APPLIED]);
KT_STAT(refused, kt_count[KT_N_REFUSED]);
KT_STAT(restored, kt_count[KT_N_RESTORED]);
KT_STAT(foreign, kt_count[KT_N_FOREIGN]);
KT_STAT(failed, kt_count[KT_N_FAILED]);
KT_STAT(expired, kt_count[KT_N_EXPIRED]);
KT_STAT(emergencies, kt_modes_count[KT_N_EMERGENCIES]);
KT_STAT(low_memory, kt_modes_count[KT_N_LOW_MEMORY]);
KT_STAT(switches, kt_modes_count[KT_N_SWITCHES]);
KT_STAT(looks, kt_modes_count[KT_N_LOOKS]);
KT_STAT(gated, kt_modes_count[KT_N_GATED]);

static struct attribute *kt_stat_attrs[] = {
	&kt_stat_applied.attr, &kt_stat_refused.attr, &kt_stat_restored.attr,
	&kt_stat_foreign.attr, &kt_stat_failed.attr, &kt_stat_expired.attr,
	&kt_stat_emergencies.attr, &kt_stat_low_memory.attr, &kt_stat_switches.attr,
	&kt_stat_looks.attr, &kt_stat_gated.attr,
	NULL,
};

static const struct attribute_group kt_stat_group = {
	.name = "stats", .attrs = kt_stat_attrs,
};

/* ---- tree ---- */

/* The features a tree may ask for on this kernel, one bit each (enum ktune_feature). */
static ssize_t known_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "0x%x\n", kt_counters_known());
}

static struct kobj_attribute kt_known_attr = __ATTR_RO(known);

/* Of the tree at work; -1: there is none. */
#define KT_OF_TREE(_name, _value)						\
static ssize_t _name##_show(struct kobject *kobj, struct kobj_attribute *attr,	\
			    char *buf)						\
{										\
	struct kt_loop *loop = kt_modes_loop();					\
	int value = -1;								\
										\
	if (loop) {								\
		mutex_lock(&loop->lock);					\
		if (loop->is_tree)						\
			value = _value;						\
		mutex_unlock(&loop->lock);					\
		kt_loop_put(loop);						\
	}									\
	return sysfs_emit(buf, "%d\n", value);					\
}										\
static struct kobj_attribute kt_tree_##_name = __ATTR_RO(_name)

KT_OF_TREE(leaf, loop->choice.leaf);
KT_OF_TREE(wanted, loop->choice.wanted == KT_NO_LEAF ? loop->choice.leaf :
						       loop->choice.wanted);
KT_OF_TREE(keeps, loop->tree.keeps);
KT_OF_TREE(paused, loop->paused);
KT_OF_TREE(changes, loop->changes);

/* What the last look found, in the order of enum ktune_feature. */
static ssize_t found_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	struct kt_loop *loop = kt_modes_loop();
	unsigned int i, n = 0;

	if (!loop)
		return 0;
	mutex_lock(&loop->lock);
	for (i = 0; loop->is_tree && i < KTUNE_FEATURES; i++)
		n += sysfs_emit_at(buf, n, "%llu%c", loop->found[i],
				   i + 1 < KTUNE_FEATURES ? ' ' : '\n');
	mutex_unlock(&loop->lock);
	kt_loop_put(loop);
	return n;
}

static struct kobj_attribute kt_found = __ATTR_RO(found);

static struct attribute *kt_tree_attrs[] = {
	&kt_known_attr.attr, &kt_tree_leaf.attr, &kt_tree_wanted.attr,
	&kt_tree_keeps.attr, &kt_tree_paused.attr, &kt_tree_changes.attr, &kt_found.attr,
	NULL,
};

static const struct attribute_group kt_tree_group = {
	.name = "tree", .attrs = kt_tree_attrs,
};

/* ---- schedule ---- */

#define KT_OF_SCHEDULE(_name, _value)						\
static ssize_t _name##_show(struct kobject *kobj, struct kobj_attribute *attr,	\
			    char *buf)						\
{										\
	struct kt_loop *loop = kt_modes_loop();					\
	int value = -1;								\
										\
	if (loop) {								\
		mutex_lock(&loop->lock);					\
		if (!loop->is_tree)						\
			value = _value;						\
		mutex_unlock(&loop->lock);					\
		kt_loop_put(loop);						\
	}									\
	return sysfs_emit(buf, "%d\n", value);					\
}										\
static struct kobj_attribute kt_schedule_##_name##_attr = __ATTR_RO(_name)

KT_OF_SCHEDULE(windows, loop->schedule.windows);
KT_OF_SCHEDULE(window, loop->schedule.window);
KT_OF_SCHEDULE(arm, kt_schedule_arm(loop->schedule.bits, loop->schedule.window));
KT_OF_SCHEDULE(over, loop->schedule.over);

static struct attribute *kt_schedule_attrs[] = {
	&kt_schedule_windows_attr.attr, &kt_schedule_window_attr.attr, &kt_schedule_arm_attr.attr,
	&kt_schedule_over_attr.attr,
	NULL,
};

static const struct attribute_group kt_schedule_group = {
	.name = "schedule", .attrs = kt_schedule_attrs,
};

static const struct attribute_group *kt_groups[] = {
	&kt_group, &kt_stat_group, &kt_tree_group, &kt_schedule_group, NULL,
};

int kt_sysfs_init(void)
{
	int err;

	kt_kobj = kobject_create_and_add("ktune", kernel_kobj);
	if (!kt_kobj)
		return -ENOMEM;
	err = sysfs_create_groups(kt_kobj, kt_groups);
	if (err)
		kobject_put(kt_kobj);
	return err;
}

void kt_sysfs_exit(void)
{
	sysfs_remove_groups(kt_kobj, kt_groups);
	cancel_work_sync(&kt_notify_work);
	kobject_put(kt_kobj);
}
