"""What one watch looks after, as plain numbers: a policy in force and the profile behind it."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ktune.catalog.catalog import Catalog
from ktune.errors import RefusedError
from ktune.evidence.pairs import Direction, log_margin_of
from ktune.kernel.tunable import Assignment, Tunable
from ktune.kernel.values import Value, ValueType
from ktune.modes.events import WatchPhase
from ktune.modes.machine import Conduct, Drift
from ktune.modes.settings import goals_of
from ktune.modes.watch.guarding import GuardSettings
from ktune.policy.scope import ScopeIdentity
from ktune.profile.model import Profile
from ktune.profile.watching import WatchSettings
from ktune.proxy.model import LeaseTunable
from ktune.records.watches import watch_id


@dataclass(frozen=True)
class WatchedKnob:
    """One knob: what the policy sets, and what it goes back to."""

    tunable: Tunable
    baseline: Value
    policy: Value
    kernel_moves: bool = False

    @property
    def between(self) -> LeaseTunable:
        """For a lease that switches between the two: nobody under its guard may write anything
        else. Strings and bitmaps have no order and no list: the catalog's limits alone."""
        if self.tunable.type in (ValueType.CHOICE, ValueType.WORD, ValueType.SWITCH):
            words = tuple(dict.fromkeys(map(str, (self.baseline, self.policy))))
            return LeaseTunable(self.tunable, choices=words)
        ends = [self.baseline, self.policy]
        numbers = [end if isinstance(end, tuple) else (end,) for end in ends]
        whole = all(isinstance(number, int) for end in numbers for number in end)
        if not whole or len(numbers[0]) != len(numbers[1]):
            return LeaseTunable(self.tunable)
        low, high = (tuple(map(pick, *numbers)) for pick in (min, max))
        if self.tunable.type is ValueType.INT:
            return LeaseTunable(self.tunable, low[0], high[0])
        return LeaseTunable(self.tunable, low, high)


@dataclass(frozen=True)
class WatchedMetric:
    """A metric that must not get worse, and which way it is better."""

    name: str
    direction: Direction


@dataclass(frozen=True)
class Timing:
    """Seconds between looks, between pairs on probation, between pairs once settled."""

    interval_s: float
    probation_every_s: float
    holdback_every_s: float
    settle_s: float


@dataclass(frozen=True)
class Identity:
    """Which policy, where."""

    policy: str
    serial: int
    digest: str
    scope: ScopeIdentity

    @property
    def watch_id(self) -> str:
        return watch_id(self.policy, self.digest, self.scope.cookie)


@dataclass(frozen=True)
class WatchSpec:
    """Everything that the watcher needs to know.

    `unpaired`: knobs that take effect only on what the workload never makes anew, so that no pair
    can show their effect; where there are any, the watch only alerts.
    """

    identity: Identity
    knobs: tuple[WatchedKnob, ...]
    metrics: tuple[WatchedMetric, ...]
    guard: GuardSettings
    timing: Timing
    conduct: Conduct
    load_metric: str | None
    lock_out_s: float
    quiet_s: float
    unpaired: tuple[str, ...] = ()

    @property
    def seed(self) -> int:
        """Of the coin; the same policy in the same scope goes on with the same coin."""
        return zlib.crc32(self.identity.watch_id.encode())

    @property
    def first_phase(self) -> WatchPhase:
        return WatchPhase.ALERT_ONLY if self.unpaired else WatchPhase.PROBATION

    @property
    def baseline(self) -> Assignment:
        return {knob.tunable.key: knob.baseline for knob in self.knobs}

    @property
    def policy(self) -> Assignment:
        return {knob.tunable.key: knob.policy for knob in self.knobs}

    def worsening(
        self, baseline: Mapping[str, float], policy: Mapping[str, float]
    ) -> dict[str, float]:
        """By metric the log ratio that is above 0 when the policy is worse.

        Raises KeyError, ValueError for metrics that are missing or have no logarithm.
        """
        found = {}
        for metric in self.metrics:
            sign = -1.0 if metric.direction is Direction.MAXIMIZE else 1.0
            ratio = math.log(policy[metric.name]) - math.log(baseline[metric.name])
            found[metric.name] = sign * ratio
        return found

    def load(self, baseline: Mapping[str, float], policy: Mapping[str, float]) -> float | None:
        """Of a pair, the geometric mean of its windows; None where none is measured or there is
        none."""
        product = math.prod(arm.get(self.load_metric or "", 0.0) for arm in (baseline, policy))
        return math.sqrt(product) if product > 0 else None


