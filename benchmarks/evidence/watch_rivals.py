"""What needs no kernel: other rules on the same noise, and the detector at long mean times.

Rules see the windows of the same stream that a watch would see. `ktune` here is the rule alone;
that a whole watch decides as it does is a test (tests/benchmarks).
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import ClassVar

from benchmarks.costs.rig import note, table
from benchmarks.evidence.noise import recording
from benchmarks.evidence.rates import share
from benchmarks.evidence.results import Case, Row
from benchmarks.evidence.watch_questions import Worlds
from benchmarks.evidence.watch_world import Situation, Stream, coin_seed
from ktune.evidence.coin import Order, toss
from ktune.evidence.detector import after, started
from ktune.evidence.guard import GuardRule, judge
from ktune.evidence.student import t_quantile
from ktune.modes.watch.holdback import PHASE

_PAIRS = 30
_ORDER_EFFECT = 0.02
_BEFORE, _IN_A_ROW, _THRESHOLD = 10, 3, 0.05
_FIRST_LOOK = 3
Orders = Callable[[int], Order]


def ktune(situation: Situation, name: str) -> int | None:
    """Windows until the rollback, None without one; margin 0 as for the others."""
    return _judged(situation, name, by_coin(name))


def fixed_order(situation: Situation, name: str) -> int | None:
    """The same test, the baseline always first."""
    return _judged(situation, name, lambda draw: Order.BASELINE_FIRST)


def t_test_at_each_look(situation: Situation, name: str) -> int | None:
    """Coin-ordered pairs, a one-sided t test at 1 % after each of them, from the third on."""
    xs: list[float] = []
    for x in worsenings(situation, name, by_coin(name)):
        xs.append(x)
        n = len(xs)
        if n < _FIRST_LOOK:
            continue
        error = statistics.stdev(xs) / math.sqrt(n)
        if error == 0 or statistics.fmean(xs) / error > _critical_t(n - 1):
            return 2 * n
    return None


@cache
def _critical_t(freedom: int) -> float:
    return t_quantile(0.99, freedom)


def three_in_a_row(situation: Situation, name: str) -> int | None:
    """Before and after: three windows in a row more than 5 % below the mean of ten before."""
    stream = Stream(situation, name)
    usual = statistics.fmean(stream.window(policy=False)["speed"] for _ in range(_BEFORE))
    below = 0
    for number in range(2 * _PAIRS - _BEFORE):
        slow = stream.window(policy=True)["speed"] < usual * (1 - _THRESHOLD)
        below = below + 1 if slow else 0
        if below == _IN_A_ROW:
            return number + 1
    return None


RULES = {
    "3 in a row, > 5 %": three_in_a_row,
    "t test at each look, 1 %": t_test_at_each_look,
    "fixed order": fixed_order,
    "ktune": ktune,
}


def by_coin(name: str) -> Orders:
    """Fair orders, another sequence for each name."""
    seed = coin_seed(name)
    return lambda draw: toss(seed, PHASE, draw)


def worsenings(situation: Situation, name: str, order: Orders) -> Iterator[float]:
    """Log ratios of a probation, above 0 when the policy is worse."""
    stream = Stream(situation, name)
    for draw in range(_PAIRS):
        policy_first = order(draw) is Order.CANDIDATE_FIRST
        first = stream.window(policy=policy_first)["speed"]
        second = stream.window(policy=not policy_first)["speed"]
        policy, baseline = (first, second) if policy_first else (second, first)
        yield math.log(baseline / policy)


def _judged(situation: Situation, name: str, order: Orders) -> int | None:
    pairs = [{"speed": x} for x in worsenings(situation, name, order)]
    decision = judge(pairs, GuardRule({"speed": 0.0}))
    return 2 * decision.metrics["speed"].pairs if decision.regressed else None


class SideBySide:
    """Other rules on the same noise."""

    name: ClassVar[str] = "side-by-side"
    usual_sessions = 2000
    noises: ClassVar[dict[str, Situation]] = {
        "Gauss": Situation(),
        "Student t (3)": Situation(noise="Student t (3)"),
        "spiky": Situation(noise="spiky"),
        "AR(1) .9, season, drift": Situation(noise="AR(1) .9, season, drift"),
        "second window 2 % slower": Situation(order_effect=_ORDER_EFFECT),
        "load steps of +-50 %": Situation(load="every 7 windows"),
    }

    def design(self, condition: str) -> str:
        noise = self._split(condition)[0].noise
        return f"{self._split(condition)} {recording(noise)}"

    def cases(self, sessions: int) -> Sequence[Case]:
        """Innocent and guilty of each."""
        return [
            Case(f"{name}{suffix}", seed)
            for name in self.noises
            for suffix in ("", _GUILTY)
            for seed in range(sessions)
        ]

    def run(self, worlds: Worlds, case: Case) -> Row:
        """What each rule says of one system."""
        situation, _ = self._split(case.name)
        name = f"{case.name} {case.seed}"
        return {"windows": {rule: decide(situation, name) for rule, decide in RULES.items()}}

    def show(self, rows: Sequence[Row]) -> bool:
        """False rollbacks and delays."""
        kept = True
        for suffix, title in (
            ("", "policy innocent: rolled back within 60 windows"),
            (_GUILTY, "policy 10 % worse: rolled back (windows, median)"),
        ):
            lines = []
            for rule in RULES:
                cells = []
                for name in self.noises:
                    own = [row["windows"][rule] for row in rows if row["case"] == name + suffix]
                    cells.append(_cell(own, with_delay=bool(suffix)))
                lines.append((rule, *cells))
            table(f"Side by side, {title}", ("rule", *self.noises), lines)
        note(f"{len(rows) // (2 * len(self.noises))} systems a column; margin 0, sd 5 %.")
        return kept

    def _split(self, condition: str) -> tuple[Situation, float]:
        name = condition.removesuffix(_GUILTY)
        worse = 0.1 if name != condition else 0.0
        return replace(self.noises[name], worse_by=worse), worse


_GUILTY = ", guilty"


def _cell(found: Sequence[int | None], *, with_delay: bool) -> str:
    hits = sorted(windows for windows in found if windows is not None)
    text = share(len(hits), len(found))
    if not with_delay or not hits:
        return text
    everybody = sorted(math.inf if windows is None else windows for windows in found)
    return f"{text} ({everybody[len(everybody) // 2]:.0f})"


class LongRuns:
    """The detector alone on fair coins: the mean time that it promises, where a watch would take
    years."""

    name: ClassVar[str] = "long-runs"
    usual_sessions = 400
    means: ClassVar[dict[str, int]] = {"300": 300, "1000": 1000, "8760": 8760}

    def design(self, condition: str) -> str:
        return condition

    def cases(self, sessions: int) -> Sequence[Case]:
        return [Case(name, seed) for name in self.means for seed in range(sessions)]

    def run(self, worlds: Worlds, case: Case) -> Row:
        """Pairs until the alarm."""
        rng = random.Random(f"{case.name} {case.seed}")
        detector = started(self.means[case.name])
        while not detector.alarm:
            detector = after(detector, rng.choice((-1.0, 1.0)))
        return {"pairs": detector.pairs}

    def show(self, rows: Sequence[Row]) -> bool:
        lines, kept = [], True
        for name, mean_pairs in self.means.items():
            times = [row["pairs"] for row in rows if row["case"] == name]
            if len(times) < 2:
                continue
            mean = statistics.fmean(times)
            error = statistics.stdev(times) / math.sqrt(len(times))
            kept &= mean + 2.33 * error >= mean_pairs
            early = sum(time <= mean_pairs / 10 for time in times)
            lines.append(
                (name, f"{len(times)}", f"{mean:.0f} +- {error:.0f}", share(early, len(times)))
            )
        head = ("promised (A)", "runs", "mean pairs to an alarm", "within A/10")
        table("The detector alone, fair signs", head, lines)
        return kept


Simulated = SideBySide | LongRuns
SIMULATED: tuple[Simulated, ...] = (SideBySide(), LongRuns())
