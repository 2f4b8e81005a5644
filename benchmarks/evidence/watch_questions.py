"""What is asked of the watch: conditions, each with many sessions through the real code path.

Every question names its conditions and prints a table of their sessions.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import ClassVar

from benchmarks.costs.rig import note, table
from benchmarks.evidence.noise import kinds, recording
from benchmarks.evidence.rates import share
from benchmarks.evidence.results import Case, Row
from benchmarks.evidence.watch_load import SCHEMES
from benchmarks.evidence.watch_world import Setup, Situation, World
from ktune.evidence.binomial import at_least, lower_limit
from ktune.profile.watching import WatchSettings

NOMINAL = 0.01
"""False rollbacks of a probation (`watch.alpha`)."""
_TAIL = 0.01
"""So seldom may a true rate at the nominal one be called broken: limits are at 99 %."""
_DEFAULT_MEAN_PAIRS = WatchSettings().false_rollback_every_pairs


@dataclass(frozen=True)
class Condition:
    """A setup, and what is true in it."""

    setup: Setup
    situation: Situation


class Worlds:
    """The worlds of one process, made when first asked for."""

    def __init__(self) -> None:
        self._open: dict[Setup, World] = {}

    def of(self, setup: Setup) -> World:
        """The world of a setup."""
        if setup not in self._open:
            self._open[setup] = World(setup).__enter__()
        return self._open[setup]

    def close(self) -> None:
        """End all of them."""
        while self._open:
            self._open.popitem()[1].__exit__(None, None, None)


class Watches:
    """A question that watches answer, each in a condition."""

    name: ClassVar[str]
    usual_sessions: int
    conditions: Mapping[str, Condition]

    def design(self, condition: str) -> str:
        """All that a result depends on beside the code."""
        found = self.conditions[condition]
        return f"{found} {recording(found.situation.noise)}"

    def cases(self, sessions: int) -> Sequence[Case]:
        """So many sessions for each condition."""
        return [Case(name, seed) for name in self.conditions for seed in range(sessions)]

    def run(self, worlds: Worlds, case: Case) -> Row:
        """One watch."""
        condition = self.conditions[case.name]
        # Each policy name has its own coin and noise, whatever the order of the sessions.
        outcome = worlds.of(condition.setup).watch(condition.situation, session_name(self, case))
        return asdict(outcome)

    def show(self, rows: Sequence[Row]) -> bool:
        """Print the table; False where a promise is broken beyond chance."""
        raise NotImplementedError


def session_name(question: Watches, case: Case) -> str:
    """Of the policy that is watched in a case."""
    return f"{question.name}-{list(question.conditions).index(case.name)}-{case.seed}"


def of_condition(rows: Sequence[Row], name: str) -> list[Row]:
    """The sessions of one condition."""
    return [row for row in rows if row["case"] == name]


@dataclass
class FalseRollbacks(Watches):
    """Probations of policies that do nothing at all, without a margin to hide behind."""

    name: ClassVar[str] = "false-rollbacks"
    usual_sessions: int = 2000
    conditions: Mapping[str, Condition] = field(
        default_factory=lambda: {
            kind: Condition(Setup(margin=0.0), Situation(noise=kind)) for kind in kinds()
        }
    )

    def show(self, rows: Sequence[Row]) -> bool:
        title = "False rollbacks on probation: identical settings, margin 0 (the boundary)"
        kept = _rates(title, self.conditions, rows)
        note(
            f"power: the chance that so many sessions tell a true rate of {2 * NOMINAL:.0%} from "
            f"{NOMINAL:.0%}"
        )
        return kept


@dataclass
class FalseRollbacksWithMargin(Watches):
    """The same with the default margin."""

    name: ClassVar[str] = "false-rollbacks-default-margin"
    usual_sessions: int = 200
    conditions: Mapping[str, Condition] = field(
        default_factory=lambda: (
            {kind: Condition(Setup(), Situation(noise=kind)) for kind in kinds()}
            | {
                "Gauss, truly 2 % worse": Condition(Setup(), Situation(worse_by=0.02)),
                "Gauss, three metrics": Condition(Setup(metrics=3), Situation()),
            }
        )
    )

    def show(self, rows: Sequence[Row]) -> bool:
        return _rates(
            "False rollbacks on probation: default margin of 2 %",
            self.conditions,
            rows,
        )


def _rates(title: str, conditions: Mapping[str, Condition], rows: Sequence[Row]) -> bool:
    lines, kept = [], True
    for name, own in (*((name, of_condition(rows, name)) for name in conditions), ("all", rows)):
        if not own:
            continue
        bad = sum(row["rolled_back"] for row in own)
        limit = lower_limit(bad, len(own), 1 - _TAIL)
        fine = at_least(bad, len(own), NOMINAL) >= _TAIL  # the same as limit <= NOMINAL, exactly
        kept &= fine
        power = power_against(len(own), 2 * NOMINAL)
        lines.append(
            (
                name,
                f"{bad} / {len(own)}",
                share(bad, len(own), 2),
                f"{limit:.2%}",
                "kept" if fine else "BROKEN",
                f"{power:.0%}",
            )
        )
    head = ("noise", "rolled back", "share", "99 % lower limit", f"{NOMINAL:.0%}", "power at 2 %")
    table(title, head, lines)
    return kept


def power_against(sessions: int, true: float) -> float:
    """The chance that the lower limit of so many sessions is above the nominal rate."""
    alarm = next(k for k in range(sessions + 2) if at_least(k, sessions, NOMINAL) < _TAIL)
    return at_least(alarm, sessions, true)


@dataclass
class FalseAlarms(Watches):
    """The steady state with a small mean time between false alarms."""

    name: ClassVar[str] = "false-alarms"
    mean_pairs: int = 50
    usual_sessions: int = 100
    conditions: Mapping[str, Condition] = field(init=False)

    def __post_init__(self) -> None:
        setup = Setup(margin=0.0, probation_pairs=1, mean_pairs=self.mean_pairs)
        self.conditions = {
            kind: Condition(
                setup, Situation(noise=kind, beyond=True, windows=2 * (20 * self.mean_pairs + 1))
            )
            for kind in ("Gauss", "AR(1) .9, season, drift")
        }

    def show(self, rows: Sequence[Row]) -> bool:
        lines, kept = [], True
        for name in self.conditions:
            # One pair is the probation's. Runs without an alarm count with what they had.
            times = [row["pairs"] - 1 for row in of_condition(rows, name)]
            if len(times) < 2:
                continue
            mean = statistics.fmean(times)
            error = statistics.stdev(times) / len(times) ** 0.5
            early = sum(time <= self.mean_pairs / 10 for time in times)
            kept &= mean + 2.33 * error >= self.mean_pairs
            lines.append(
                (
                    name,
                    f"{self.mean_pairs}",
                    f"{len(times)}",
                    f"{mean:.0f} +- {error:.0f}",
                    share(early, len(times)),
                )
            )
        head = ("noise", "promised (A)", "runs", "mean pairs to an alarm", "within A/10")
        table("Steady state: time to a false alarm, identical settings, margin 0", head, lines)
        return kept


_CHANGE_AT = 40
"""Window of the steady state from which on a policy does harm."""


@dataclass
class Delays(Watches):
    """How soon a regression is rolled back."""

    name: ClassVar[str] = "delays"
    usual_sessions: int = 200
    conditions: Mapping[str, Condition] = field(
        default_factory=lambda: {
            "10 %, sd 5 %": Condition(Setup(), Situation(worse_by=0.1, beyond=True)),
            "10 %, sd 5 %, three metrics": Condition(
                Setup(metrics=3), Situation(worse_by=0.1, beyond=True)
            ),
            "10 %, sd 7.1 %": Condition(
                Setup(), Situation(worse_by=0.1, scale=2**0.5, beyond=True)
            ),
            "10 %, Student t (3)": Condition(
                Setup(), Situation(noise="Student t (3)", worse_by=0.1, beyond=True)
            ),
            "5 %, sd 5 %": Condition(Setup(), Situation(worse_by=0.05, beyond=True)),
            "steady state: 10 %, sd 5 %": Condition(
                Setup(probation_pairs=1),
                Situation(worse_by=0.1, from_window=_CHANGE_AT, beyond=True),
            ),
            "steady state: 5 %, sd 5 %": Condition(
                Setup(probation_pairs=1),
                Situation(worse_by=0.05, from_window=_CHANGE_AT, beyond=True),
            ),
        }
    )

    def show(self, rows: Sequence[Row]) -> bool:
        lines = []
        for name, condition in self.conditions.items():
            own = of_condition(rows, name)
            if own:
                lines.append((name, *delay_cells(own, condition)))
        head = (
            "regression",
            "sessions",
            "found on probation",
            "within 200 pairs",
            "pairs (median)",
        )
        table("Regressions that are rolled back, margin 2 %", (*head, "9 of 10 within"), lines)
        note(
            f"Steady state: alarm at {_DEFAULT_MEAN_PAIRS} (a false one a year at a pair an hour); "
            f"the policy does harm from its pair {_CHANGE_AT // 2 + 1} on."
        )
        first = of_condition(rows, "10 %, sd 5 %")
        return not first or _quantile(_delays(first, 0), 0.5) <= 12


def _delays(rows: Sequence[Row], before: int) -> list[float]:
    """Pairs until the rollback, infinite without one; `before`: pairs without any harm."""
    return [row["pairs"] - before if row["rolled_back"] else float("inf") for row in rows]


def _quantile(values: Sequence[float], share_of: float) -> float:
    return sorted(values)[max(0, -int(-len(values) * share_of // 1) - 1)]


def delay_cells(rows: Sequence[Row], condition: Condition) -> tuple[str, ...]:
    """Sessions, found on probation, found at all, median delay, nine of ten."""
    steady = condition.setup.probation_pairs == 1
    delays = _delays(rows, condition.situation.from_window // 2)
    early = sum(delay <= condition.setup.probation_pairs for delay in delays)
    found = sum(delay < float("inf") for delay in delays)
    return (
        f"{len(rows)}",
        "-" if steady else share(early, len(rows), 0),
        share(found, len(rows), 0),
        *(f"{_quantile(delays, part):.0f}" for part in (0.5, 0.9)),
    )


def _under_load(*, guilty: bool) -> dict[str, Condition]:
    found = {}
    for scheme in list(SCHEMES)[1:]:
        for factor in (None, 1.3):
            told = "told" if factor else "not told"
            found[f"steps {scheme}, load {told}"] = Condition(
                Setup(load_factor=factor),
                Situation(worse_by=0.1, load=scheme, beyond=True)
                if guilty
                else Situation(load=scheme),
            )
    return found


@dataclass
class Innocent(Watches):
    """The load steps by half; the policy does nothing."""

    name: ClassVar[str] = "load-innocent"
    usual_sessions: int = 200
    conditions: Mapping[str, Condition] = field(default_factory=lambda: _under_load(guilty=False))

    def show(self, rows: Sequence[Row]) -> bool:
        return _rates(
            "Load steps of +-50 %, policy innocent: rollbacks on probation, margin 2 %",
            self.conditions,
            rows,
        )


@dataclass
class Guilty(Watches):
    """The load steps by half; the policy is 10 % worse."""

    name: ClassVar[str] = "load-guilty"
    usual_sessions: int = 60
    conditions: Mapping[str, Condition] = field(default_factory=lambda: _under_load(guilty=True))

    def show(self, rows: Sequence[Row]) -> bool:
        lines = []
        for name, condition in self.conditions.items():
            own = of_condition(rows, name)
            if own:
                lines.append((name, *delay_cells(own, condition)))
        head = ("load", "sessions", "found on probation", "within 200 pairs", "pairs (median)")
        table(
            "Load steps of +-50 %, policy 10 % worse: found, margin 2 %, sd 5 %",
            (*head, "9 of 10 within"),
            lines,
        )
        return True


QUESTIONS: tuple[Watches, ...] = (
    Delays(),
    FalseRollbacksWithMargin(),
    FalseAlarms(),
    Innocent(),
    Guilty(),
    FalseRollbacks(),
)
