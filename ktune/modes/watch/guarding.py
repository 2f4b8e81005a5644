"""What the pairs of a watch say so far: probation first, then the detector. Pure.

Each pair goes in by `after_pair`; what comes out is the new state and, at times, an event for the
mode machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ktune.evidence.detector import Detector, after, log_mean, started
from ktune.evidence.guard import GuardDecision, GuardRule, judge, worse_by
from ktune.evidence.pairs import Direction
from ktune.modes.machine import ContextChanged, Event, ProbationPassed, Regressed, WatchPhase

MAX_BEGINS = 1000
"""Begins beyond this have so small a share of alpha that the test could never fire."""


@dataclass(frozen=True)
class GuardSettings:
    """The promises of the watch.

    `margins`: by watched metric, the log ratio that it may be worse by.
    `load_band`: pairs whose load is off the test's load by more than this factor belong to another
    test; None: no load is watched.
    """

    margins: Mapping[str, float]
    alpha: float = 0.01
    probation_pairs: int = 30
    mean_pairs: float = 8760
    load_band: float | None = None
    directions: Mapping[str, Direction] = field(default_factory=dict)


@dataclass(frozen=True)
class Guarding:
    """Where the tests stand; written to disk after each pair.

    `draws`: tosses used so far, void pairs included. `begin`: how often the probation's test has
    begun in this context. `load`: mean log load of the pairs of this test.
    """

    phase: WatchPhase
    draws: int = 0
    begin: int = 1
    worsenings: tuple[Mapping[str, float], ...] = ()
    """Of the probation's test since its last begin."""
    counted: int = 0
    """Pairs of this probation over all begins."""
    detectors: Mapping[str, Detector] = field(default_factory=dict)
    load: float | None = None
    load_pairs: int = 0
    void: Mapping[str, int] = field(default_factory=dict)
    """Void pairs by the arm that was disturbed."""

    @property
    def steady_pairs(self) -> int:
        """Pairs of the detector since it last began."""
        return max((detector.pairs for detector in self.detectors.values()), default=0)


@dataclass(frozen=True)
class WatchedPair:
    """One measured pair: worsening by metric (log ratio, above 0 = the policy is worse), and the
    load of its baseline window where a load metric is declared."""

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
    return replace(
        begun(phase, draws=tests.draws),
        begin=min(tests.begin + 1, MAX_BEGINS) if again else 1,
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
    if changed is not None:
        return _under_another_load(tests, pair, settings, changed)
    return _counted(tests, pair, settings)


def standing(tests: Guarding, settings: GuardSettings) -> GuardDecision:
    """The probation's decision on the pairs so far."""
    rule = GuardRule(settings.margins, settings.alpha, tests.begin, settings.directions)
    return judge(tests.worsenings, rule)


def log_alarm(tests: Guarding) -> float:
    """Log of the detectors' mean over the metrics; an alarm at log(mean_pairs)."""
    return log_mean([detector.log_value for detector in tests.detectors.values()])


def _counted(
    tests: Guarding, pair: WatchedPair, settings: GuardSettings
) -> tuple[Guarding, Event | None]:
    tests = _with_load(tests, pair)
    if tests.phase is WatchPhase.PROBATION:
        return _on_probation(tests, pair, settings)
    return _in_steady_state(tests, pair, settings)


def _under_another_load(
    tests: Guarding, pair: WatchedPair, settings: GuardSettings, changed: str
) -> tuple[Guarding, Event | None]:
    """The pair that shows the change says which load the new test is about, and is no evidence:
    it may lie astride the step, and then the arm that was measured under which load decides both
    whether the change shows and which arm looks worse."""
    fresh = _with_load(restarted(tests, tests.phase), pair)
    if fresh.phase is WatchPhase.PROBATION:
        fresh, passed = _passed(replace(fresh, counted=fresh.counted + 1), settings)
        if passed is not None:
            return fresh, passed
    return fresh, ContextChanged(changed, fresh.phase)


def _on_probation(
    tests: Guarding, pair: WatchedPair, settings: GuardSettings
) -> tuple[Guarding, Event | None]:
    tests = replace(
        tests, worsenings=(*tests.worsenings, dict(pair.worsening)), counted=tests.counted + 1
    )
    decision = standing(tests, settings)
    if decision.regressed is not None:
        return tests, Regressed(decision.reason)
    return _passed(tests, settings)


def _passed(tests: Guarding, settings: GuardSettings) -> tuple[Guarding, Event | None]:
    if tests.counted < settings.probation_pairs:
        return tests, None
    steady = replace(begun(WatchPhase.STEADY, draws=tests.draws), void=tests.void)
    return steady, ProbationPassed(f"{tests.counted} pairs without a regression")


def _in_steady_state(
    tests: Guarding, pair: WatchedPair, settings: GuardSettings
) -> tuple[Guarding, Event | None]:
    """The mean of the metrics' e-detectors is one itself: M - n stays a supermartingale, so one
    threshold serves all metrics."""
    detectors = {
        metric: after(
            tests.detectors.get(metric) or started(settings.mean_pairs),
            pair.worsening[metric],
            margin,
        )
        for metric, margin in settings.margins.items()
    }
    tests = replace(tests, detectors=detectors)
    if log_alarm(tests) < math.log(settings.mean_pairs):
        return tests, None
    worst = max(detectors, key=lambda metric: detectors[metric].log_value)
    return tests, Regressed(
        f"{worst} is worse than at the baseline by more than the margin of "
        f"{_share(worst, settings):.1%}: detector {math.exp(log_alarm(tests)):.3g} "
        f"(alarm at {settings.mean_pairs:g}) after {tests.steady_pairs} pairs"
    )


def _share(metric: str, settings: GuardSettings) -> float:
    direction = settings.directions.get(metric, Direction.MAXIMIZE)
    return worse_by(settings.margins[metric], direction)


def _load_change(tests: Guarding, pair: WatchedPair, settings: GuardSettings) -> str | None:
    if settings.load_band is None or pair.load is None or tests.load is None:
        return None
    off = math.log(pair.load) - tests.load
    if abs(off) <= math.log(settings.load_band):
        return None
    return (
        f"the load is {math.exp(off):.2f} times that of the test so far "
        f"(band: a factor of {settings.load_band:g})"
    )


def _with_load(tests: Guarding, pair: WatchedPair) -> Guarding:
    if pair.load is None:
        return tests
    count = tests.load_pairs + 1
    before = tests.load or 0.0
    return replace(tests, load=before + (math.log(pair.load) - before) / count, load_pairs=count)
