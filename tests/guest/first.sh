#!/bin/busybox sh
# The guest's first process, in the initramfs: the machine's own files, read-only over 9p, with a
# layer above them that takes every write, in memory or on a disk that outlives the boot; then the second
# stage as process 1 of that root.
/bin/busybox --install -s /bin
export PATH=/bin
fail() { echo "guest: $1"; echo "$1" >/dev/ttyS1; poweroff -f; }
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
. /guest/settings
for name in $(cat /guest/drivers); do
    insmod "/guest/modules/$name.ko" || fail "module $name does not load"
done
if [ "$ROOT" = memory ]; then
    mkdir -p /run /tmp
    mount -t tmpfs -o mode=755 run /run
    mount -t tmpfs -o mode=1777 tmp /tmp
    cp -r /guest /run/guest
    cp /bin/busybox /run/guest/busybox
    exec /run/guest/busybox sh /run/guest/second.sh
fi
if [ "$ROOT" = disk ]; then
    mount -t ext4 /dev/vda /memory || fail "the disk can't be mounted"
else
    mount -t tmpfs -o size=75% memory /memory
fi
mkdir -p /memory/upper /memory/work
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=524288,cache=loose,access=any host /host ||
    fail "the machine's files can't be mounted over 9p"
mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work root /new ||
    fail "no layer over the machine's files"
for place in proc sys dev; do mount --move /$place /new/$place; done
mount -t tmpfs -o mode=1777 tmp /new/tmp
mount -t tmpfs -o mode=755 run /new/run
mkdir -p "/new/usr/lib/modules/$RELEASE"
mount --bind "/host$KERNEL_MODULES" "/new/usr/lib/modules/$RELEASE"
[ -e /new/lib ] || ln -s usr/lib /new/lib
# A checkout in /tmp, /run or /dev/shm is below what was just mounted.
if [ ! -e "/new$CHECKOUT/tests/guest" ]; then
    mkdir -p "/new$CHECKOUT" && mount --bind "/host$CHECKOUT" "/new$CHECKOUT" ||
        fail "the checkout $CHECKOUT can't be seen in the guest"
fi
cp -r /guest /new/run/guest
cp /bin/busybox /new/run/guest/busybox
[ "$ROOT" = disk ] && second=booted.sh || second=second.sh
exec switch_root /new /run/guest/busybox sh "/run/guest/$second"
