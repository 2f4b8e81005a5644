// SPDX-License-Identifier: GPL-2.0
/*
 * Low memory is an emergency: when the OOM killer is about to choose, or when
 * reclaim runs and less than kt_low_kib is available. Both are called from deep
 * inside the allocator, so they take no lock and only queue work.
 */
#include <linux/mm.h>
#include <linux/notifier.h>
#include <linux/oom.h>
#include <linux/shrinker.h>

#include "kt_modes.h"

unsigned long kt_low_kib;

static const char *kt_low_why;

static void kt_low_work(struct work_struct *work)
{
	kt_modes_counted(KT_N_LOW_MEMORY);
	if (kt_sessions_open())		/* else nothing of ours is in force */
		kt_modes_critical(READ_ONCE(kt_low_why));
}

static DECLARE_WORK(kt_low, kt_low_work);

static void kt_low_seen(const char *why)
{
	if (kt_modes_in_emergency() || work_pending(&kt_low))
		return;
	WRITE_ONCE(kt_low_why, why);
	queue_work(kt_wq, &kt_low);
}

bool kt_memory_is_low(void)
{
	unsigned long low = READ_ONCE(kt_low_kib);

	return low && si_mem_available() < (long)(low >> (PAGE_SHIFT - 10));
}

static int kt_oom(struct notifier_block *block, unsigned long unused, void *freed)
{
	kt_low_seen("out of memory");
	return NOTIFY_OK;
}

static struct notifier_block kt_oom_block = { .notifier_call = kt_oom };

/* Asked whenever memory is reclaimed. There is nothing here to free. */
static unsigned long kt_count_objects(struct shrinker *shrinker,
				      struct shrink_control *control)
{
	if (kt_memory_is_low())
		kt_low_seen("memory is low");
	return SHRINK_EMPTY;
}

static unsigned long kt_scan_objects(struct shrinker *shrinker,
				     struct shrink_control *control)
{
	return SHRINK_STOP;
}

#ifdef KT_HAS_SHRINKER_ALLOC
static struct shrinker *kt_shrinker;

static int kt_shrinker_init(void)
{
	kt_shrinker = shrinker_alloc(0, "ktune");
	if (!kt_shrinker)
		return -ENOMEM;
	kt_shrinker->count_objects = kt_count_objects;
	kt_shrinker->scan_objects = kt_scan_objects;
	kt_shrinker->seeks = DEFAULT_SEEKS;
	shrinker_register(kt_shrinker);
	return 0;
}

static void kt_shrinker_exit(void)
{
	shrinker_free(kt_shrinker);
}
#else
static struct shrinker kt_shrinker = {
	.count_objects = kt_count_objects,
	.scan_objects = kt_scan_objects,
	.seeks = DEFAULT_SEEKS,
};

static int kt_shrinker_init(void)
{
	return register_shrinker(&kt_shrinker, "ktune");
}

static void kt_shrinker_exit(void)
{
	unregister_shrinker(&kt_shrinker);
}
#endif

int kt_memory_init(void)
{
	int err = register_oom_notifier(&kt_oom_block);

	if (err)
		return err;
	err = kt_shrinker_init();
	if (err)
		unregister_oom_notifier(&kt_oom_block);
	return err;
}

void kt_memory_exit(void)
{
	kt_shrinker_exit();
	unregister_oom_notifier(&kt_oom_block);
	cancel_work_sync(&kt_low);
}
