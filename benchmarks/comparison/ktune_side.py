"""ktune: search, finalists and proof by its own code, within so many windows, all counted.

A budget holds, besides the search with its baselines, the halving among the best, the pairs of the
decision and the ten pairs after it that give the reported gain. `ktune tune` also calibrates before
(ten windows of the baseline), unless a calibration of the last day stands in, as it does here.
Without proof the reference stays.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

from benchmarks.comparison.problem import Outcome, Setting
from benchmarks.evidence.world import World
from benchmarks.surfaces.simulate import Budget, BudgetSpent, SimulatedSource, StandIns
from ktune.evidence.pairs import Direction, log_gain_of
from ktune.modes.settings import Overrides
from ktune.records.types import Proof, ProofOutcome
from ktune.search.budget import Spent, fitted_rounds
from ktune.search.finalists import most_windows

AFTER = 10
"""Pairs after the decision; a profile can't have fewer."""
PROOF_SHARE = 0.4
"""Of the windows before those, for the decision's pairs: fewer than eight pairs don't forgive one
that is lost to noise."""
BASELINE_EVERY = 6
LEAST_WINDOWS = 54
"""Fewer don't hold a search and a proof."""
_CONTENDERS = 8
_FEWEST_PAIRS = 8


def budget_of(windows: int, proof_share: float = PROOF_SHARE) -> Budget:
    """How ktune is told to spend so many windows at most.

    >>> budget = budget_of(60)
    >>> budget.trials, search_windows(budget.trials), budget.max_pairs, budget.after_pairs
    (12, 23, 8, 10)
    """
    if windows < LEAST_WINDOWS:
        raise SystemExit(f"{windows} windows don't hold a search and a proof: {LEAST_WINDOWS} do")
    left = windows - 2 * AFTER
    pairs = min(30, max(_FEWEST_PAIRS, round(proof_share * left / 2)))
    trials = max(t for t in range(1, left) if search_windows(t) <= left - 2 * pairs)
    return Budget(trials, trials, BASELINE_EVERY, pairs, AFTER)


def search_windows(trials: int) -> int:
    """At most so many windows before the first pair: trials, their baselines, the halving with
    its baselines."""
    halving = max(
        most_windows(_CONTENDERS, fitted_rounds(Spent(trials - again, again), _CONTENDERS))
        for again in range(trials // 3 + 1)
    )
    return trials + 1 + math.ceil(trials / BASELINE_EVERY) + halving + math.ceil(halving / 2)


class KtuneSide:
    """ktune on one recorded surface: a namespace of its own, entered once for many runs."""

    def __init__(self, folder: Path, stand_ins: StandIns, windows: int, proof_share: float) -> None:
        self._stand_ins = stand_ins
        self._windows = windows
        self._world = World(folder, stand_ins.profile(budget_of(windows, proof_share)))

    def __enter__(self) -> KtuneSide:
        self._world.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._world.__exit__(None, None, None)

    def run(self, sampler: str, seed: int) -> Outcome:
        """One run, with a guardian and a lease of its own."""
        started_s = time.perf_counter()
        lease = self._world.lease(batch=1)
        source = SimulatedSource(lease, self._stand_ins, seed, self._windows)
        tuning, study, _ = self._world.tuning(Overrides(seed=seed, sampler=sampler), lease, source)
        reference = self._stand_ins.surface.recording.head.reference
        try:
            proof = tuning.run().proof
            assert proof is not None
            why, found = proof.reason, self._setting(proof)
        except BudgetSpent as error:
            proof, why, found = None, error.message, None
        restored = lease.release()
        wall_s = time.perf_counter() - started_s
        self._world.drop(study)
        improved = proof is not None and proof.outcome is ProofOutcome.IMPROVED
        return Outcome(
            deployed=found if improved and found else reference,
            claimed=claimed_by(proof, self._direction) if proof and improved else None,
            windows=source.measured,
            wall_s=wall_s,
            left=len(restored.failed) + len(restored.foreign),
            found=found,
            why=why,
        )

    def _setting(self, proof: Proof) -> Setting:
        return tuple(self._stand_ins.setting(proof.assignment))

    @property
    def _direction(self) -> Direction:
        return Direction(self._stand_ins.surface.recording.head.direction)


def claimed_by(proof: Proof, direction: Direction) -> float | None:
    """The proof's gain as a log ratio."""
    return None if proof.gain is None else log_gain_of(proof.gain.estimate, direction)
