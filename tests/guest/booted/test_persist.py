"""`ktune apply --persist` under a systemd that is process 1, over boots, power cuts and shutdowns.

The knob is 1 by the kernel, 2 by /etc/sysctl.d, 9 by the policy. Times are the emulation's: what is
waited for comes when it comes.
"""

from __future__ import annotations

import pytest

from tests.guest.booting import End

from .conftest import Proven, Rig

pytestmark = pytest.mark.full

IN_FORCE = """
in_force
unit ktune-policies ActiveState active
unit ktune-policies Result success
says ktune-policies 'applied: speed@' || not_so "the unit has not said what it applied"
until_so "the watch runs" says ktune-watch 'probation'
unit ktune-watch SubState running
"""


def test_from_a_profile_to_units_that_systemd_accepts(proven: Proven) -> None:
    if not proven.output:
        pytest.skip("the disk is from an earlier run")
    assert "10 pairs without a regression" in proven.output
    assert proven.output.splitlines().count("enabled") == 2


def test_after_a_healthy_boot_a_policy_survives_a_cut_of_power(rig: Rig) -> None:
    rig.boot(
        IN_FORCE
        + """
sysctl=$(of systemd-sysctl ActiveEnterTimestampMonotonic)
policies=$(of ktune-policies ExecMainStartTimestampMonotonic)
[ "$sysctl" -lt "$policies" ] || not_so "applied before sysctl.d"
until_so "the probation" says ktune-watch 'this boot counts as healthy: probation passed'
ktune verify
same "the whole system" "$(systemctl is-system-running)" running
ktune status
""",
        end=End.CUT,
    )
    rig.boot(IN_FORCE)


def test_its_watch_is_a_service_until_the_policy_is_rolled_back(rig: Rig) -> None:
    rig.boot(
        IN_FORCE
        + """
# stopped: the policy stays
systemctl stop ktune-watch
live 9
unit ktune-watch ActiveState inactive
unit ktune-watch Result success
ktune status | grep unguarded || not_so "status does not say that nobody watches"
# a crash: started again
ktune apply $POLICY --persist --yes --healthy-after 5s
systemctl start ktune-watch
until_so "the watch runs" is ktune-watch SubState running
systemctl kill --signal=KILL --kill-who=main ktune-watch
until_so "it is started again" is ktune-watch NRestarts 1
until_so "it runs again" is ktune-watch SubState running
in_force
"""
    )
    rig.boot(
        """
live 2
for name in ktune-policies ktune-watch; do
    unit $name ActiveState inactive
    unit $name ConditionResult no
done
same "the whole system" "$(systemctl is-system-running)" running
ktune status
""",
        append="ktune=off",
    )
    rig.boot(
        IN_FORCE
        + """
until_so "healthy" says ktune-watch 'this boot counts as healthy: watched for'
ktune rollback
live 2
until_so "the watch has ended" is ktune-watch ActiveState inactive
unit ktune-watch Result success
same "unit files" "$(systemctl list-unit-files --no-legend 'ktune-*')" ""
same "the whole system" "$(systemctl is-system-running)" running
"""
    )
    rig.boot(
        """
live 2
unit ktune-policies LoadState not-found
unit ktune-watch LoadState not-found
ktune status | grep 'nothing in force'
"""
    )


def test_a_boot_that_was_cut_short_blocks_until_a_person_persists_again(rig: Rig) -> None:
    rig.boot(IN_FORCE, end=End.CUT)
    rig.boot(
        """
live 2
unit ktune-policies Result exit-code
unit ktune-policies ExecMainStatus 4
until_so "the watch is refused" is ktune-watch ActiveState failed
unit ktune-watch ExecMainStatus 4
sleep 15
unit ktune-watch NRestarts 0
says ktune-policies 'did not stay healthy' || not_so "the unit has not said why"
ktune status | grep BLOCKED
same "the whole system" "$(systemctl is-system-running || :)" degraded
# by a person again; beside another tuner, which it is told to bear
cp /bin/sleep /root/tuned
printf '[Service]\nExecStart=/root/tuned infinity\n[Install]\nWantedBy=basic.target\n' \
    >/etc/systemd/system/other.service
systemctl enable --now other.service
exits 6 ktune apply $POLICY --persist --yes
live 2
ktune apply $POLICY --persist --yes --coexist
live 9
systemctl start ktune-watch
until_so "the watch runs" is ktune-watch SubState running
unit ktune-policies ActiveState active
"""
    )
    rig.boot(
        IN_FORCE
        + """
unit other ActiveState active
# the next boot has too little time for it
mkdir /etc/systemd/system/ktune-policies.service.d
printf '[Service]\nTimeoutStartSec=3s\n' >/etc/systemd/system/ktune-policies.service.d/late.conf
ktune apply $POLICY --persist --yes --coexist
"""
    )
    rig.boot(
        """
live 2
unit ktune-policies Result timeout
until_so "the watch is refused" is ktune-watch ExecMainStatus 4
ktune recover
live 2
"""
    )


def test_what_a_person_must_look_at_is_not_started_again(rig: Rig) -> None:
    rig.boot(
        IN_FORCE
        + """
# 2: how to measure it is gone
mv /var/lib/ktune/studies /root/studies
systemctl restart ktune-watch
until_so "the watch can't be" is ktune-watch ActiveState failed
unit ktune-watch ExecMainStatus 2
sleep 15
unit ktune-watch NRestarts 0
live 9
mv /root/studies /var/lib/ktune/studies
# 8: it has taken the policy back
touch /root/slower
systemctl start ktune-watch
until_so "it is taken back" is ktune-watch ActiveState failed
unit ktune-watch ExecMainStatus 8
live 2
sleep 15
unit ktune-watch NRestarts 0
live 2
ktune status
"""
    )
    rig.boot(
        """
live 2
for name in ktune-policies ktune-watch; do
    unit $name ActiveState inactive
    unit $name ConditionResult no
done
same "the whole system" "$(systemctl is-system-running)" running
"""
    )
