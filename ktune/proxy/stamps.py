"""What the kernel stamped on the windows of a schedule. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

from ktune.proxy.model import Json

WINDOW_MOST_S = 3600.0
"""The kernel's longest window (kmod/uapi/ktune_modes.h)."""
PAIRS_MOST = 2048
"""... and its longest schedule."""


@dataclass(frozen=True)
class Stamp:
    """One window as it was; nanoseconds of CLOCK_BOOTTIME, 0 where that has not happened.

    `begun_ns`: its side was in force; `ended_ns`: the switch to the next one began. `late`: more
    than a tenth too long; `failed`: its side never was in force; `cut`: ended before its time.
    """

    window: int
    candidate: bool
    asked_ns: int
    begun_ns: int
    ended_ns: int
    late: bool = False
    failed: bool = False
    cut: bool = False

    def to_json(self) -> list[Any]:
        return list(astuple(self))

    @classmethod
    def from_json(cls, raw: Sequence[Any]) -> Stamp:
        window, candidate, asked, begun, ended, late, failed, cut = raw
        return cls(
            int(window),
            bool(candidate),
            int(asked),
            int(begun),
            int(ended),
            bool(late),
            bool(failed),
            bool(cut),
        )


@dataclass(frozen=True)
class Stamped:
    """Windows of a schedule from some number on; `over`: nothing will be added."""

    windows: tuple[Stamp, ...]
    over: bool

    def to_json(self) -> Json:
        return {"windows": [stamp.to_json() for stamp in self.windows], "over": self.over}

    @classmethod
    def from_json(cls, raw: Json) -> Stamped:
        return cls(tuple(map(Stamp.from_json, raw["windows"])), bool(raw["over"]))
