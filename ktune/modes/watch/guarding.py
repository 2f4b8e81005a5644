"""What the pairs of a watch say so far: probation first, then the detector. Pure.

Each pair goes in by `after_pair`; what comes out is the new state and, at times, an event for the
mode machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ktune.evidence.detector import Detector, after, log_mean, started
from ktune.evidence.guard import (
    GuardDecision,
    GuardRule,
    judge,
    least_pairs,
    too_few,
    worse_by,
)
from ktune.evidence.pairs import Direction
from ktune.kernel.wording import counted
from ktune.modes.events import ContextChanged, Event, ProbationPassed, Regressed, WatchPhase

MAX_BEGINS = 1000
"""Begins beyond this have so small a share of alpha that the test could never fire."""
_RESTING = 8
"""So many tests wait for their load to return."""


@dataclass(frozen=True)
class GuardSettings:
    """The promises of the watch.

    `margins`: by watched metric, the log ratio that it may be worse by.
    `load_band`: pairs whose load is off the test's load by more than this factor belong to another
    test, which goes on when that load returns; None: no load is watched.
    """

    margins: Mapping[str, float]
    alpha: float = 0.01
    probation_pairs: int = 30
    mean_pairs: float = 8760
    load_band: float | None = None
    directions: Mapping[str, Direction] = field(default_factory=dict)


@dataclass(frozen=True)
class LoadTest:
    """The test of one load. `load`: mean log load of its pairs. `begin`: its number in this
    probation, which sets its share of alpha. `worsenings`: of its pairs on probation."""

    begin: int = 1
    worsenings: tuple[Mapping[str, float], ...] = ()
    detectors: Mapping[str, Detector] = field(default_factory=dict)
    load: float | None = None
    load_pairs: int = 0


@dataclass(frozen=True)
class Guarding:
    """Where the tests stand; written to disk after each pair.

    `draws`: tosses used so far, void pairs included. `begins`: tests begun in this probation.
    `now`: the test of the present load. `resting`: those of other loads, the latest one last.
    """

    phase: WatchPhase
    draws: int = 0
    begins: int = 1
    counted: int = 0
    """Pairs of this probation over all its tests."""
    now: LoadTest = field(default_factory=LoadTest)
    resting: tuple[LoadTest, ...] = ()
    void: Mapping[str, int] = field(default_factory=dict)
    """Void pairs by the arm that was disturbed."""

    @property
    def steady_pairs(self) -> int:
        """Pairs of the present load's detector since it began."""
        return max((detector.pairs for detector in self.now.detectors.values()), default=0)


@dataclass(frozen=True)
class WatchedPair:
    """One measured pair: worsening by metric (log ratio, above 0 = the policy is worse), and its
    load where a load metric is declared.

    The load is that of both windows alike. Were it the baseline's alone, a pair astride a step of
    the load would go to one test or the other as the coin fell, and each would see but one sign.
    """

    worsening: Mapping[str, float]
    load: float | None = None


def begun(phase: WatchPhase, *, draws: int = 0) -> Guarding:
    """Nothing measured yet. Tosses are never used twice, so their number goes on."""
    return Guarding(phase, draws=draws)


def restarted(tests: Guarding, phase: WatchPhase) -> Guarding:
    """The context changed: earlier pairs belong to another situation.

    A probation that begins again within the same probation gets the next, smaller share of alpha;
    a detector may begin anew at any time for free.
    """
    again = tests.phase is WatchPhase.PROBATION and phase is WatchPhase.PROBATION
    begins = min(tests.begins + 1, MAX_BEGINS) if again else 1
    return replace(
        begun(phase, draws=tests.draws),
        begins=begins,
        now=LoadTest(begins),
        counted=tests.counted if again else 0,
        void=tests.void,
    )


def voided(tests: Guarding, arm: str) -> Guarding:
    """A void pair: not counted, its toss is used up."""
    counts = {**tests.void, arm: tests.void.get(arm, 0) + 1}
    return replace(tests, draws=tests.draws + 1, void=counts)


def after_pair(
    tests: Guarding, pair: WatchedPair, settings: GuardSettings
) -> tuple[Guarding, Event | None]:
    """The state after one more measured pair, and what it means."""
    tests = replace(tests, draws=tests.draws + 1)
    changed = _load_change(tests, pair, settings)
    if changed is None:
        return _counted(tests, pair, settings)
    tests, event = _counted(_moved(tests, pair, settings), pair, settings)
    return tests, event or ContextChanged(changed, tests.phase)


def standing(tests: Guarding, settings: GuardSettings) -> GuardDecision:
    """The probation's decision on the pairs so far."""
    return judge(tests.now.worsenings, _rule(tests.now, settings))


