"""From a search through the real ask and tell to the real decision: honest on a flat machine."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ktune.evidence.binomial import lower_limit
from ktune.evidence.decide import Outcome, Rule, decide
from ktune.search.finalists import Finished, next_step
from ktune.search.opening import open_search
from ktune.search.samplers import SamplerName
from ktune.search.trials import ScoredTrial
from tests.evidence.simulated import pairs_of, windows
from tests.search.spaces import example_space, gain_of


def session(
    journal: Path, seed: int, sampler: SamplerName, *, trials: int, flat: bool, sd: float
) -> tuple[bool, float, float]:
    """One whole run: promoted or not, what the search claimed, what the winner truly gains."""
    rng = random.Random(seed)

    def truth(assignment: object) -> float:
        return 0.0 if flat else gain_of(assignment, rng, 0.0)  # type: ignore[arg-type]

    with open_search(
        example_space(), name="s", journal=journal, sampler=sampler, seed=seed
    ) as search:
        for _ in range(trials):
            candidate = search.ask()
            search.tell(candidate, ScoredTrial(truth(candidate.assignment) + rng.gauss(0, sd)))
        ranked = search.ranked()[:8]
    measured: dict[int, list[float]] = {}
    while not isinstance(step := next_step(len(ranked), measured), Finished):
        value = truth(ranked[step.contender].assignment) + rng.gauss(0, sd)
        measured.setdefault(step.contender, []).append(value)
    assert step.winner is not None
    gain = truth(ranked[step.winner].assignment)
    pairs = pairs_of(windows(rng, sd=sd), seed, gain=gain)
    claimed = max(row.told.score for row in search.rows if isinstance(row.told, ScoredTrial))
    return decide(pairs, Rule()).outcome is Outcome.IMPROVED, claimed, gain


def sessions(
    folder: Path, runs: int, sampler: SamplerName, **how: object
) -> list[tuple[bool, float, float]]:
    return [
        session(folder / f"{seed}.journal", seed, sampler, **how)  # type: ignore[arg-type]
        for seed in range(runs)
    ]


def test_where_the_knobs_do_not_matter_nothing_is_promoted(tmp_path: Path) -> None:
    found = sessions(tmp_path, 80, SamplerName.RANDOM, trials=16, flat=True, sd=0.05)
    hits = sum(promoted for promoted, _, _ in found)
    assert lower_limit(hits, len(found), 0.99) <= 0.05
    assert sum(claimed for _, claimed, _ in found) / len(found) > 0.06, "the winner's curse"


def test_where_they_do_matter_the_gain_is_promoted(tmp_path: Path) -> None:
    found = sessions(tmp_path, 6, SamplerName.TPE, trials=30, flat=False, sd=0.03)
    assert all(promoted for promoted, _, _ in found)
    assert all(claimed > gain > 0.03 for _, claimed, gain in found)


@pytest.mark.full
@pytest.mark.timeout(600)
def test_where_the_knobs_do_not_matter_nothing_is_promoted_by_tpe(tmp_path: Path) -> None:
    found = sessions(tmp_path, 500, SamplerName.TPE, trials=50, flat=True, sd=0.05)
    assert lower_limit(sum(hit for hit, _, _ in found), len(found), 0.99) <= 0.05
