"""Windows in the slots of a kernel's schedule: how long a slot is, and whether a window lay in it.

Pure: decisions only. A slot begins when its side is in force; then the knobs settle, the window is
measured, and what is left is room for what user space needs beside it. The kernel never waits: a
window that does not fit is void, whatever kept it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ktune.measure.window import Validity
from ktune.proxy.stamps import WINDOW_MOST_S, Stamp
from ktune.records.types import StampRecord, WindowRecord

NS = 1_000_000_000
_LEAST_S = 0.25
_SHARE = 0.05
"""Room of a slot: at least so much, and so much of its window."""
_MOST_S = 10.0
"""... at most so much, or as long as the window."""
_LOOKED_AT = 8
"""How many windows before say how long the next will take."""


@dataclass(frozen=True)
class Pace:
    """The parts of a slot, in seconds: `settle_s` of the knobs, `window_s` of the window source
    (its own settling included), `margin_s` of room."""

    settle_s: float
    window_s: float
    margin_s: float

    @property
    def slot_s(self) -> float:
        """The whole slot."""
        return self.settle_s + self.window_s + self.margin_s

    @property
    def possible(self) -> bool:
        """Whether the kernel takes slots of this length."""
        return self.slot_s <= WINDOW_MOST_S

    def latest_ns(self, stamp: Stamp) -> int:
        """Until when a window may begin to end within its slot."""
        return stamp.begun_ns + round((self.slot_s - self.window_s) * NS)

    def settled_ns(self, stamp: Stamp) -> int:
        """From when on a window may begin."""
        return stamp.begun_ns + round(self.settle_s * NS)


def pace_of(settle_s: float, window_s: float, overheads_s: Sequence[float]) -> Pace:
    """`overheads_s`: by how much the windows before took longer than told, the last one last. The
    worst of them may have been a stall, which no slot is to be sized for."""
    worst_s = sorted((0.0, 0.0, *overheads_s[-_LOOKED_AT:]))[-2]
    least_s = max(_LEAST_S, _SHARE * window_s)
    return Pace(
        settle_s, window_s, min(max(least_s, 1.5 * worst_s + _LEAST_S), max(_MOST_S, window_s))
    )


def overheads_of(windows: Sequence[WindowRecord], settle_s: float, window_s: float) -> list[float]:
    """What the valid windows of a study took beside their length: those in slots, else all others,
    whose time includes the switch."""
    valid = [window for window in windows if window.validity == Validity.VALID]
    stamps = [window.stamp for window in valid if window.stamp is not None]
    took_s = [stamp.slot_s - stamp.after_s for stamp in stamps]
    if not took_s:
        took_s = [window.duration_s for window in valid]
    return [max(0.0, item_s - window_s - settle_s) for item_s in took_s]


def not_in_force(stamp: Stamp, pace: Pace, *, candidate: bool, from_ns: int, to_ns: int) -> str:
    """Why a side was not in force, and settled, from `from_ns` to `to_ns` (CLOCK_BOOTTIME); empty:
    it was. The stamp was read after `to_ns`: a slot that had not ended by then held it."""
    if stamp.candidate is not candidate:
        return "the kernel had the other side in force"
    if stamp.failed or not stamp.begun_ns:
        return "the kernel could not put its side in force"
    if from_ns < pace.settled_ns(stamp):
        return "the window began before its side had settled"
    if stamp.ended_ns and to_ns > stamp.ended_ns:
        late_s = (to_ns - stamp.ended_ns) / NS
        return (
            f"the kernel switched {late_s:.2f} s before the window had ended: ktune or its sources "
            "stood still"
        )
    return ""


def stamp_record(stamp: Stamp, pace: Pace, from_ns: int, to_ns: int) -> StampRecord:
    """For the record, of a slot that has ended."""
    return StampRecord(
        switch_s=(stamp.begun_ns - stamp.asked_ns) / NS,
        slot_s=(stamp.ended_ns - stamp.begun_ns) / NS,
        asked_slot_s=pace.slot_s,
        before_s=(from_ns - stamp.begun_ns) / NS,
        after_s=(stamp.ended_ns - to_ns) / NS,
    )
