"""Restore reaches the snapshot: session, journal, planner and actuator on a model of the kernel.

The model stands for the file seam only; the guardian's own code writes, records and restores.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from ktune.kernel.values import Value
from ktune.proxy.actuator import restore
from ktune.proxy.guardian import record as record_module
from ktune.proxy.guardian.session import Session
from ktune.proxy.journal import encode, load
from ktune.proxy.model import Json, ProxyError, RestoreReport
from ktune.proxy.planner import restore_order
from tests.depth import examples
from tests.proxy.kernel_model import (
    BATCH,
    BYTES,
    COUPLED,
    DEPTH,
    HIGH,
    HUGE,
    KEYS,
    LOW,
    MIDDLE,
    OTHER,
    PLAIN,
    RATIO,
    RESERVE,
    ROUNDED,
    SCHEDULER,
    Killed,
    ModelKernel,
    allowlist,
)

MOVED = {DEPTH, RESERVE}
START: dict[str, Value] = {
    **{RATIO: 20, BYTES: 0, LOW: 10, MIDDLE: 20, HIGH: 30},
    **{SCHEDULER: "deadline", DEPTH: 96, BATCH: 32},
    **{ROUNDED: 8, PLAIN: 1, OTHER: 2, HUGE: "never", RESERVE: 99},
}


class MemoryJournal:
    """Records in memory; what was appended since the last durable one may be lost."""

    wake_fd = -1
    made: MemoryJournal

    def __init__(self, path: str) -> None:
        self.path = path
        self.lines: list[bytes] = []
        self.durable = 0
        MemoryJournal.made = self

    def append(self, record: Json, *, durable: bool) -> int:
        self.lines.append(encode(record))
        if durable:
            self.durable = len(self.lines)
        return len(self.lines)

    def left_after_death(self, lost: int) -> bytes:
        """The file when the last `lost` records that nobody waited for did not get there."""
        return b"".join(self.lines[: max(self.durable, len(self.lines) - lost)])


@contextmanager
def opened(kernel: ModelKernel) -> Iterator[Session]:
    """A session that leases every knob of the model that is there."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(record_module, "JournalWriter", MemoryJournal),
        mock.patch.object(record_module, "sync_folder", lambda folder: None),
    ):
        session = Session(allowlist(), kernel, wait_durable=lambda *_: None, namespace=(None, None))
        session.open(
            {
                "tunables": [{"key": key} for key in KEYS if key in kernel.state],
                "run_id": "model",
                "client_pid": 1,
                "who": "test",
                "why": "test",
                "journal_dir": folder,
                "register_dir": folder,
            }
        )
        yield session


def recovered(lost: int, kernel: ModelKernel) -> RestoreReport:
    """What `recover` does with what the dead guardian left."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "left.journal"
        path.touch(mode=0o600)
        path.write_bytes(MemoryJournal.made.left_after_death(lost))
        state = load(str(path), allowlist(), owner_uid=os.geteuid())
        return restore(state.held, kernel, written=state.written)


def apply(session: Session, values: Mapping[str, Value]) -> None:
    try:
        session.apply({"assignment": dict(values), "lease_s": 60})
    except ProxyError:
        event("both members of an either-or pair asked for")


NUMBERS = st.integers(0, 100)


@st.composite
def starts(draw: st.DrawFn) -> dict[str, Value]:
    """Any state that the model's kernel can be in."""
    low, middle, high = sorted(draw(st.tuples(NUMBERS, NUMBERS, NUMBERS)))
    ratio, amount = draw(st.sampled_from([(20, 0), (0, 7), (0, 0)]))
    state: dict[str, Value] = {RATIO: ratio, BYTES: amount, LOW: low, MIDDLE: middle, HIGH: high}
    state |= {SCHEDULER: draw(st.sampled_from(["none", "deadline"])), DEPTH: draw(NUMBERS)}
    if state[SCHEDULER] == "deadline":
        state[BATCH] = draw(NUMBERS)
    state |= {ROUNDED: draw(NUMBERS) * 4, PLAIN: draw(NUMBERS), OTHER: draw(NUMBERS)}
    return state | {HUGE: draw(st.sampled_from(["never", "always"])), RESERVE: draw(NUMBERS)}


def assignments(keys: frozenset[str]) -> st.SearchStrategy[dict[str, Value]]:
    """Values for any subset of the leased knobs, in any order."""

    def values(key: str) -> st.SearchStrategy[Value]:
        if key == SCHEDULER:
            return st.sampled_from(["none", "deadline", "kyber"])
        if key == HUGE:
            return st.sampled_from(["never", "always"])
        if key == BYTES:
            return st.integers(1, 100)
        return NUMBERS

    return st.permutations(sorted(keys)).flatmap(
        lambda order: st.fixed_dictionaries({}, optional={key: values(key) for key in order})
    )


@st.composite
def runs(draw: st.DrawFn) -> tuple[dict[str, Value], list[dict[str, Value]]]:
    """A start and one to three switches."""
    start = draw(starts())
    switches = draw(st.lists(assignments(frozenset(start)), min_size=1, max_size=3))
    return start, switches


@settings(max_examples=examples(150))
@given(runs(), st.sets(st.integers(1, 25)))
def test_restore_reaches_the_snapshot_whatever_writes_failed(
    run: tuple[dict[str, Value], list[dict[str, Value]]], failing: set[int]
) -> None:
    start, switches = run
    kernel = ModelKernel(start)
    with opened(kernel) as session:
        kernel.refuse = lambda number, key: number in failing
        for values in switches:
            apply(session, values)
        kernel.refuse = lambda number, key: False
        report = session.release()
    assert kernel.state == start
    assert report.verified
    assert not report.foreign


