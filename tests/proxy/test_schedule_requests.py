"""What the guardian says of schedules where no kernel switches, and what its journal keeps of one.

With the kernel module: tests/guest/inside/test_schedule.py."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ktune.errors import RefusedError
from ktune.proxy.allowlist import load_allowlist
from ktune.proxy.journal import encode, held_of, load, schedule_record
from ktune.proxy.planner import Verdict, verdicts
from ktune.proxy.recover import recover
from ktune.proxy.schedule import stamped, start_schedule, stop_schedule
from ktune.proxy.stamps import PAIRS_MOST
from tests.proxy.rig import Net, Paths, RemoteClient, kill_both, lease

FIN = "net.ipv4.tcp_fin_timeout"


def test_where_the_module_does_not_hold_the_lease_it_says_why(net: Net, paths: Paths) -> None:
    with lease(paths, FIN, namespace=net.ref) as held:
        refused = start_schedule(held, {FIN: 30}, [True, False], 1.0, deadline_s=60)
        assert "knobs of the host only" in refused
        stop_schedule(held)
        with pytest.raises(RefusedError, match="no schedule"):
            stamped(held)
        assert held.apply({FIN: 30}, deadline_s=60).ok, "the lease goes on"


@pytest.mark.parametrize("pairs", [0, PAIRS_MOST + 1])
def test_a_schedule_that_no_kernel_takes_is_refused(net: Net, paths: Paths, pairs: int) -> None:
    with (
        lease(paths, FIN, namespace=net.ref) as held,
        pytest.raises(RefusedError, match="pairs"),
    ):
        start_schedule(held, {FIN: 30}, [True] * pairs, 1.0, deadline_s=60)


@pytest.mark.parametrize("window_s", [0, -1, float("nan"), 3601])
def test_no_window_of_nonsense(net: Net, paths: Paths, window_s: float) -> None:
    with (
        lease(paths, FIN, namespace=net.ref) as held,
        pytest.raises(RefusedError, match="no window of a schedule"),
    ):
        start_schedule(held, {FIN: 30}, [True], window_s, deadline_s=60)


def test_a_value_outside_the_limits_is_refused(net: Net, paths: Paths) -> None:
    with (
        lease(paths, FIN, namespace=net.ref) as held,
        pytest.raises(RefusedError, match="tcp_fin_timeout"),
    ):
        start_schedule(held, {FIN: 99999}, [True], 1.0, deadline_s=60)


def test_the_journal_says_whether_the_kernel_switches_now(
    net: Net, paths: Paths, remote: Callable[..., RemoteClient]
) -> None:
    opened = remote().open(paths, FIN, namespace=net.ref)
    journal = Path(opened["journal"])
    for coins in ([True, False, True], []):
        with journal.open("ab") as file:
            file.write(encode(schedule_record({FIN: 90} if coins else {}, coins, 1.5)))
        state = load(str(journal), load_allowlist(), owner_uid=os.geteuid())
        assert state.scheduled == len(coins)
        assert state.held[FIN].also == ((90,) if coins else ())
    assert b'"coins":"101"' in journal.read_bytes()


@pytest.mark.parametrize(("found", "kept"), [(90, False), (44, True)])
def test_the_journal_of_a_schedule_undoes_its_values_and_nothing_else(
    net: Net, paths: Paths, remote: Callable[..., RemoteClient], found: int, kept: bool
) -> None:
    before = net.read(FIN)
    client = remote()
    opened = client.open(paths, FIN, namespace=net.ref)
    kill_both(client, opened)
    with Path(opened["journal"]).open("ab") as file:
        file.write(encode(schedule_record({FIN: 90}, [True], 1.5)))
    net.write(FIN, str(found))
    (done,) = recover(paths)
    assert done.report is not None
    assert [item.key for item in done.report.foreign] == ([FIN] if kept else [])
    assert net.read(FIN) == (found if kept else before)


BYTES, RATIO = "vm.dirty_background_bytes", "vm.dirty_background_ratio"


@pytest.mark.parametrize(
    ("bytes_now", "ratio_now", "wanted"),
    [
        (1 << 24, 0, Verdict.RESTORE),
        (0, 33, Verdict.FOREIGN),
        (1 << 25, 0, Verdict.FOREIGN),
    ],
)
def test_what_hangs_on_a_switched_knob_is_ours_while_its_value_is_there(
    bytes_now: int, ratio_now: int, wanted: Verdict
) -> None:
    allowed = load_allowlist()
    held = {key: held_of(allowed.rule(key), value) for key, value in ((BYTES, 0), (RATIO, 10))}
    held[BYTES].also = (0, 1 << 24)
    found = verdicts(held, {BYTES: bytes_now, RATIO: ratio_now})
    assert found[RATIO] is wanted
