"""From the guard's events to foreign writes: decisions only. Standard library only.

The guard hears of a write before the kernel carries it out: whether it changed anything is seen
from the value in force a moment later, or from the next writer's view of the value before his.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ktune.kernel.values import Value, ValueFormatError, ValueType, parse
from ktune.proxy.guard.wire import GuardEvent, Verdict
from ktune.proxy.model import Writer


@dataclass(frozen=True)
class Suspicion:
    """Somebody wrote a knob that we hold at `expected`.

    `passing`: a value that was in force and is replaced already (None: none that we know of).
    """

    writer: Writer
    passing: Value | None


def suspicion(events: Iterable[GuardEvent], kind: ValueType, expected: Value) -> Suspicion | None:
    """What the events of one knob, oldest first, say about it; None: nothing was changed.

    Writing the value in force is no change, and neither is a write that was refused.
    """
    found: Suspicion | None = None
    usual: tuple[Value | None, ...] = (None, expected)
    for event in events:
        if event.verdict is Verdict.DENIED:
            continue
        before, after = _value(kind, event.old), _value(kind, event.new)
        writer = writer_of(event)
        if found is not None and before not in usual:
            found = Suspicion(found.writer, before)
        if after != expected or event.verdict is Verdict.CLAMPED:
            found = Suspicion(writer, found.passing if found else None)
            usual = (*usual, before)  # what was there before him is not his doing
    return found


def writer_of(event: GuardEvent) -> Writer:
    """Who an event is about."""
    return Writer(event.pid, event.comm, event.uid, event.netns)


def _value(kind: ValueType, text: str) -> Value | None:
    try:
        return parse(kind, text)
    except ValueFormatError:
        return None
