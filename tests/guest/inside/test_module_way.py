"""Which leases go by the kernel module, and what is said of those that do not."""

from __future__ import annotations

import os
import signal

import pytest

from ktune.errors import RefusedError
from ktune.proxy.backends import ProxyChoice
from ktune.proxy.client import LeaseLost
from ktune.proxy.module.device import Device
from tests.guest.inside.module_rig import INT, LONG_S, SWAPPINESS, live, needs_module
from tests.proxy.rig import Net, Paths, lease, wait_until

pytestmark = needs_module


def test_a_lease_of_the_host_goes_by_the_module_unasked(paths: Paths) -> None:
    before = live(SWAPPINESS)
    with lease(paths, SWAPPINESS) as held:
        assert held.standing.by_module
        assert "the kernel itself restores" in held.standing.text
        assert held.apply({SWAPPINESS: 17}, deadline_s=LONG_S).ok
        assert live(SWAPPINESS) == 17
    assert live(SWAPPINESS) == before


def test_a_network_namespace_goes_by_files_and_that_is_said(paths: Paths, net: Net) -> None:
    with lease(paths, "net.ipv4.tcp_fin_timeout", namespace=net.ref) as held:
        assert not held.standing.by_module
        assert "no kernel module: it holds knobs of the host only" in held.standing.text
    with pytest.raises(RefusedError, match="knobs of the host only"):
        lease(paths, "net.ipv4.tcp_fin_timeout", namespace=net.ref, proxy=ProxyChoice.MODULE)


def test_a_knob_that_another_session_holds_is_refused_whatever_the_way(paths: Paths) -> None:
    other = Device()
    other.add(SWAPPINESS, INT)
    for proxy in (ProxyChoice.AUTO, ProxyChoice.MODULE):
        with pytest.raises(RefusedError, match="another session of it holds one of the knobs"):
            lease(paths, SWAPPINESS, proxy=proxy)
    other.close()


def test_a_guardian_that_hangs_past_its_deadline_is_undone_and_says_so(paths: Paths) -> None:
    before = live(SWAPPINESS)
    held = lease(paths, SWAPPINESS, proxy=ProxyChoice.MODULE)
    held.apply({SWAPPINESS: 17}, deadline_s=0.3)
    os.kill(held.guardian_pid, signal.SIGSTOP)
    wait_until(lambda: live(SWAPPINESS) == before)
    os.kill(held.guardian_pid, signal.SIGCONT)
    with pytest.raises(LeaseLost, match=r"was not renewed; every knob is back \(1 restored"):
        held.check()
