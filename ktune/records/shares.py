"""How a search spent its windows: on something new, or on measuring the best again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ktune.evidence.pairs import Arm
from ktune.records.types import Phase, WindowRecord


@dataclass(frozen=True)
class WindowShares:
    """Windows of candidates in the search: the first of an assignment, and later ones."""

    new: int
    again: int

    @property
    def share(self) -> float:
        """Share of windows that measured again; 0 where there are none."""
        return self.again / (self.new + self.again) if self.again else 0.0


def window_shares(records: Sequence[WindowRecord]) -> WindowShares:
    """Counts the windows of trials that were not void, until the finalists are chosen.

    Windows without a trial (putting knobs of a finalist back) are neither.
    """
    seen: set[tuple[tuple[str, object], ...]] = set()
    again = 0
    for record in records:
        of_search = record.phase in (Phase.LEARNING, Phase.FINALISTS) and record.trial is not None
        if of_search and record.arm is Arm.CANDIDATE and record.validity != "void":
            key = tuple(sorted(record.assignment.items()))
            again += key in seen
            seen.add(key)
    return WindowShares(len(seen), again)
