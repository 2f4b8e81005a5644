"""The last word: the decision, checked against the pairs that came after it.

Everything here can only turn "improved" into "no improvement", so the false promotion rate of
the decision stands. The constraints must hold twice, in the decision and after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ktune.evidence.decide import Decision, Outcome
from ktune.evidence.estimate import Bound, Estimate


@dataclass(frozen=True)
class Verdict:
    """Whether the finalist may become a policy, and why."""

    improved: bool
    reason: str


def verdict(decision: Decision, estimate: Estimate, bounds: Sequence[Bound] = ()) -> Verdict:
    """Improved only if the decision says so and nothing after it contradicts.

    A contradiction is: a constraint whose upper limit is above its margin; failures so frequent
    that the median's interval has no lower end; an interval for the gain wholly at or below 0.
    """
    if decision.outcome is not Outcome.IMPROVED:
        return Verdict(False, decision.reason)
    broken = [bound for bound in bounds if not bound.held]
    if broken:
        worst = ", ".join(
            f"{bound.metric} may be up to {bound.upper:.1%} worse (margin {bound.margin:.1%})"
            for bound in broken
        )
        return Verdict(False, f"not confirmed after the decision: {worst}")
    if estimate.lost and estimate.robust.low in (-1.0, -math.inf):
        return Verdict(
            False, f"the candidate failed in {estimate.lost} of {estimate.pairs} further pairs"
        )
    if estimate.main.high <= 0:
        return Verdict(
            False, f"{estimate.pairs} further pairs contradict the decision: no gain in them"
        )
    return Verdict(True, decision.reason)
