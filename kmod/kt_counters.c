// SPDX-License-Identifier: GPL-2.0
/*
 * Readings of the kernel's counters, as far as a module can have them:
 *
 *   vm events      all_vm_events()
 *   network        dev_get_stats() of each device of the host's namespace
 *   CPU time, context switches, forks; disks
 *                  not exported: read as text from /proc/stat and
 *                  /proc/diskstats, in a mount of our own
 *   pressure       neither exported nor readable from inside (psi_*_proc_ops
 *                  has no read_iter): such features are refused
 */
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/ktime.h>
#include <linux/mount.h>
#include <linux/netdevice.h>
#include <linux/slab.h>
#include <linux/vmstat.h>
#include <net/net_namespace.h>

#include "kt_modes.h"

#define KT_PIECE 1024

#define KT_OF_STAT	(BIT(KT_CPU_ALL) | BIT(KT_CPU_BUSY) | \
			 BIT(KT_CONTEXT_SWITCHES) | BIT(KT_PROCESSES))
#define KT_OF_DISKS	(BIT(KT_DISK_READS) | BIT(KT_DISK_READ_SECTORS) | \
			 BIT(KT_DISK_WRITES) | BIT(KT_DISK_WRITE_SECTORS))
#define KT_OF_VM	(BIT(KT_PGMAJFAULT) | BIT(KT_PGPGIN_KIB))
#define KT_OF_NET	(BIT(KT_NET_PACKETS) | BIT(KT_NET_BYTES))

static struct vfsmount *kt_proc;
static struct file *kt_stat;		/* NULL: not there */
static struct file *kt_diskstats;
static u32 kt_known;			/* features */
/* kt_counters_lock covers all of these */
static DEFINE_MUTEX(kt_counters_lock);
static struct kt_lines kt_lines;
static char kt_piece[KT_PIECE];
static unsigned long kt_vm[NR_VM_EVENT_ITEMS];

static int kt_read_text(struct file *file, u64 *value,
			void (*take)(const char *line, u64 *value))
{
	loff_t pos = 0;
	ssize_t n;

	lockdep_assert_held(&kt_counters_lock);
	kt_lines_begin(&kt_lines, value);
	do {
		n = kernel_read(file, kt_piece, sizeof(kt_piece), &pos);
		if (n > 0)
			kt_lines_feed(&kt_lines, kt_piece, n, take);
	} while (n > 0);
	return n;
}

static void kt_read_vm(u64 *value)
{
	lockdep_assert_held(&kt_counters_lock);
	all_vm_events(kt_vm);
	value[KT_PGMAJFAULT] = kt_vm[PGMAJFAULT];
	value[KT_PGPGIN_KIB] = kt_vm[PGPGIN] / 2;	/* sectors, as vmstat_start() */
}

static void kt_read_net(u64 *value)
{
	struct rtnl_link_stats64 stats;
	const struct rtnl_link_stats64 *got;
	struct net_device *dev;

	rcu_read_lock();
	for_each_netdev_rcu(&init_net, dev) {
		got = dev_get_stats(dev, &stats);
		value[KT_NET_PACKETS] += got->rx_packets + got->tx_packets;
		value[KT_NET_BYTES] += got->rx_bytes + got->tx_bytes;
	}
	rcu_read_unlock();
}

u32 kt_counters_known(void)
{
	return kt_known;
}

int kt_counters_read(u32 features, struct kt_reading *reading)
{
	u32 needs = 0;
	unsigned int i;
	int err = 0;

	for (i = 0; i < KTUNE_FEATURES; i++)
		if (features & BIT(i))
			needs |= kt_feature_needs(i);
	mutex_lock(&kt_counters_lock);
	memset(reading, 0, sizeof(*reading));
	reading->at_ns = ktime_get_ns();
	if (needs & KT_OF_STAT)
		err = kt_read_text(kt_stat, reading->value, kt_line_of_stat);
	if (!err && needs & KT_OF_DISKS)
		err = kt_read_text(kt_diskstats, reading->value, kt_line_of_diskstats);
	if (needs & KT_OF_VM)
		kt_read_vm(reading->value);
	if (needs & KT_OF_NET)
		kt_read_net(reading->value);
	mutex_unlock(&kt_counters_lock);
	return err;
}

/* NULL: this kernel has none that can be read from inside. */
static struct file *kt_open_text(const char *name)
{
	struct file *file = file_open_root_mnt(kt_proc, name, O_RDONLY, 0);

	if (IS_ERR(file))
		return NULL;
	if (file->f_op->read_iter && !file->f_op->read)
		return file;
	fput(file);
	return NULL;
}

int kt_counters_init(void)
{
	u32 counters = KT_OF_NET;
	struct file_system_type *type = get_fs_type("proc");

	kt_proc = type ? kern_mount(type) : ERR_PTR(-EOPNOTSUPP);
	if (IS_ERR(kt_proc))
		return PTR_ERR(kt_proc);
	kt_stat = kt_open_text("stat");
	if (kt_stat)
		counters |= KT_OF_STAT;
	kt_diskstats = kt_open_text("diskstats");
	if (kt_diskstats)
		counters |= KT_OF_DISKS;
	if (IS_ENABLED(CONFIG_VM_EVENT_COUNTERS))
		counters |= KT_OF_VM;
	kt_known = kt_features_of(counters);
	return 0;
}

void kt_counters_exit(void)
{
	if (kt_stat)
		fput(kt_stat);
	if (kt_diskstats)
		fput(kt_diskstats);
	kern_unmount(kt_proc);
}
