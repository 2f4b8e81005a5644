"""What the module tells: trace points, counters, poll."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

import pytest

from ktune.proxy.module import device as wire
from ktune.proxy.module.device import Device, Reason
from tests.guest.inside.module_rig import (
    INT,
    LONG_S,
    RATIO,
    SWAPPINESS,
    TRACING,
    needs_module,
    refused,
)

pytestmark = needs_module


@pytest.fixture
def trace() -> Iterator[Callable[[], str]]:
    (TRACING / "trace").write_text("")
    (TRACING / "events/ktune/enable").write_text("1")
    yield (TRACING / "trace").read_text
    (TRACING / "events/ktune/enable").write_text("0")


def test_trace_points_tell_of_writes_restores_and_refusals(
    device: Device, trace: Callable[[], str]
) -> None:
    device.add(SWAPPINESS, INT)
    device.begin(LONG_S)
    device.apply([(0, "17")])
    with refused(errno.ERANGE):
        device.apply([(0, "999")])
    device.release()
    said = trace()
    original = device.knob(0).original
    assert f'ktune_apply: session={device.info().session} knob=vm.swappiness before="' in said
    assert f'before="{original}" after="17" outcome=1 error=0' in said
    assert f'ktune_restore: session={device.info().session} knob=vm.swappiness before="17"' in said
    assert "ktune_refused:" in said and "error=-34" in said


def test_counters_count(device: Device) -> None:
    before = device.info()
    device.add(SWAPPINESS, INT)
    device.begin(LONG_S)
    device.apply([(0, "17")])
    device.release()
    with refused(errno.EBADFD):
        device.add(RATIO, INT)
    after = device.info()
    assert (after.abi, after.rules > 300, after.version) == (wire.ABI, True, "1.0.0")
    assert after.applied == before.applied + 2  # the write and the way back
    assert (after.restored, after.refused) == (before.restored + 1, before.refused + 1)


def test_the_end_of_a_lease_wakes_whoever_polls(device: Device) -> None:
    import select

    poller = select.poll()
    poller.register(device.fd, select.POLLIN)
    assert not poller.poll(0)
    device.add(SWAPPINESS, INT)
    device.begin(0.2)
    assert poller.poll(10_000)
    assert device.result().reason is Reason.DEADLINE