@settings(max_examples=examples(250))
@given(runs(), st.integers(1, 20), st.booleans(), st.integers(0, 3), st.sets(st.integers(1, 20)))
def test_recovery_reaches_the_snapshot_from_any_point_of_death(
    run: tuple[dict[str, Value], list[dict[str, Value]]],
    kill_at: int,
    kill_after: bool,
    lost: int,
    failing: set[int],
) -> None:
    start, switches = run
    kernel = ModelKernel(start)
    kernel.kill_at, kernel.kill_after = kill_at, kill_after
    kernel.refuse = lambda number, key: number in failing
    with opened(kernel) as session:
        try:
            for values in switches:
                apply(session, values)
        except Killed:
            event("killed between the write and its read-back" if kill_after else "killed before")
    kernel.kill_at = None
    kernel.refuse = lambda number, key: False
    report = recovered(lost, kernel)
    assert kernel.state == start
    assert report.verified
    assert not report.foreign


@settings(max_examples=examples(150))
@given(runs(), st.integers(0, 12), st.booleans())
def test_a_restore_that_is_cut_short_is_finished_by_the_next(
    run: tuple[dict[str, Value], list[dict[str, Value]]], after: int, kill_after: bool
) -> None:
    start, switches = run
    kernel = ModelKernel(start)
    with opened(kernel) as session:
        for values in switches:
            apply(session, values)
        kernel.kill_at, kernel.kill_after = kernel.writes + 1 + after, kill_after
        try:
            session.release()
        except Killed:
            event("restore cut short")
            kernel.kill_at = None
            recovered(0, kernel)
    assert kernel.state == start


@settings(max_examples=examples(100))
@given(runs(), st.sets(st.sampled_from(KEYS), min_size=1))
def test_a_knob_that_will_not_go_back_is_reported_and_the_next_recovery_finishes(
    run: tuple[dict[str, Value], list[dict[str, Value]]], stuck: set[str]
) -> None:
    start, switches = run
    kernel = ModelKernel(start)
    with opened(kernel) as session:
        for values in switches:
            apply(session, values)
        kernel.refuse = lambda number, key: key in stuck
        report = session.release()
    left = {key for key in start if kernel.state.get(key) != start[key]} - MOVED
    assert {item.key for item in report.failed} == left
    assert report.verified is not bool(left)
    kernel.refuse = lambda number, key: False
    recovered(0, kernel)
    assert kernel.state == start


ADMIN_VALUES: dict[str, Value] = {
    **{RATIO: 7777, BYTES: 7777, LOW: 0, HIGH: 7777, SCHEDULER: "bfq"},
    **{ROUNDED: 7776, PLAIN: 7777, OTHER: 7778, BATCH: 7777},
}
"""Values that no run uses, so that they are recognised at the end."""


@settings(max_examples=examples(250))
@given(
    runs(),
    st.dictionaries(st.sampled_from(sorted(ADMIN_VALUES)), st.integers(0, 3), min_size=1),
)
@example((START, [{PLAIN: 5}, {BYTES: 9}]), {RATIO: 1})
def test_what_the_administrator_wrote_is_kept_and_reported(
    run: tuple[dict[str, Value], list[dict[str, Value]]], writes: dict[str, int]
) -> None:
    start, switches = run
    kernel = ModelKernel(start)
    written: dict[str, Value] = {}
    with opened(kernel) as session:
        for number, values in enumerate([*switches, {}]):
            for key, when in writes.items():
                if min(when, len(switches)) == number and kernel.set(key, ADMIN_VALUES[key]) == 0:
                    written[key] = ADMIN_VALUES[key]
                    for other in COUPLED.get(key, ()):
                        written.pop(other, None)  # the administrator's own later write undid it
            if number < len(switches):
                apply(session, values)
        report = session.release()
    dragged = {other for key in writes for other in COUPLED.get(key, ())}
    for key, value in written.items():
        if value == start.get(key) or key not in start:
            continue
        if key == BATCH and any(SCHEDULER in values for values in switches):
            continue  # it went away with its scheduler: there is nothing left to keep
        assert kernel.state[key] == value, f"{key} was overwritten"
        assert key in {item.key for item in report.foreign}
    for key in set(start) - set(writes) - dragged:
        assert kernel.state[key] == start[key], f"{key} was not restored"


def test_restore_goes_backwards_so_that_no_attempt_is_refused() -> None:
    kernel = ModelKernel(START)
    with opened(kernel) as session:
        apply(session, {LOW: 1000, MIDDLE: 2000, HIGH: 3000})
        kernel.log.clear()
        report = session.release()
    assert report.refused_attempts == 0
    assert [key for key, _ in kernel.log] == [LOW, MIDDLE, HIGH]
    assert kernel.state == START


def test_the_order_of_restore_is_the_reverse_of_the_order_of_writing() -> None:
    assert restore_order([PLAIN, OTHER, LOW], {}) == [LOW, OTHER, PLAIN]


@pytest.mark.parametrize("order", [(SCHEDULER, DEPTH), (DEPTH, SCHEDULER)])
def test_what_resets_others_is_written_first_in_both_directions(order: tuple[str, str]) -> None:
    kernel = ModelKernel(START)
    values: dict[str, Value] = {SCHEDULER: "none", DEPTH: 48}
    with opened(kernel) as session:
        apply(session, {key: values[key] for key in order})
        assert (kernel.state[SCHEDULER], kernel.state[DEPTH]) == ("none", 48)
        session.release()
    assert kernel.state == START
