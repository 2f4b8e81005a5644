"""What is said of a switch, from windows that were never measured: how often it is right."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Iterator, Sequence

import pytest

from ktune.evidence.binomial import lower_limit
from ktune.evidence.pairs import Arm, Direction
from ktune.modes.scoring import Goals
from ktune.modes.switching import BLOCK, switching
from ktune.records.types import Phase, WindowRecord
from ktune.search.baseline import Goal

GOALS = Goals((Goal("speed", Direction.MAXIMIZE, 1.0),))
PAIRS = 10
Noise = Iterator[float]


def gauss(rng: random.Random) -> Noise:
    while True:
        yield rng.gauss(0, 1)


def heavy(rng: random.Random) -> Noise:
    """Student's t with 3 degrees of freedom, sd 1."""
    while True:
        square = sum(rng.gauss(0, 1) ** 2 for _ in range(3))
        yield rng.gauss(0, 1) / math.sqrt(square)


def slow(rng: random.Random) -> Noise:
    """Autocorrelation .9 with a season and a drift, beside noise of its own."""
    state, number = rng.gauss(0, 1), 0
    while True:
        state, number = 0.9 * state + rng.gauss(0, math.sqrt(1 - 0.81)), number + 1
        yield 0.5 * rng.gauss(0, 1) + state + 2 * math.sin(number / 40) + 0.05 * number


def layout() -> Iterator[tuple[Phase, int, Arm]]:
    for pair in range(PAIRS):
        if pair:
            yield from ((Phase.SWITCHING, pair - 1, arm) for arm in BLOCK)
        yield from ((Phase.CALIBRATION, pair, arm) for arm in Arm)


def windows(noise: Noise, left_behind: float = 0.0) -> list[WindowRecord]:
    """A calibration; `left_behind` is added to the first baseline window after a candidate. The
    candidate itself is 30 % better."""
    found = []
    for seq, (phase, pair, arm) in enumerate(layout()):
        level = next(noise) * 0.02
        if phase is Phase.SWITCHING:
            level += 0.3 if arm is Arm.CANDIDATE else left_behind
        found.append(
            WindowRecord(
                seq=seq,
                phase=phase,
                arm=arm,
                pair=pair,
                trial=None,
                assignment={},
                metrics={"speed": math.exp(level)},
                validity="valid",
                reason="",
                started_at="",
                duration_s=1.0,
            )
        )
    return found


def found_in(runs: int, make: Callable[[random.Random], Noise], left_behind: float) -> list[int]:
    """How often [carry-over, lasting, warm-up] are found."""
    counts = [0, 0, 0]
    for run in range(runs):
        effects = switching(windows(make(random.Random(run)), left_behind), GOALS)
        for place, effect in enumerate((effects.carry_over, effects.lasting, effects.warm_up)):
            assert effect is not None and effect.values == PAIRS - 1
            counts[place] += effect.found
    return counts


@pytest.mark.parametrize("noise", [gauss, heavy, slow])
def test_nothing_is_found_where_nothing_is_left_behind(
    noise: Callable[[random.Random], Noise],
) -> None:
    runs = 600
    for count in found_in(runs, noise, 0.0):
        assert lower_limit(count, runs, 0.99) <= 0.01


def test_what_ten_pairs_find_four_times_in_five() -> None:
    """1.25 times the sd of a pair, which is 1.41 times that of a window (docs/statistics.md)."""
    carry_over, lasting, _ = found_in(400, gauss, 1.25 * math.sqrt(2) * 0.02)
    assert 0.74 < carry_over / 400 < 0.86
    assert lasting < 20


def spoiled(records: Sequence[WindowRecord], place: int) -> list[WindowRecord]:
    return [
        dataclasses.replace(row, validity="void") if row.seq == place else row for row in records
    ]


@pytest.mark.parametrize(("place", "blocks"), [(0, 8), (1, 8), (2, 8), (4, 8), (5, 7), (6, 7)])
def test_a_block_counts_only_with_the_pairs_around_it(place: int, blocks: int) -> None:
    """Windows 5 and 6 are the pair after the first block and before the second."""
    effect = switching(spoiled(windows(gauss(random.Random(1))), place), GOALS).carry_over
    assert effect is not None and effect.values == blocks
