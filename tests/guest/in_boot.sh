# The command of one boot, as a person at a shell of the booted machine, then off: by systemd, which
# stops everything in its order, or without a warning (the runner cuts the power at the marker).
. /run/guest/settings
export PATH="$PROGRAMS:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export HOME=/root LANG=C.UTF-8 TERM=dumb KTUNE_TEST_PATIENCE=8 SYSTEMD_PAGER=
exec </dev/null >/dev/ttyS1 2>&1
cd "$CHECKOUT" && sh /run/guest/command
echo "$MARKER exit=$? up=$(cut -d' ' -f1 /proc/uptime)"
[ "$END" = off ] || exec sleep 3600
systemctl start --no-block --job-mode=replace-irreversibly poweroff.target
