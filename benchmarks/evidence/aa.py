"""A/A: every candidate is the baseline in disguise. How many are promoted? Nominal: at most 5 %."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.costs.rig import note, table
from benchmarks.evidence.noise import kinds, recording
from benchmarks.evidence.rates import percent, power_against, sessions_needed, share
from benchmarks.evidence.results import Case, Row
from benchmarks.evidence.world import PROFILE, World
from ktune.evidence.binomial import lower_limit
from ktune.records.types import ProofOutcome

NOMINAL = 0.05


class FalsePromotions:
    """Whole sessions without any true difference, for each kind of noise."""

    name = "aa"
    profile = PROFILE
    usual_sessions = 400

    def design(self, condition: str) -> str:
        return f"1 {PROFILE} {recording(condition)}"

    def cases(self, sessions: int) -> Sequence[Case]:
        return [Case(kind, seed) for kind in kinds() for seed in range(sessions)]

    def run(self, world: World, case: Case) -> Row:
        proof, windows = world.proof(case.seed, kinds()[case.name](case.seed))
        return {
            "promoted": proof.outcome is ProofOutcome.IMPROVED,
            "pairs": proof.pairs.decision,
            "claimed": proof.claimed_by_search,
            "windows": len(windows),
        }

    def show(self, rows: Sequence[Row]) -> bool:
        lines = []
        kept = True
        for kind in kinds():
            own = [row for row in rows if row["case"] == kind]
            if not own:
                continue
            promoted = sum(row["promoted"] for row in own)
            limit = lower_limit(promoted, len(own), 0.99)
            kept &= limit <= NOMINAL
            claimed = [row["claimed"] for row in own if row["claimed"] is not None]
            lines.append(
                (
                    kind,
                    f"{promoted} / {len(own)}",
                    share(promoted, len(own)),
                    percent(limit),
                    percent(NOMINAL, 0),
                    "met" if limit <= NOMINAL else "MISSED",
                    f"{sum(row['pairs'] for row in own) / len(own):.1f}",
                    percent(sum(claimed) / len(claimed)) if claimed else "-",
                    percent(power_against(len(own), NOMINAL, 2 * NOMINAL)),
                )
            )
        head = (
            *("noise", "promoted", "rate", "99 % lower limit", "nominal", "", "pairs (mean)"),
            *("search claims (mean)", "a rate of 10 % would show"),
        )
        table("False promotions: identical settings", head, lines)
        note(
            f"{sessions_needed(NOMINAL, 2 * NOMINAL)} sessions find a true rate of twice the "
            "nominal one with a chance of 90 %."
        )
        return kept
