"""Windows that something outside the run has voided: how many, why, who. Standard library only.

Such a window is void whichever side it measured: it is counted here and nowhere else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ktune.evidence.pairs import Arm
from ktune.kernel.wording import counted
from ktune.records.types import WindowRecord

_WORDS = {
    "others": "other programs",
    "steal": "CPU time stolen by the hypervisor",
    "throttled": "a CPU too hot",
    "memory": "others short of memory",
    "frequency": "a CPU clocked down",
    "": "other reasons",
}
"""By `WindowRecord.cause` (ktune.measure.fairness.limits.Cause)."""
_MANY, _MANY_SHARE = 6, 1 / 3
_TOP = 5
_LEAST_SHOWN = 0.005


@dataclass
class Unfair:
    """Counts of a run; `add` each window as it comes."""

    windows: int = 0
    by_cause: Counter[str] = field(default_factory=Counter)
    by_arm: Counter[Arm] = field(default_factory=Counter)
    programs: dict[str, float] = field(default_factory=dict)
    """By name: CPU shares of the windows that other programs voided, added up."""

    def add(self, record: WindowRecord) -> None:
        """One more window."""
        self.windows += 1
        if record.validity != "void":
            return
        self.by_cause[record.cause] += 1
        self.by_arm[record.arm] += 1
        if record.cause == "others":
            for name, share in record.others.items():
                self.programs[name] = self.programs.get(name, 0.0) + share

    @property
    def void(self) -> int:
        """How many windows do not count."""
        return sum(self.by_cause.values())

    @property
    def from_around(self) -> int:
        """... because a limit on the surroundings was passed."""
        return self.void - self.by_cause[""]

    @property
    def many(self) -> bool:
        """So many that a person should look after it."""
        return self.from_around >= _MANY and self.from_around > _MANY_SHARE * self.windows

    @property
    def top(self) -> dict[str, float]:
        """The five programs that took most: mean share of the CPU time of the windows that other
        programs voided."""
        count = self.by_cause["others"]
        ranked = sorted(self.programs.items(), key=lambda item: (-item[1], item[0]))
        return {name: total / count for name, total in ranked[:_TOP]}

    @property
    def _shown(self) -> list[tuple[str, float]]:
        return [item for item in self.top.items() if item[1] >= _LEAST_SHOWN][:3]

    @property
    def text(self) -> str:
        """`3 of 60 windows void: 2 by other programs (stress-ng 45%), 1 by other reasons`."""
        why = []
        for cause, count in self.by_cause.most_common():
            named = ", ".join(f"{name} {share:.0%}" for name, share in self._shown)
            who = f" ({named})" if cause == "others" and named else ""
            why.append(f"{count} by {_WORDS.get(cause, cause)}{who}")
        said = f"{self.void} of {counted(self.windows, 'window')} void"
        return f"{said}: {', '.join(why)}" if why else said

    @property
    def advice(self) -> str:
        """What to do about what disturbed most; empty: nothing did."""
        known = [cause for cause, _ in self.by_cause.most_common() if cause in _WORDS and cause]
        return _advice(known[0], next(iter(self.top), "")) if known else ""

    def to_json(self) -> dict[str, Any]:
        """For `report --json` and `status --json`."""
        return {
            "windows": self.windows,
            "void": self.void,
            "by_cause": {cause or "other": n for cause, n in sorted(self.by_cause.items())},
            "by_arm": {arm.value: self.by_arm[arm] for arm in Arm},
            "programs": {name: round(share, 4) for name, share in self.top.items()},
            "advice": self.advice,
        }


def unfair_of(records: Iterable[WindowRecord]) -> Unfair:
    """Of windows that are on record."""
    found = Unfair()
    for record in records:
        found.add(record)
    return found


def unfair_lines(found: Unfair) -> Iterator[str]:
    """For people; none where nothing was void."""
    if found.void:
        yield found.text
    if found.many:
        yield found.advice


def _advice(cause: str, program: str) -> str:
    name = program or "it"
    match cause:
        case "others":
            return (
                f"stop {name} or wait for its end; if it does the workload's work, name it in "
                f"`fairness: {{part_of_it: [{name}]}}`; `fairness: {{others: ...}}` accepts more"
            )
        case "steal":
            return (
                "the machine's host is busy with other guests: measure at another time or with "
                "CPUs of your own; `fairness: {steal: ...}` accepts more"
            )
        case "throttled":
            return "the CPUs get too hot: cool the machine, or search under less load"
        case "memory":
            return (
                "other programs lack memory: free some, or give the workload a limit of its own; "
                "`fairness: {memory: ...}` accepts more"
            )
    return "the CPUs are clocked down: look at the power settings; `fairness: {frequency: ...}`"
