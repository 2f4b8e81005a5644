"""ktune: search, finalists and proof by its own code, within so many windows, all counted.

A budget holds, besides the search with its baselines, the halving among the best, the pairs of the
decision and the ten pairs after it that give the reported gain. `ktune tune` also calibrates before
(ten windows of the baseline), unless a calibration of the last day stands in, as it does here.
Without proof the reference stays.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.comparison.problem import Outcome, Setting
from benchmarks.evidence.world import World
from benchmarks.surfaces.simulate import Budget, BudgetSpent, SimulatedSource, StandIns
from ktune.evidence.pairs import Direction, log_gain_of
from ktune.modes.settings import Overrides
from ktune.records.types import Proof, ProofOutcome

AFTER = 10
"""Pairs after the decision; a profile can't have fewer."""
BASELINE_EVERY = 6


def budget_of(windows: int) -> Budget:
    """At most so many windows: how they are divided is ktune's own affair."""
    return Budget(windows, windows, BASELINE_EVERY, 30, AFTER, windows=windows)


class KtuneSide:
    """ktune on one recorded surface: a namespace of its own, entered once for many runs."""

    def __init__(
        self, folder: Path, stand_ins: StandIns, windows: int, expert: Sequence[Setting] = ()
    ) -> None:
        """`expert`: settings that the profile names to be measured first."""
        self._stand_ins = stand_ins
        self._windows = windows
        self._world = World(folder, stand_ins.profile(budget_of(windows), expert))

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
