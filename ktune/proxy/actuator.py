"""Brings a set of knobs to target values and says what happened. Standard library only.

The one place that writes tunables. Unit tests may swap `KnobFiles` for a model of the kernel;
no command does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from ktune.kernel.held_files import HeldFiles
from ktune.kernel.tunable import Outcome, Tunable, WriteResult, try_read, write_value
from ktune.kernel.values import Value
from ktune.proxy.model import ForeignWrite, RestoreReport
from ktune.proxy.planner import Held, Verdict, restore_order, verdicts, writable_targets

_MAX_PASSES = 6
"""Passes over a set before giving up; a chain of low <= high pairs needs one per link."""


class KnobAccess(Protocol):
    """The file seam: read and write one tunable."""

    def read(self, tunable: Tunable) -> Value | None:
        """The live value, None when it can't be read."""

    def write(self, tunable: Tunable, value: Value, before: Value | None) -> WriteResult:
        """Write and read back."""


class KnobFiles:
    """The real kernel."""

    def __init__(self) -> None:
        self._files = HeldFiles()

    def read(self, tunable: Tunable) -> Value | None:
        """The live value, None when it can't be read."""
        return try_read(tunable, self._files.text)

    def write(self, tunable: Tunable, value: Value, before: Value | None) -> WriteResult:
        """Write and read back."""
        return write_value(tunable, value, before, self._files.text)


_NOTHING_READ: Mapping[str, Value | None] = {}
_MAY_CHANGE = (Outcome.REFUSED, Outcome.READ_ONLY, Outcome.MISSING)

Journalled = Callable[[WriteResult], None]
"""Called after each write with its read-back, before the next write."""


def reach(
    targets: Mapping[str, Value],
    held: Mapping[str, Held],
    access: KnobAccess,
    *,
    order: Sequence[str],
    after_write: Journalled,
    live: Mapping[str, Value | None] = _NOTHING_READ,
) -> tuple[dict[str, WriteResult], int]:
    """Write until every target is in force or nothing moves any more.

    A value refused now may be taken after another was written (low <= high pairs), so refused
    ones are tried again until a pass changes nothing. `live` is what was just read, so that a set
    without couplings needs no look before each write. Returns the last result of each key and how
    many attempts the kernel refused.
    """
    writes = writable_targets(targets, held)
    sequence = [key for key in order if key in writes]
    coupled = any(held[key].couplings for key in sequence)
    results: dict[str, WriteResult] = {}
    refused_attempts = 0
    for number in range(_MAX_PASSES):
        changed = False
        for key in sequence:
            earlier = results.get(key)
            known = key in live and number == 0 and not coupled
            before = live[key] if known else access.read(held[key].tunable)
            if earlier is not None and _is_final(earlier, before):
                continue
            result = access.write(held[key].tunable, writes[key], before)
            results[key] = result
            if result.outcome in _MAY_CHANGE:
                refused_attempts += 1
            elif result.outcome is not Outcome.UNCHANGED:
                changed = True
                after_write(result)
        if not changed or (not coupled and all(r.outcome.success for r in results.values())):
            break
    return results, refused_attempts


def restore(
    held: Mapping[str, Held], access: KnobAccess, *, written: Sequence[str]
) -> RestoreReport:
    """Bring every knob of ours back to its original; keep what somebody else wrote.

    `written` is the order in which the knobs were first written. Nothing is recorded here: the
    records are written when the knobs are back, since the disk may be what the workload saturates.
    """
    started = time.monotonic()
    live = {key: access.read(item.tunable) for key, item in held.items()}
    decided = verdicts(held, live)
    targets = {key: held[key].original for key, what in decided.items() if what is Verdict.RESTORE}
    targets |= _open_zero_pairs(targets, held, access)
    _, refused_attempts = reach(
        targets,
        held,
        access,
        order=restore_order(written, held),
        after_write=_unrecorded,
    )
    now = {key: access.read(held[key].tunable) for key in targets}
    back: list[WriteResult] = []
    failed: list[WriteResult] = []
    for key, value in targets.items():
        good = now[key] == value
        outcome = Outcome.APPLIED if good else Outcome.REFUSED
        result = WriteResult(key, outcome, live[key], value, now[key])
        (back if good or held[key].kernel_moves else failed).append(result)
    return RestoreReport(
        restored=tuple(back),
        unchanged=_keys(decided, Verdict.NOTHING),
        foreign=tuple(
            ForeignWrite(key, held[key].expected, live[key])
            for key in _keys(decided, Verdict.FOREIGN)
        ),
        failed=tuple(failed),
        refused_attempts=refused_attempts,
        verified=not failed,
        duration_s=time.monotonic() - started,
        notes=tuple(
            f"{key}: no longer there, nothing to restore" for key in _keys(decided, Verdict.GONE)
        ),
    )


def _open_zero_pairs(
    targets: Mapping[str, Value], held: Mapping[str, Held], access: KnobAccess
) -> dict[str, Value]:
    """A bytes form whose original is 0 while its ratio's original is 0 too: the bytes form takes
    no 0 and writing an unchanged ratio zeroes nothing, so the ratio is moved by one first
    (kernel mm/page-writeback.c, dirty_ratio_handler)."""
    extra: dict[str, Value] = {}
    for key, value in targets.items():
        partners = [
            name
            for coupling in held[key].couplings
            if coupling.kind == "either_or"
            for name in coupling.keys
            if name in held and held[name].original == 0
        ]
        if value == 0 and held[key].zero_unwritable and partners:
            tunable = held[partners[0]].tunable
            access.write(tunable, 1, access.read(tunable))
            extra[partners[0]] = 0
    return extra


def _is_final(earlier: WriteResult, live: Value | None) -> bool:
    """The kernel has said its last word: taken, or taken otherwise than asked and still so."""
    return earlier.observed == live and earlier.outcome not in _MAY_CHANGE


def _keys(decided: Mapping[str, Verdict], wanted: Verdict) -> tuple[str, ...]:
    return tuple(key for key, what in decided.items() if what is wanted)


def _unrecorded(result: WriteResult) -> None:
    """Restore records nothing before the knobs are back."""
