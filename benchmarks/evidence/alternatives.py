"""The promotion rules that were weighed against each other, and what a coin does to each.

After each pair a rule says whether it rejects "no gain" at a level; all look from the fifth on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from benchmarks.evidence.t_e import log_t_e
from ktune.evidence.decide import Rule
from ktune.evidence.eprocess import log_sign_e, log_symmetric_e

Rejects = Callable[[Sequence[float], float], bool]
"""From the log ratios so far and a level."""

_FIRST_LOOK = Rule().min_pairs


def t_or_sign(xs: Sequence[float], level: float) -> bool:
    """The former rule: t-e at E >= 1/level and t > 0, or sign-e at E >= 2/level."""
    return _t(xs, level) or _sign(xs, level)


def late_t_or_sign(xs: Sequence[float], level: float) -> bool:
    """The same, t-e from ceil(log2(1/level)) + 1 pairs on: as many straight wins as a coin gives in
    half of `level` of runs."""
    ripe = len(xs) >= math.ceil(math.log2(1 / level)) + 1
    return (ripe and _t(xs, level)) or _sign(xs, level)


def symmetric(xs: Sequence[float], level: float) -> bool:
    """ktune's rule: the symmetric e-process at E >= 1/level."""
    return log_symmetric_e(xs)[-1] >= math.log(1 / level)


RULES: dict[str, Rejects] = {
    "t-e or sign-e": t_or_sign,
    "the same, t-e not before the coin": late_t_or_sign,
    "symmetric-e (ktune)": symmetric,
}


def first(rejects: Rejects, xs: Sequence[float], level: float) -> int | None:
    """The pair after which a rule rejects first; None where it never does."""
    return next(
        (n for n in range(_FIRST_LOOK, len(xs) + 1) if rejects(xs[:n], level)),
        None,
    )


def by_the_coin(rejects: Rejects, level: float, pairs: int) -> float:
    """The exact chance to reject at any look when all |x| are equal and the signs are a coin's: the
    order effect without any noise. Dynamic programming over the number of wins."""
    alive, fired = {0: 1.0}, 0.0
    for count in range(1, pairs + 1):
        here: dict[int, float] = {}
        for wins, mass in alive.items():
            for more in (0, 1):
                here[wins + more] = here.get(wins + more, 0.0) + mass / 2
        alive = {}
        for wins, mass in here.items():
            xs = [1.0] * wins + [-1.0] * (count - wins)
            if count >= _FIRST_LOOK and rejects(xs, level):
                fired += mass
            else:
                alive[wins] = mass
    return fired


def _t(xs: Sequence[float], level: float) -> bool:
    return math.fsum(xs) > 0 and log_t_e(xs) >= math.log(1 / level)


def _sign(xs: Sequence[float], level: float) -> bool:
    wins, losses = sum(x > 0 for x in xs), sum(x < 0 for x in xs)
    return log_sign_e(wins, losses) >= math.log(2 / level)
