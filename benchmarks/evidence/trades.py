"""Two objectives: a gain on one that the other pays for. How often is it promoted?

Below a step the speed gains 20 %, so that the weighted goal is won nearly always, and the delay is
worse by exactly the margin that the profile allows it: the hypothesis that must not be rejected in
more than 5 % of sessions. Beside it the same gain with an innocent delay: how often that passes.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.costs.rig import table
from benchmarks.evidence.noise import gauss
from benchmarks.evidence.rates import percent, share
from benchmarks.evidence.results import Case, Row
from benchmarks.evidence.world import PROFILE, Below50, World
from ktune.evidence.binomial import lower_limit
from ktune.records.types import ProofOutcome

NOMINAL = 0.05
GAIN = 0.20
MARGIN = 0.05

_TWO = PROFILE.replace(
    "    speed: {from: key_value, unit: 1/s, plausible: [0.001, 1000000]}",
    "    speed: {from: key_value, unit: 1/s, plausible: [0.001, 1000000]}\n"
    "    delay: {from: key_value, unit: ms, plausible: [0.001, 1000000]}",
).replace(
    "objectives: [{metric: speed, direction: maximize}]",
    "objectives:\n"
    "  - {metric: speed, direction: maximize}\n"
    f"  - {{metric: delay, direction: minimize, worse_by_at_most: {MARGIN:.0%}}}",
)

_WORSE = {f"delay worse by its margin of {MARGIN:.0%}": MARGIN, "delay unchanged": 0.0}


class Trades:
    """Whole sessions with two objectives, Gaussian pairs of sd 5 % in both."""

    name = "trades"
    profile = _TWO
    usual_sessions = 400

    def design(self, condition: str) -> str:
        return f"1 {_TWO} {GAIN} {_WORSE[condition]}"

    def cases(self, sessions: int) -> Sequence[Case]:
        return [Case(name, seed) for name in _WORSE for seed in range(sessions)]

    def run(self, world: World, case: Case) -> Row:
        effects = {"speed": Below50(GAIN), "delay": Below50(_WORSE[case.name])}
        proof, _ = world.proof(case.seed, gauss(case.seed), effects)
        return {
            "promoted": proof.outcome is ProofOutcome.IMPROVED,
            "pairs": proof.pairs.decision,
            "reason": proof.reason,
        }

    def show(self, rows: Sequence[Row]) -> bool:
        lines = []
        kept = True
        for name, worse in _WORSE.items():
            own = [row for row in rows if row["case"] == name]
            if not own:
                continue
            promoted = sum(row["promoted"] for row in own)
            limit = lower_limit(promoted, len(own), 0.99)
            kept &= not worse or limit <= NOMINAL
            lines.append(
                (
                    name,
                    f"{promoted} / {len(own)}",
                    share(promoted, len(own)),
                    percent(limit) if worse else "-",
                    percent(NOMINAL, 0) if worse else "-",
                    "-" if not worse else "met" if limit <= NOMINAL else "MISSED",
                    f"{sum(row['pairs'] for row in own) / len(own):.1f}",
                )
            )
        head = ("truth", "promoted", "rate", "99 % lower limit", "nominal", "", "pairs (mean)")
        table("Two objectives: speed +20 %, pair sd 5 %", head, lines)
        return kept
