// SPDX-License-Identifier: GPL-2.0
/*
 * ktune: leases on kernel knobs that the kernel itself undoes. See kmod/ABI.md.
 * An open file or a restore under way keeps the module loaded.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/workqueue.h>

#include "ktune.h"

struct workqueue_struct *kt_wq;
atomic64_t kt_count[KT_COUNTS];

static int __init kt_init(void)
{
	int err;

	/* a restore must get a thread however short of memory the machine is */
	kt_wq = alloc_workqueue("ktune", WQ_MEM_RECLAIM | WQ_UNBOUND | WQ_FREEZABLE, 0);
	if (!kt_wq)
		return -ENOMEM;
	err = kt_files_init();
	if (err)
		goto no_files;
	err = kt_modes_init();
	if (err)
		goto no_files;
	err = kt_device_init();
	if (err)
		goto no_device;
	return 0;
no_device:
	kt_modes_exit();
no_files:
	kt_files_exit();
	destroy_workqueue(kt_wq);
	return err;
}

static void __exit kt_exit(void)
{
	kt_device_exit();
	kt_modes_exit();
	destroy_workqueue(kt_wq);	/* waits for what the last session left */
	kt_files_exit();
}

module_init(kt_init);
module_exit(kt_exit);
MODULE_LICENSE("GPL");
MODULE_VERSION("1.0.0");
MODULE_AUTHOR("the ktune developers");
MODULE_DESCRIPTION("Leases on kernel knobs that the kernel itself undoes");
