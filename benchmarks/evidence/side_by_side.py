"""Five ways to decide, on the same sessions: what each promotes without and with a true gain.

Each session is a real search, whose best assignment is measured in 30 coin-ordered pairs by the
real collaboration, and in 30 more whose order is fixed. The second window of a pair is 2 % faster
(a warm cache). The rules then look at the same numbers:

* best of the search: the best single trial beats the mean of the baseline's windows (what a tuner
  does that reports its best trial);
* three in a row: three pairs in turn better by the MEI of 2 % or more;
* t-test at each look: one-sided p < 0.05, asked after every pair from the fifth on;
* fixed order: ktune's rule, but the baseline always first;
* ktune: the rule with the coin.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from benchmarks.costs.rig import note, table
from benchmarks.evidence.noise import Kind, ar1_season_drift, gauss, student3
from benchmarks.evidence.rates import share
from benchmarks.evidence.results import Case, Row
from benchmarks.evidence.world import NO_EFFECT, PROFILE, Below50, Session, World
from ktune.evidence.coin import Order
from ktune.evidence.decide import Outcome, Rule, decide
from ktune.evidence.pairs import Arm, PairResult, PairState
from ktune.evidence.student import t_quantile
from ktune.kernel.tunable import Assignment
from ktune.modes.collaboration import Collaboration
from ktune.modes.machine import Conduct, State
from ktune.modes.modes import ModeKeeper
from ktune.records.types import Phase

ORDER_EFFECT = 0.02
GAIN = 0.05
PAIRS = 30
MEI = 0.02
_NEVER = 1 << 20
"""A draw number that no coin-ordered pair has."""

_KINDS: dict[str, Kind] = {
    "Gauss": gauss,
    "Student t (3)": student3,
    "AR(1) .9, season, drift": ar1_season_drift,
}
RULES = ("best of the search", "three in a row", "t-test at each look", "fixed order", "ktune")


class SideBySide:
    """The same search and windows for every rule."""

    name = "side-by-side"
    profile = PROFILE
    usual_sessions = 100

    def design(self, condition: str) -> str:
        return f"1 {PROFILE} order {ORDER_EFFECT} gain {GAIN} pairs {PAIRS}"

    def cases(self, sessions: int) -> Sequence[Case]:
        return [
            Case(f"{kind}, {truth}", seed)
            for kind in _KINDS
            for truth in ("no gain", "gain")
            for seed in range(sessions)
        ]

    def run(self, world: World, case: Case) -> Row:
        kind, _, truth = case.name.rpartition(", ")
        effects = {"speed": Below50(GAIN)} if truth == "gain" else NO_EFFECT
        stream = _KINDS[kind](case.seed)
        session = world.session(case.seed, stream, effects, ORDER_EFFECT, search_only=True)
        try:
            session.tuning.run()
            best = session.tuning.best()
            if best is None:
                return dict.fromkeys(RULES, False)
            claims = _best_trial(session)
            coin = _coin_ordered(session, best.assignment)
            fixed = _fixed_order(session, best.assignment)
        finally:
            world.forget(session)
        return {
            "best of the search": claims > 0,
            "three in a row": three_in_a_row(coin),
            "t-test at each look": t_at_each_look(coin),
            "fixed order": _ktune(fixed),
            "ktune": _ktune(coin),
        }

    def show(self, rows: Sequence[Row]) -> bool:
        lines = []
        for rule in RULES:
            cells = [rule]
            for truth in ("no gain", "gain"):
                for kind in _KINDS:
                    own = [row for row in rows if row["case"] == f"{kind}, {truth}"]
                    cells.append(share(sum(row[rule] for row in own), len(own), 0))
            lines.append(cells)
        head = [
            "rule",
            *(f"no gain: {kind}" for kind in _KINDS),
            *(f"gain 5 %: {kind}" for kind in _KINDS),
        ]
        table("Side by side: share of sessions that promote", head, lines)
        count = min((sum(row["case"] == name for row in rows) for name in _names()), default=0)
        note(
            f"At least {count} sessions a cell; pair sd 5 %, order effect 2 %, a search of 16 "
            "trials. Promoting without a gain is wrong, nominal for ktune: 5 %."
        )
        return True


def _names() -> list[str]:
    return [f"{kind}, {truth}" for kind in _KINDS for truth in ("no gain", "gain")]


def _best_trial(session: Session) -> float:
    """What the luckiest window of the search claims, as a log ratio."""
    windows = [record for record in session.windows() if record.phase is Phase.LEARNING]
    values: Mapping[Arm, list[float]] = {
        arm: [math.log(r.metrics["speed"]) for r in windows if r.arm is arm] for arm in Arm
    }
    return max(values[Arm.CANDIDATE]) - statistics.fmean(values[Arm.BASELINE])


def _coin_ordered(session: Session, finalist: Assignment) -> list[float]:
    """Log ratios of 30 pairs that nothing stops early."""
    session.source.begin_pairs()
    bench = session.tuning.bench
    collaboration = Collaboration(
        bench=bench,
        goals=session.settings.goals,
        rule=session.settings.rule,
        seed=session.settings.seed,
        finalist=bench.complete(finalist),
        after_pairs=PAIRS,
        keeper=ModeKeeper(State(conduct=Conduct()), bench.rest, _no_log, _no_log),
        observe=_no_log,
    )
    return [pair.gain for pair in collaboration.measure_gain() if pair.gain is not None]


def _fixed_order(session: Session, finalist: Assignment) -> list[float]:
    """The same, the baseline always first: the mistake that the coin is there for."""
    bench, goals = session.tuning.bench, session.settings.goals
    found = []
    for draw in range(_NEVER, _NEVER + PAIRS):
        metrics = {
            arm: bench.measure(assignment, phase=Phase.AFTER, arm=arm, pair=draw).metrics
            for arm, assignment in (
                (Arm.BASELINE, bench.baseline),
                (Arm.CANDIDATE, bench.complete(finalist)),
            )
        }
        found.append(goals.gain(metrics[Arm.BASELINE], metrics[Arm.CANDIDATE]))
    return found


def three_in_a_row(gains: Sequence[float]) -> bool:
    """Whether three pairs in turn were better by the MEI."""
    good = [gain >= math.log1p(MEI) for gain in gains]
    return any(all(good[start : start + 3]) for start in range(len(good) - 2))


def t_at_each_look(gains: Sequence[float]) -> bool:
    """Whether a one-sided t-test at 5 % ever fired from the fifth pair on."""
    for count in range(5, len(gains) + 1):
        seen = gains[:count]
        sd = statistics.stdev(seen)
        if statistics.fmean(seen) > t_quantile(0.95, count - 1) * sd / math.sqrt(count):
            return True
    return False


def _ktune(gains: Sequence[float]) -> bool:
    pairs = [
        PairResult(draw, Order.BASELINE_FIRST, PairState.MEASURED, gain)
        for draw, gain in enumerate(gains)
    ]
    return decide(pairs, Rule()).outcome is Outcome.IMPROVED


def _no_log(*_: object) -> None:
    """Nobody looks on."""
