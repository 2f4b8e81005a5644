# The first boot: from a profile to a policy that is applied after every boot.
cp tests/guest/booted/speed.yaml /root/speed.yaml
ktune tune /root/speed.yaml --quiet --seed 1
live 1
ktune freeze "$(ls /var/lib/ktune/studies)" -o $POLICY
ktune apply $POLICY --yes
live 9
exits 4 ktune apply $POLICY --persist --yes
[ ! -e /etc/systemd/system/ktune-watch.service ] || not_so "persisted before its probation"
ktune watch $POLICY --until-settled
live 9
ktune apply $POLICY --persist --yes | grep 'systemctl start ktune-watch.service'
systemctl is-enabled ktune-policies.service ktune-watch.service
systemctl start ktune-watch.service
unit ktune-watch ActiveState active
unit ktune-policies ActiveState active
verified=$(systemd-analyze verify /etc/systemd/system/ktune-*.service 2>&1)
same "systemd-analyze verify" "$verified" ""
# What the next boots set before any policy.
echo 'vm.stat_interval = 2' >/etc/sysctl.d/50-local.conf
