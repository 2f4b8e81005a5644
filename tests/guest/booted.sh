# What a freshly installed Debian has, then systemd as process 1, by the disk's own /etc. The disk keeps
# whatever is written; only the first boot finds it without `/etc/guest-made`.
. /run/guest/settings
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# The machine that lends its files may be a container; systemd would then read its own command line in
# the place of the kernel's, and leave out what is a host's.
rm -f /.dockerenv /run/.containerenv
if [ ! -e /etc/guest-made ]; then
    # Not what the machine that lends its files was set up with.
    rm -rf /etc/systemd/system /etc/sysctl.d /etc/sysctl.conf /etc/fstab /etc/modules-load.d /etc/modules \
        /etc/ktune /var/lib/ktune /var/log/journal
    mkdir -p /etc/systemd/system /etc/sysctl.d /var/log/journal
    # Without udev no device unit appears, which consoles wait for; the rest only takes emulated time.
    for unit in getty.target systemd-logind.service dbus.service dbus.socket \
        systemd-udevd.service systemd-update-utmp.service systemd-update-utmp-runlevel.service \
        systemd-random-seed.service systemd-timesyncd.service timers.target kmod-static-nodes.service \
        proc-sys-fs-binfmt_misc.automount dev-mqueue.mount systemd-ask-password-wall.path; do
        ln -s /dev/null "/etc/systemd/system/$unit"
    done
    tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id.new && mv -f /etc/machine-id.new /etc/machine-id
    touch /etc/guest-made
fi
mkdir -p /run/systemd/system/guest.target.wants
cat >/run/systemd/system/guest.target <<EOF
[Unit]
Description=The machine has booted, and runs what this boot is for
Requires=multi-user.target
After=multi-user.target
AllowIsolate=yes
EOF
cat >/run/systemd/system/guest-command.service <<EOF
[Unit]
Description=What this boot is for
After=multi-user.target
[Service]
Type=exec
ExecStart=/run/guest/busybox sh /run/guest/in_boot.sh
EOF
ln -s ../guest-command.service /run/systemd/system/guest.target.wants/guest-command.service
exec /lib/systemd/systemd --unit=guest.target
