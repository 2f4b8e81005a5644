"""What an interrupted study had already measured, rebuilt from its windows. Pure.

The pairs of a confirmation are kept and continued with the same coin: starting afresh after a look
at bad pairs would be a second chance that the error rate does not allow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ktune.evidence.coin import Order
from ktune.evidence.pairs import Arm, PairResult
from ktune.measure.window import Validity
from ktune.modes.bench import Measured
from ktune.modes.collaboration import DRAWS_OF_A_FINALIST, pair_of
from ktune.modes.scoring import Goals
from ktune.modes.settings import Settings
from ktune.records.types import Phase, WindowRecord
from ktune.search.regret import Tried

_OF_A_TUNING = (Phase.LEARNING, Phase.FINALISTS, Phase.DECISION, Phase.AFTER)


@dataclass(frozen=True)
class Progressed:
    """Where a study stands; all empty for a new one. Pairs are by finalist."""

    next_sequence: int
    learning_s: float
    windows_before_search: int
    """Of a calibration, or to know the workload's phase."""
    tried: Sequence[Tried]
    """What the candidates of the search have cost."""
    decision_pairs: Mapping[int, Sequence[PairResult]]
    further_pairs: Mapping[int, Sequence[PairResult]]


def progress_of(records: Sequence[WindowRecord], settings: Settings) -> Progressed:
    """Rebuild from the windows."""
    return Progressed(
        next_sequence=max((record.seq for record in records), default=-1) + 1,
        learning_s=sum(record.duration_s for record in records if record.phase is Phase.LEARNING),
        windows_before_search=sum(record.phase not in _OF_A_TUNING for record in records),
        tried=tuple(_tried(records, settings.goals)),
        decision_pairs=_by_finalist(pairs_of(records, Phase.DECISION, settings.goals)),
        further_pairs=_by_finalist(pairs_of(records, Phase.AFTER, settings.goals)),
    )


def _tried(records: Iterable[WindowRecord], goals: Goals) -> Iterator[Tried]:
    """Candidates of the search, each against the last valid baseline before it."""
    baseline: Mapping[str, float] = {}
    for record in records:
        if record.phase is not Phase.LEARNING:
            continue
        valid = record.validity == Validity.VALID
        if record.arm is Arm.BASELINE:
            baseline = record.metrics if valid else baseline
        elif valid and baseline:
            yield Tried(record.duration_s, goals.gain(baseline, record.metrics))
        elif record.validity == Validity.CANDIDATE_FAILED:
            yield Tried(record.duration_s, None)


def _by_finalist(pairs: Iterable[PairResult]) -> dict[int, list[PairResult]]:
    found: dict[int, list[PairResult]] = {}
    for pair in pairs:
        found.setdefault(pair.draw // DRAWS_OF_A_FINALIST, []).append(pair)
    return found


def pairs_of(records: Iterable[WindowRecord], phase: Phase, goals: Goals) -> list[PairResult]:
    """The pairs of one phase, in the order of their tosses; one cut in half is void."""
    draws: dict[int, dict[Arm, Measured]] = {}
    for record in records:
        if record.phase is phase and record.pair is not None:
            draws.setdefault(record.pair, {})[record.arm] = Measured(
                record.metrics, Validity(record.validity), record.reason
            )
    found = []
    for draw, seen in sorted(draws.items()):
        # As it was measured, not as the coin has it: the proof's audit compares the two.
        order = Order.CANDIDATE_FIRST if next(iter(seen)) is Arm.CANDIDATE else Order.BASELINE_FIRST
        found.append(pair_of(draw, order, seen, goals))
    return found
