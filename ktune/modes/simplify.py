"""Leaves out of a finalist what does not matter, before anything is proven about it.

A search moves all knobs at once, so its winner also changes knobs without an effect; a policy
should not. Changed knobs are put back to the baseline's values, and stay there when the finalist is
not worse for it by the MEI over a few adjacent windows: first half of them at once, and where that
costs something the halves of the half, down to one knob (a finalist of a projected space changes
all 40 knobs, of which two matter). That is a choice of what to prove, like the search itself: the
proof is about the simplified finalist and sees none of these windows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ktune.evidence.coin import Order, toss
from ktune.evidence.pairs import Arm
from ktune.kernel.tunable import Assignment
from ktune.kernel.values import Value
from ktune.modes.bench import Bench
from ktune.modes.events import GuardrailCrossed
from ktune.modes.modes import ModeKeeper
from ktune.modes.settings import Settings
from ktune.records.types import Phase
from ktune.report.progress import Note, Observer

PAIRS_PER_KNOB = 2
"""Adjacent windows with and without a knob; two tell an effect of twice the spread apart."""

MARGIN_SHARE = 0.5
"""Of a margin, for what is put back: the proof that follows has to show the whole margin against
the baseline, and can't if the simplification has used it up."""

_GOAL = ""
"""Beside the names of metrics: the weighted objectives."""


@dataclass
class Simplifier:
    """`feasible` says whether an assignment keeps the plan's relations."""

    bench: Bench
    settings: Settings
    keeper: ModeKeeper
    observe: Observer
    feasible: Callable[[Assignment], bool]

    def run(self, finalist: Assignment) -> dict[str, Value]:
        """The finalist with as few changed knobs as it needs; never the baseline itself."""
        current = dict(self.bench.complete(finalist))
        dropped: list[str] = []
        groups = [self._changed(current)]
        while groups:
            group = groups.pop(0)
            variant = {**current, **{key: self.bench.baseline[key] for key in group}}
            if (
                self._changed(variant)
                and self.feasible(variant)
                and self._no_worse(variant, current)
            ):
                current = variant
                dropped += group
            elif len(group) > 1:
                middle = len(group) // 2
                groups[:0] = [group[:middle], group[middle:]]
        if dropped:
            self.observe(Note(f"without an effect, left at the baseline: {', '.join(dropped)}"))
        return current

    def _changed(self, assignment: Assignment) -> list[str]:
        return [key for key, value in assignment.items() if self.bench.baseline[key] != value]

    def _no_worse(self, variant: Assignment, current: Assignment) -> bool:
        """On the goal by the MEI, and on nothing that has a margin by half of that margin."""
        margins = self.settings.rule.margins
        limits = {
            _GOAL: self.settings.mei_log,
            **{name: MARGIN_SHARE * margin for name, margin in margins.items()},
        }
        worse = []
        for number in range(PAIRS_PER_KNOB):
            found = self._pair(variant, current, number)
            if found is None:
                return False
            worse.append(found)
        return all(
            math.fsum(one[name] for one in worse) / len(worse) < limit
            for name, limit in limits.items()
        )

    def _pair(
        self, variant: Assignment, current: Assignment, number: int
    ) -> dict[str, float] | None:
        """Log ratios of two adjacent windows, above 0 = worse; None when one is not valid."""
        name = f"simplify:{','.join(self._changed(variant))}"
        both = [current, variant]
        if toss(self.settings.seed, name, number) is Order.CANDIDATE_FIRST:
            both.reverse()
        metrics = {}
        for assignment in both:
            measured = self.bench.measure(assignment, phase=Phase.FINALISTS, arm=Arm.CANDIDATE)
            if measured.tripped:
                self.keeper.handle(GuardrailCrossed(measured.reason))
            if not measured.valid or self.settings.goals.violations(measured.metrics):
                return None
            metrics[assignment is variant] = measured.metrics
        goals = self.settings.goals
        worsening = goals.worsening(metrics[False], metrics[True])
        return {_GOAL: -goals.gain(metrics[False], metrics[True]), **worsening}
