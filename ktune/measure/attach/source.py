"""A window over a service that runs: sample, wait, sample again; then the numbers.

What can't be had (service or source gone, frozen, restarted, an answer that never comes) voids the
window with its reason: missing data is no number and no loss. A number outside its plausible range
is the candidate's, as with any workload.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from ktune.errors import RefusedError
from ktune.kernel.bpf.library import BpfError
from ktune.kernel.energy import EnergyMeter, NoEnergy, counters
from ktune.kernel.namespaces import NamespaceRef
from ktune.measure.attach.helper_client import Helper
from ktune.measure.attach.logs import LogTail, look_at_log
from ktune.measure.attach.observe import Counted, Logged, Observation, Sensed, reduced, sensed
from ktune.measure.attach.pages import look_at_pages
from ktune.measure.attach.printed import look_at_programs
from ktune.measure.attach.probes import look_at_kernel
from ktune.measure.attach.specs import (
    AttachSpec,
    Energy,
    LiveMetric,
    LogLines,
    MissingData,
    PrintedNumber,
    PrometheusSeries,
    Ratio,
)
from ktune.measure.attach.target import ServiceProcess, Target
from ktune.measure.fairness.limits import HostLimits, disturbance
from ktune.measure.fairness.surroundings import Look, Surroundings, between
from ktune.measure.metrics import MetricError, refuse_implausible
from ktune.measure.sensing import Sensing, SensorNumber, group_id
from ktune.measure.spawner_client import Spawner
from ktune.measure.user import account_for
from ktune.measure.window import Poll, Validity, WindowResult

_SLEEP_S = 0.05
_SUSPEND_S = 0.5
_AWAY_S = 1.0


@dataclass(frozen=True)
class Readings:
    """The metrics over the latest sampling interval. `at_s`: CLOCK_MONOTONIC; what could not be
    had is left out."""

    at_s: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)


class AttachSource:
    """Watches one service (a `WindowSource`). Context manager: ends its helpers.

    `latest` holds what the latest interval of the window under way showed: guardrails look at it in
    their `poll`.
    """

    def __init__(
        self,
        spec: AttachSpec,
        *,
        scope: NamespaceRef | None = None,
        limits: HostLimits | None = None,
        part_of_it: Sequence[str] = (),
    ) -> None:
        """Raises RefusedError when the service does not run, or the user can't be had."""
        self._spec = spec
        self._scope = scope
        self._limits = limits or HostLimits()
        self._account = account_for(spec.user)
        self._target = Target(spec.target)
        self._around = Surroundings(group=self._own_group, more=self._pids, part_of_it=part_of_it)
        self._helper = Helper(self._account, scope)
        self._spawner = Spawner()
        self._tails = {
            metric.origin.path: LogTail(metric.origin.path)
            for metric in spec.metrics
            if isinstance(metric.origin, LogLines)
        }
        self.latest = Readings()
        self._between: _Window | None = None
        self._in_window = False
        self._meters: dict[Energy, EnergyMeter] = {}
        try:
            oldest = self._target.look()[0]
        except MissingData as missing:
            raise RefusedError(
                f"nothing to attach to: {missing}", hint="start the service first"
            ) from None
        if scope is not None and not _lives_in(oldest, scope):
            raise RefusedError(
                f"{spec.target} (pid {oldest.pid}) lives in another network namespace than "
                f"{scope.netns}: what is tuned there does not reach it",
                hint=f"scope: {{netns: /proc/{oldest.pid}/ns/net}} is its own",
            )
        self._sensing = Sensing(
            metric.origin.spec for metric in spec.metrics if isinstance(metric.origin, SensorNumber)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the helpers; the service is none of them."""
        self._helper.close()
        self._spawner.close()
        self._sensing.close()
        for tail in self._tails.values():
            tail.close()

    def run(self, poll: Poll) -> WindowResult:
        """Watch one window. Raises what `poll` raises, and RefusedError for a metric that this
        service never will have."""
        self.latest, self._between = Readings(), None
        self._in_window = True
        try:
            return self._run(poll)
        finally:
            self._in_window = False

    def _run(self, poll: Poll) -> WindowResult:
        if any(isinstance(m.origin, PrometheusSeries | LogLines) for m in self._spec.metrics):
            self._helper.start(poll)
        _sleep_until(time.monotonic() + self._spec.settle_s, poll)
        before = self._around.look()
        window = _Window(started_s=time.monotonic(), suspended_s=_suspended_s())
        try:
            self._watch_sensing(window, poll)
            metrics = self._reduce(window)
        except MissingData as missing:
            # a service that is away must not be asked as fast as the machine can
            _sleep_until(time.monotonic() + min(_AWAY_S, self._spec.for_s), poll)
            return self._ended(window, before, Validity.VOID, str(missing))
        except MetricError as error:
            return self._ended(window, before, Validity.CANDIDATE_FAILED, str(error))
        return self._ended(window, before, Validity.VALID, "", metrics)

    def look(self) -> Readings:
        """The metrics since the look before, outside of windows; takes a sample where the last one
        is older than the sampling interval. Without metrics where they can't be had."""
        now_s = time.monotonic()
        if self._in_window:
            return self.latest
        if self._between is None:
            self._between = _Window(started_s=now_s, suspended_s=_suspended_s())
        elif now_s - self._between.started_s < self._spec.every_s:
            return self.latest
        window = self._between
        try:
            if not window.looks:
                self._begin(window)
            window.started_s = now_s
            self._sample(window, _no_poll)
            self.latest = self._over_the_latest(window)
            window.looks = {name: looks[-1:] for name, looks in window.looks.items()}
        except MissingData:
            self._between, self.latest = None, Readings()
        return self.latest

    def _begin(self, window: _Window) -> None:
        for tail in self._tails.values():
            tail.start()
        window.main = self._target.look()[0]

    def _watch_sensing(self, window: _Window, poll: Poll) -> None:
        """Sensors are attached within windows alone, so a look between them has none."""
        try:
            group = 0
            if self._sensing.of_workload:
                group = group_id(self._target.unified_folder())
            self._sensing.begin(group)
            try:
                self._watch(window, self._sensing.polling(poll))
            finally:
                self._sensing.end()
        except BpfError as error:
            raise MissingData(f"a sensor failed: {error.why}") from error

    def _watch(self, window: _Window, poll: Poll) -> None:
        spec = self._spec
        self._begin(window)
        self._sample(window, poll)
        next_s = time.monotonic()
        end_s = next_s + spec.for_s
        while time.monotonic() < end_s:
            next_s = max(next_s + spec.every_s, time.monotonic())
            # no stump of an interval before the last sample
            _sleep_until(end_s if next_s + spec.every_s / 2 > end_s else next_s, poll)
            self._sample(window, poll)
            self.latest = self._over_the_latest(window)
            poll()
        for tail in self._tails.values():
            if tail.vanished():
                raise MissingData(f"{tail.path} is gone")

    def _sample(self, window: _Window, poll: Poll) -> None:
        if _suspended_s() - window.suspended_s > _SUSPEND_S:
            raise MissingData("the machine slept in the middle of the window")
        processes = self._target.look()
        if processes[0] != window.main:
            raise MissingData(f"{self._spec.target} was restarted in the window")
        lines = {path: tail.lines() for path, tail in self._tails.items()}
        metrics = self._spec.metrics
        found: dict[str, Observation] = {}
        for metric in metrics:
            if isinstance(metric.origin, LogLines):
                new = lines[metric.origin.path]
                found[metric.name] = look_at_log(metric.origin, new, self._helper, poll)
            elif isinstance(metric.origin, Energy):
                found[metric.name] = self._look_at_energy(metric.origin)
            elif isinstance(metric.origin, SensorNumber):
                if self._in_window:
                    seen = self._sensing.seen(metric.origin.spec)
                    found[metric.name] = Sensed(time.monotonic(), seen)
            elif not isinstance(metric.origin, PrometheusSeries | PrintedNumber | Ratio):
                found[metric.name] = look_at_kernel(metric, self._target, processes)
                poll()
        found |= look_at_pages(metrics, self._helper, poll)
        found |= look_at_programs(metrics, self._spawner, self._account, self._scope, poll)
        for name, observation in found.items():
            window.looks.setdefault(name, []).append(observation)

    def _look_at_energy(self, origin: Energy) -> Counted:
        try:
            if origin not in self._meters:
                self._meters[origin] = EnergyMeter(counters(origin.counter))
            joules = self._meters[origin].joules()
        except NoEnergy as error:
            raise MissingData(str(error)) from error
        return Counted(time.monotonic(), {"": joules})

    def _reduce(self, window: _Window) -> dict[str, float]:
        found = {
            metric.name: _believed(metric, window.looks[metric.name])
            for metric in self._spec.metrics
            if not isinstance(metric.origin, Ratio)
        }
        for metric in self._spec.metrics:
            if isinstance(metric.origin, Ratio):
                found[metric.name] = _plausible(metric, _ratio(metric.origin, found))
        return found

    def _over_the_latest(self, window: _Window) -> Readings:
        metrics: dict[str, float] = {}
        for metric in sorted(self._spec.metrics, key=lambda item: isinstance(item.origin, Ratio)):
            try:
                metrics[metric.name] = (
                    _ratio(metric.origin, metrics)
                    if isinstance(metric.origin, Ratio)
                    else _reduced(metric, window.looks.get(metric.name, [])[-2:])
                )
            except (MissingData, MetricError):
                continue  # nothing to go by: no guardrail is crossed by it
        return Readings(time.monotonic(), metrics)

    def _ended(
        self,
        window: _Window,
        before: Look,
        validity: Validity,
        reason: str,
        metrics: Mapping[str, float] | None = None,
    ) -> WindowResult:
        around = between(before, self._around.look())
        duration_s = time.monotonic() - window.started_s
        found = disturbance(around.environment, around.others, self._limits)
        cause = ""
        if validity is not Validity.VOID and found is not None:
            validity, metrics, reason = Validity.VOID, None, found.reason
            cause = found.cause.value
        return WindowResult(
            metrics or {},
            duration_s,
            validity,
            reason,
            environment=around.environment,
            others=around.others,
            cause=cause,
        )

    def _own_group(self) -> str | None:
        """The service's cgroup, where it has one of its own."""
        try:
            return self._target.unified_folder()
        except MissingData:
            return None

    def _pids(self) -> tuple[int, ...]:
        """The service's processes; none while it is away."""
        try:
            return tuple(process.pid for process in self._target.look())
        except MissingData:
            return ()


@dataclass
class _Window:
    """One window under way: the looks by metric, the service's oldest process."""

    started_s: float
    suspended_s: float
    main: ServiceProcess | None = None
    looks: dict[str, list[Observation]] = field(default_factory=dict)


def _believed(metric: LiveMetric, looks: list[Observation]) -> float:
    """The number of a window. Raises MissingData, MetricError."""
    try:
        value = _reduced(metric, looks)
    except MissingData as missing:
        raise MissingData(f"metric {metric.name}: {missing}") from None
    except MetricError as error:
        raise MetricError(f"metric {metric.name}: {error}") from None
    if value == 0 and metric.plausible[0] > 0 and isinstance(looks[-1], Counted | Logged):
        raise MissingData(
            f"metric {metric.name} did not move: its source is frozen, or nobody uses the service"
        )
    return _plausible(metric, value)


def _ratio(origin: Ratio, found: Mapping[str, float]) -> float:
    if origin.of not in found or origin.per not in found:
        raise MissingData(f"{origin.of} by {origin.per}: one of them is missing")
    if found[origin.per] == 0:
        raise MissingData(f"{origin.of} by {origin.per}: {origin.per} is 0")
    return found[origin.of] / found[origin.per]


def _plausible(metric: LiveMetric, value: float) -> float:
    refuse_implausible(metric.name, value, metric.plausible, metric.unit)
    return value


def _reduced(metric: LiveMetric, looks: list[Observation]) -> float:
    origin = metric.origin
    if isinstance(origin, SensorNumber):
        return sensed(origin, looks)
    quantile = origin.quantile if isinstance(origin, PrometheusSeries) else None
    return reduced(looks, metric.how, quantile)


def _lives_in(process: ServiceProcess, scope: NamespaceRef) -> bool:
    """Whether the process has the scope's network namespace. A namespace file's inode is compared
    while both live, so it can't have been used again."""
    try:
        own, wanted = os.stat(f"/proc/{process.pid}/ns/net"), os.stat(scope.netns)
    except OSError:
        return False
    return (own.st_dev, own.st_ino) == (wanted.st_dev, wanted.st_ino)


def _no_poll() -> None:
    """Outside of windows nobody waits."""


def _suspended_s() -> float:
    """Time that the machine has slept since boot (clock_gettime(2): BOOTTIME counts it)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()


def _sleep_until(until_s: float, poll: Poll) -> None:
    while (left_s := until_s - time.monotonic()) > 0:
        poll()
        time.sleep(min(left_s, _SLEEP_S))