def watch_spec(
    identity: Identity,
    knobs: Sequence[WatchedKnob],
    profile: Profile,
    catalog: Catalog,
    settings: WatchSettings,
    *,
    stays: bool,
) -> WatchSpec:
    """Raises RefusedError: the profile measures nothing that could be watched."""
    if profile.workload is None or not profile.objectives:
        raise RefusedError(
            f"profile {profile.name} measures nothing",
            hint="--profile names one with a workload and objectives",
        )
    if settings.load and settings.load.metric not in profile.workload.metrics:
        raise RefusedError(
            f"profile {profile.name} has no metric {settings.load.metric} to tell the load by",
            hint="watch.load.metric names a metric of the workload",
        )
    directions, margins = _metrics(profile, settings)
    return WatchSpec(
        identity=identity,
        knobs=tuple(knobs),
        metrics=tuple(WatchedMetric(name, direction) for name, direction in directions.items()),
        guard=GuardSettings(
            margins=margins,
            alpha=settings.alpha,
            probation_pairs=settings.probation_pairs,
            mean_pairs=float(settings.false_rollback_every_pairs),
            load_band=settings.load.factor if settings.load else None,
            directions=directions,
        ),
        timing=Timing(
            interval_s=settings.interval,
            probation_every_s=settings.probation_every,
            holdback_every_s=settings.holdback_every,
            settle_s=_settle_s(knobs, catalog),
        ),
        conduct=Conduct(
            max_trips=profile.safety.max_trips,
            relearn=settings.on_rollback == "relearn",
            rollback_on_missing=settings.on_missing == "rollback",
            stays_without_watcher=stays,
            # A lease never overwrites what somebody else wrote.
            drift=Drift(settings.drift) if stays else Drift.KEEP,
        ),
        load_metric=settings.load.metric if settings.load else None,
        lock_out_s=settings.lock_out,
        quiet_s=settings.quiet,
        unpaired=_unpaired(knobs, profile, catalog),
    )


def _metrics(
    profile: Profile, settings: WatchSettings
) -> tuple[dict[str, Direction], dict[str, float]]:
    """Objectives with the watch's margin, constraints with their own where they have one."""
    goals = goals_of(profile)
    directions = {goal.metric: goal.direction for goal in goals.objectives}
    margins = {
        goal.metric: log_margin_of(settings.margin, goal.direction) for goal in goals.objectives
    }
    for limit in goals.limits:
        if limit.margin is not None:
            directions[limit.metric] = limit.direction
            margins[limit.metric] = limit.margin
    return directions, margins


def _settle_s(knobs: Sequence[WatchedKnob], catalog: Catalog) -> float:
    found = [catalog.find(knob.tunable.key) for knob in knobs]
    return max((match.entry.settle_s for match in found if match is not None), default=0.0)


def _unpaired(knobs: Sequence[WatchedKnob], profile: Profile, catalog: Catalog) -> tuple[str, ...]:
    """Knobs whose effect one window can't show (the catalog's `takes_effect`)."""
    assert profile.workload is not None
    renewed = {item.value for item in profile.workload.renews} | {"now"}
    found = []
    for knob in knobs:
        match = catalog.find(knob.tunable.key)
        if match is not None and match.entry.takes_effect.value not in renewed:
            found.append(knob.tunable.key)
    return tuple(found)
