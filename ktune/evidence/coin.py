"""The order of the two windows of a pair: a fair coin, tossed and recorded before they run.

The coin is what makes the test exact: without an effect, swapping the two windows only flips
the sign of the log ratio, whatever drift, season or order effect there is (randomised multiple
interleaved trials, Abedi and Brecht, ICPE 2017, doi 10.1145/3030207.3030229). A fixed order with
a 2 % order effect gave 36-100 % false alarms in simulation (docs/statistics.md).

The coin is the lowest bit of SHA-256 over the seed and the names of the toss, so that a resumed
run sees the same order for the same toss and any third party can check the record. A void pair
is redrawn with a new toss (the next `draw`), never with the old one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import StrEnum
from typing import Protocol


class Order(StrEnum):
    """Which window of a pair runs first."""

    BASELINE_FIRST = "baseline_first"
    CANDIDATE_FIRST = "candidate_first"


class Tossed(Protocol):
    """Anything that recorded a toss: a `PairResult`."""

    @property
    def draw(self) -> int: ...
    @property
    def order(self) -> Order: ...


def toss(seed: int, phase: str, draw: int) -> Order:
    """The order of toss number `draw` of a phase (say `decision:0` for the first finalist).

    Record the result before the first window of the pair starts.

    >>> [toss(7, "decision:0", draw).value for draw in range(3)]
    ['baseline_first', 'baseline_first', 'candidate_first']
    """
    digest = hashlib.sha256(f"ktune coin\0{seed}\0{phase}\0{draw}".encode()).digest()
    return Order.CANDIDATE_FIRST if digest[-1] & 1 else Order.BASELINE_FIRST


def not_of_the_coin(seed: int, phase: str, pairs: Iterable[Tossed]) -> tuple[int, ...]:
    """The draws whose recorded order is not the coin's, or that were used twice: proof of a bug.

    A decision over such pairs is void: its false positive rate is unknown.
    """
    seen: set[int] = set()
    wrong: list[int] = []
    for pair in pairs:
        if pair.draw in seen or pair.order is not toss(seed, phase, pair.draw):
            wrong.append(pair.draw)
        seen.add(pair.draw)
    return tuple(wrong)
