"""A true gain of 10 % at a pair sd of 5 %: is it found, promoted, and reported as what it is?"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.costs.rig import table
from benchmarks.evidence.noise import Kind, gauss, student3
from benchmarks.evidence.rates import percent, share, upper_limit
from benchmarks.evidence.results import Case, Row
from benchmarks.evidence.world import MATTERS, PROFILE, Below50, World
from ktune.records.types import ProofOutcome

GAIN = 0.10
PROMOTED = 0.85
COVERED = 0.93
MEDIAN_OFF = 0.01
ENOUGH = 100
"""Sessions from which on a median is judged."""

_KINDS: dict[str, Kind] = {"Gauss": gauss, "Student t (3)": student3}


class Power:
    """Whole sessions with a knob that truly gains 10 % below a step, and one that does nothing."""

    name = "power"
    profile = PROFILE
    usual_sessions = 300

    def design(self, condition: str) -> str:
        return f"1 {PROFILE} gain {GAIN}"

    def cases(self, sessions: int) -> Sequence[Case]:
        return [Case(kind, seed) for kind in _KINDS for seed in range(sessions)]

    def run(self, world: World, case: Case) -> Row:
        effects = {"speed": Below50(GAIN)}
        proof, _ = world.proof(case.seed, _KINDS[case.name](case.seed), effects)
        value = proof.assignment[MATTERS]
        assert isinstance(value, int)
        found: Row = {
            "promoted": proof.outcome is ProofOutcome.IMPROVED,
            "pairs": proof.pairs.decision,
            "claimed": proof.claimed_by_search,
            "true": GAIN if value < 50 else 0.0,
        }
        if proof.gain is not None:
            found |= {"gain": proof.gain.estimate, "interval": list(proof.gain.interval)}
        return found

    def show(self, rows: Sequence[Row]) -> bool:
        lines = []
        kept = True
        for kind in _KINDS:
            own = [row for row in rows if row["case"] == kind]
            if not own:
                continue
            promoted = [row for row in own if row["promoted"]]
            reported = [row for row in own if "gain" in row]
            covered = sum(
                row["interval"][0] <= row["true"] <= row["interval"][1] for row in reported
            )
            gain = statistics.median([row["gain"] for row in promoted]) if promoted else None
            good = (
                upper_limit(len(promoted), len(own)) >= PROMOTED
                and (not reported or upper_limit(covered, len(reported)) >= COVERED)
                and (gain is None or len(promoted) < ENOUGH or abs(gain - GAIN) <= MEDIAN_OFF)
            )
            kept &= good
            claimed = [row["claimed"] for row in promoted]
            lines.append(
                (
                    kind,
                    f"{len(promoted)} / {len(own)}",
                    share(len(promoted), len(own)),
                    f"{statistics.median([row['pairs'] for row in promoted]):g}"
                    if promoted
                    else "-",
                    "-" if gain is None else percent(gain),
                    percent(statistics.median(claimed)) if claimed else "-",
                    f"{share(covered, len(reported))} of {len(reported)}",
                    "met" if good else "MISSED",
                )
            )
        head = (
            *("noise", "promoted", "rate (wanted: 85 %)", "pairs (median)"),
            *("reported gain (median)", "search claims (median)"),
            *("interval covers (wanted: 93 %)", ""),
        )
        table("Power: true gain 10 %, pair sd 5 %", head, lines)
        return kept
