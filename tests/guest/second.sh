# What a booted Debian has, then the command, then off. Process 1 of the guest once its root is there
# (it stays, and reaps what tests leave behind).
. /run/guest/settings
export PATH="$PROGRAMS:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export HOME=/run/guest/home TMPDIR=/tmp LANG=C.UTF-8 TERM=dumb KTUNE_TEST_PATIENCE=8
export KTUNE_GUEST="$RELEASE" KTUNE_GUEST_MODULES=/run/guest/kmod KTUNE_GUEST_ROOT="$ROOT"
exec </dev/null >/dev/ttyS1 2>&1
finish() {
    echo "$MARKER exit=$1 up=$(cut -d' ' -f1 /proc/uptime)"
    sync
    sleep 0.2 # the serial line is drained by interrupts
    /run/guest/busybox poweroff -f
}
mkdir -p "$HOME" /run/lock
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for kind in debugfs:/sys/kernel/debug tracefs:/sys/kernel/tracing bpf:/sys/fs/bpf; do
    mount -t "${kind%%:*}" "${kind%%:*}" "${kind#*:}"
done
mount --make-rshared /
ip link set lo up
[ "$ROOT" = memory ] || modprobe -a loop tcp_bbr || { echo "modules of the kernel don't load"; finish 99; }
for name in $(cat /run/guest/kmod/order); do
    insmod "/run/guest/kmod/$name.ko" || { echo "our module $name does not load"; finish 98; }
done
cd "$CHECKOUT" || finish 97
setsid sh /run/guest/command
code=$?
for name in $(/run/guest/busybox tac /run/guest/kmod/order); do
    [ ! -e "/sys/module/$name" ] || rmmod "$name" || { echo "our module $name stays"; code=96; }
done
finish "$code"