def unshown(tests: Guarding, settings: GuardSettings) -> bool:
    """Whether no single test has had the pairs that it takes to find the policy guilty (at most a
    whole probation). Tests that are always begun anew can't, however many pairs there were."""
    return all(
        len(test.worsenings) < min(settings.probation_pairs, least_pairs(_rule(test, settings)))
        for test in (tests.now, *tests.resting)
    )


def too_short(settings: GuardSettings) -> str:
    """Why the probation could not find anything; empty where it could."""
    return too_few(settings.probation_pairs, _rule(LoadTest(1), settings))


def _rule(test: LoadTest, settings: GuardSettings) -> GuardRule:
    return GuardRule(settings.margins, settings.alpha, test.begin, settings.directions)


def log_alarm(tests: Guarding) -> float:
    """Log of the detectors' mean over the metrics; an alarm at log(mean_pairs).

    The sum over the loads is an e-detector too (each pair adds to one of them), so that one
    threshold keeps the mean time for all of them together.
    """
    return log_mean([detector.log_value for detector in tests.now.detectors.values()])


def _counted(
    tests: Guarding, pair: WatchedPair, settings: GuardSettings
) -> tuple[Guarding, Event | None]:
    tests = _with_load(tests, pair)
    if tests.phase is WatchPhase.PROBATION:
        return _on_probation(tests, pair, settings)
    return _in_steady_state(tests, pair, settings)


def _moved(tests: Guarding, pair: WatchedPair, settings: GuardSettings) -> Guarding:
    """To the test of the pair's load: the one that rested, or a new one. A probation's new test
    gets the next share of alpha, as after any other change."""
    resting = [*tests.resting, tests.now]
    known = [test for test in resting if not _off(test, pair, settings)]
    if not known:
        return replace(
            restarted(tests, tests.phase),
            resting=tuple(resting[-_RESTING:]),
        )
    now = known[-1]
    return replace(tests, now=now, resting=tuple(test for test in resting if test is not now))


def _on_probation(
    tests: Guarding, pair: WatchedPair, settings: GuardSettings
) -> tuple[Guarding, Event | None]:
    worsenings = (*tests.now.worsenings, dict(pair.worsening))
    tests = replace(tests, now=replace(tests.now, worsenings=worsenings), counted=tests.counted + 1)
    decision = standing(tests, settings)
    if decision.regressed is not None:
        return tests, Regressed(decision.reason)
    if tests.counted >= settings.probation_pairs and not unshown(tests, settings):
        passed = begun(WatchPhase.STEADY, draws=tests.draws)
        return replace(passed, void=tests.void), ProbationPassed(
            f"{counted(tests.counted, 'pair')} without a regression"
        )
    return tests, None


def _in_steady_state(
    tests: Guarding, pair: WatchedPair, settings: GuardSettings
) -> tuple[Guarding, Event | None]:
    """The mean of the metrics' e-detectors is one itself: M - n stays a supermartingale, so one
    threshold serves all metrics."""
    detectors = {
        metric: after(
            tests.now.detectors.get(metric) or started(settings.mean_pairs),
            pair.worsening[metric],
            margin,
        )
        for metric, margin in settings.margins.items()
    }
    tests = replace(tests, now=replace(tests.now, detectors=detectors))
    if log_alarm(tests) < math.log(settings.mean_pairs):
        return tests, None
    worst = max(detectors, key=lambda metric: detectors[metric].log_value)
    return tests, Regressed(
        f"{worst} is worse than at the baseline by more than the margin of "
        f"{_share(worst, settings):.1%}: detector {math.exp(log_alarm(tests)):.3g} "
        f"(alarm at {settings.mean_pairs:g}) after {counted(tests.steady_pairs, 'pair')}"
    )


def _share(metric: str, settings: GuardSettings) -> float:
    direction = settings.directions.get(metric, Direction.MAXIMIZE)
    return worse_by(settings.margins[metric], direction)


def _load_change(tests: Guarding, pair: WatchedPair, settings: GuardSettings) -> str | None:
    off = _off(tests.now, pair, settings)
    if not off:
        return None
    return (
        f"the load is {math.exp(off):.2f} times that of the test so far "
        f"(band: a factor of {settings.load_band:g}): another test"
    )


def _off(test: LoadTest, pair: WatchedPair, settings: GuardSettings) -> float:
    """Log of the factor by which a pair's load is off the test's; 0 within the band."""
    if settings.load_band is None or pair.load is None or test.load is None:
        return 0.0
    off = math.log(pair.load) - test.load
    return off if abs(off) > math.log(settings.load_band) else 0.0


def _with_load(tests: Guarding, pair: WatchedPair) -> Guarding:
    if pair.load is None:
        return tests
    count = tests.now.load_pairs + 1
    before = tests.now.load or 0.0
    load = before + (math.log(pair.load) - before) / count
    return replace(tests, now=replace(tests.now, load=load, load_pairs=count))
