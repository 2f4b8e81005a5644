// SPDX-License-Identifier: GPL-2.0
/*
 * A knob's file. It is looked up in mounts of our own, which nobody else sees:
 * no bind mount, no root directory of the caller and no read-only view leads
 * anywhere else, and nobody's umount is held up. A kernel thread can look up
 * there as well, though it has a root directory without anything in it (7.3).
 *
 * kernel_write() reaches what has write_iter and no write: sysctl, sysfs and
 * cgroup files. debugfs and /proc/irq have not.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/string.h>

#include "ktune.h"

#define KT_UNIFIED "unified/"

static struct vfsmount *kt_mount[3];
static DEFINE_MUTEX(kt_mount_lock);

static struct vfsmount *kt_mounted(enum kt_root root)
{
	static const char * const types[] = { "proc", "sysfs", "cgroup2" };
	struct file_system_type *type;
	struct vfsmount *mnt;

	mutex_lock(&kt_mount_lock);
	mnt = kt_mount[root];
	if (!mnt) {
		type = get_fs_type(types[root]);	/* built in: holds nothing */
		mnt = type ? kern_mount(type) : ERR_PTR(-EOPNOTSUPP);
		if (!IS_ERR(mnt))
			kt_mount[root] = mnt;
	}
	mutex_unlock(&kt_mount_lock);
	return mnt;
}

/* The path inside the mount; `name` has matched a rule. */
static int kt_path(const struct kt_rule *rule, const char *name, char *path, size_t size)
{
	size_t at;

	switch (rule->root) {
	case KT_SYSCTL:
		at = scnprintf(path, size, "sys/%s", name);
		if (at == size - 1)
			return -ENAMETOOLONG;
		for (; *path; path++)
			if (*path == '.')
				*path = '/';
		return 0;
	case KT_SYSFS:
		name += strlen("/sys/");
		break;
	case KT_CGROUP:
		name += strlen("/sys/fs/cgroup/");
		if (!strncmp(name, KT_UNIFIED, strlen(KT_UNIFIED)))
			name += strlen(KT_UNIFIED);
		break;
	}
	return strscpy(path, name, size) < 0 ? -ENAMETOOLONG : 0;
}

struct file *kt_file_open(const struct kt_rule *rule, const char *name)
{
	const struct file_operations *op;
	char path[KTUNE_NAME_MAX + 8];
	struct vfsmount *mnt;
	struct file *file;
	int err;

	err = kt_path(rule, name, path, sizeof(path));
	if (err)
		return ERR_PTR(err);
	mnt = kt_mounted(rule->root);
	if (IS_ERR(mnt))
		return ERR_CAST(mnt);
	file = file_open_root_mnt(mnt, path, O_RDWR, 0);
	if (IS_ERR(file))
		return file;
	op = file->f_op;
	if (!S_ISREG(file_inode(file)->i_mode) || file_inode(file)->i_sb != mnt->mnt_sb ||
	    !op->read_iter || !op->write_iter || op->read || op->write) {
		fput(file);
		return ERR_PTR(-EOPNOTSUPP);
	}
	return file;
}

int kt_file_read(struct file *file, char *page)
{
	loff_t pos = 0;
	ssize_t n = kernel_read(file, page, PAGE_SIZE - 1, &pos);

	if (n < 0)
		return n;
	if (n == PAGE_SIZE - 1)
		return -EMSGSIZE;
	page[n] = '\0';
	return strlen(page) == n ? 0 : -EINVAL;
}

int kt_file_write(struct file *file, const char *text)
{
	size_t len = strlen(text);
	loff_t pos = 0;
	ssize_t n = kernel_write(file, text, len, &pos);

	if (n < 0)
		return n;
	return n == len ? 0 : -EIO;
}

/* The knob has gone, or its device; another may stand in its place. */
bool kt_file_is_dead(int err)
{
	return err == -ENODEV || err == -ENOENT || err == -ENXIO;
}

int kt_files_init(void)
{
	struct vfsmount *proc = kt_mounted(KT_SYSCTL), *sys = kt_mounted(KT_SYSFS);

	if (IS_ERR(proc))
		return PTR_ERR(proc);
	return IS_ERR(sys) ? PTR_ERR(sys) : 0;
}

void kt_files_exit(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(kt_mount); i++)
		if (kt_mount[i])
			kern_unmount(kt_mount[i]);
}
