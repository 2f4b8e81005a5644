"""Do the metrics still say anything? Void pairs in a row, or the very same numbers, say no."""

from __future__ import annotations

from dataclasses import dataclass

_VOID_ALERT = 3
"""So many void pairs in a row: the metrics are gone."""
_FROZEN_ALERT = 5
"""So many pairs in a row with the very same numbers in both windows: the metrics stand still."""


@dataclass
class Liveness:
    """Told of every pair; answers why the metrics are useless, once, and counts anew."""

    _voids: int = 0
    _same: int = 0
    _last: object = None

    def void(self, reason: str) -> str | None:
        """A pair that gave nothing."""
        self._voids += 1
        return self._told(reason) if self._voids >= _VOID_ALERT else None

    def measured(self, metrics: object) -> str | None:
        """The numbers of both windows of a pair."""
        self._voids = 0
        self._same = self._same + 1 if metrics == self._last else 0
        self._last = metrics
        frozen = self._same >= _FROZEN_ALERT
        return self._told("the same numbers again and again") if frozen else None

    def _told(self, why: str) -> str:
        self._voids = self._same = 0
        return f"no usable metrics: {why}"
