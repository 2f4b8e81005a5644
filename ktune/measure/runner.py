"""The workload runner: one command, one window.

A window is: reset, settle, measure, extract; a warm-up is the command's own matter, which leaves
it out of its numbers. Whose fault a failure is decides what it
counts for: the candidate's (crash, timeout, no or implausible numbers) is a loss for it, one from
outside voids the window.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from ktune.errors import KtuneError, RefusedError
from ktune.kernel.bpf.library import BpfError
from ktune.kernel.energy import EnergyMeter, NoEnergy, counters
from ktune.kernel.namespaces import NamespaceRef
from ktune.measure.attach.helper_client import Helper
from ktune.measure.attach.specs import MissingData
from ktune.measure.fairness.limits import HostLimits, disturbance
from ktune.measure.fairness.surroundings import Around, Surroundings, between
from ktune.measure.job import NO_RESULT, Job, Outcome, job_fields
from ktune.measure.metrics import MetricError, extract
from ktune.measure.reports import complaint, helped_numbers, needs_helper, tool_numbers
from ktune.measure.sensing import NothingSensed, Sensing, group_id, number_of
from ktune.measure.services.errors import ServiceError
from ktune.measure.services.services import ServiceDied, Services
from ktune.measure.spawner_client import Spawner, SpawnerGone
from ktune.measure.specs import (
    DropPageCache,
    FlushTcpMetrics,
    MetricSource,
    MetricSpec,
    Reset,
    ResetCommand,
    ServiceStep,
    WorkloadSpec,
)
from ktune.measure.swap.limited import LimitedMemory
from ktune.measure.user import account_for
from ktune.measure.window import Poll, Validity, WindowResult

HealthCheck = Callable[[], str | None]
"""None while all is well, else why the window does not count (the link's process is gone)."""

_SLEEP_S = 0.05
_SHOWN = 300
_OUT_OF_RESOURCES = frozenset(
    {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT}
)


class CommandSource:
    """Measures one command per window (a `WindowSource`). Context manager: ends its helper.

    Raises RefusedError at construction when the workload's user can't be had.
    """

    def __init__(
        self,
        workload: WorkloadSpec,
        *,
        scope: NamespaceRef | None = None,
        health: Sequence[HealthCheck] = (),
        limits: HostLimits | None = None,
        services: Services | None = None,
        part_of_it: Sequence[str] = (),
        memory: LimitedMemory | None = None,
    ) -> None:
        self._workload = workload
        self._services = services
        self._memory = memory
        self._scope = scope
        self._health = (*health, *([memory.health] if memory else []))
        self._limits = limits or HostLimits()
        self._account = account_for(workload.user)
        if workload.realtime and os.geteuid() != 0:
            raise RefusedError(
                "only root may give a workload real-time priorities", hint="run it as root"
            )
        self._spawner = Spawner((lambda: services.group) if services else (lambda: None))
        self._around = Surroundings(group=self.group, part_of_it=part_of_it)
        self._helper = Helper(self._account, None)
        self._joules: dict[str, float] = {}
        self._sensors = {m.name: m.sensor for m in workload.metrics if m.sensor is not None}
        self._sensed: dict[str, float] = {}
        self._sensing = Sensing(number.spec for number in self._sensors.values())

    def __enter__(self) -> Self:
        """Starts the helper, which takes longer than most workloads' first words."""
        self._spawner.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def group(self) -> str | None:
        """The cgroup2 group of the workload and its services, made by this run; None where there is
        none."""
        return self._services.group if self._services else self._spawner.group()

    def begin(self) -> None:
        """Have the services up already. Raises ServiceError, BusyError, RefusedError."""
        if self._memory is not None:
            self._memory.begin(lambda: None)
        if self._services is not None:
            self._services.begin(lambda: None)

    def close(self) -> None:
        """End the helper processes, the services and whatever still runs."""
        try:
            self._spawner.close()
            self._helper.close()
            self._sensing.close()
        finally:
            try:
                if self._services is not None:
                    self._services.close()
            finally:
                if self._memory is not None:
                    self._memory.close()

    def run(self, poll: Poll) -> WindowResult:
        """Measure one window. Raises what `poll` raises, after the workload was killed, and
        ServiceError when a service does not get well any more."""
        if self._memory is not None:
            self._memory.begin(poll)
        try:
            return self._void_if_unwell() or self._beside_services(poll)
        except SpawnerGone as error:
            return _void(error.message)

    def _beside_services(self, poll: Poll) -> WindowResult:
        """A service that dies, or does not come up, under the candidate's setting fails it."""
        services = self._services
        if services is None:
            return self._run(poll)
        try:
            services.begin(poll)
            result = self._run(poll)
            # asking what was said also has each keeper look whether its server is still there
            disturbed = services.disturbance() if result.valid else ""
            why = services.dead() if result.valid else services.dead_by_now()
        except ServiceDied as died:
            result, disturbed, why = None, "", str(died)
        except ServiceError as error:
            result, disturbed, why = None, "", error.message
        if why is not None or services.full():
            services.failed(why or (result.reason if result else ""))
            return WindowResult({}, 0.0, Validity.CANDIDATE_FAILED, why or "")
        assert result is not None
        services.went_well()
        return (
            replace(result, validity=Validity.VOID, metrics={}, reason=disturbed)
            if disturbed
            else result
        )

    def _run(self, poll: Poll) -> WindowResult:
        for reset in self._workload.resets:
            if (problem := self._reset(reset, poll)) is not None:
                return _void(problem)
        _sleep(self._workload.settle_s, poll)
        before = self._around.look()
        try:
            meters = energy_meters(self._workload.metrics)
            outcome = self._measure(poll)
            self._joules = {name: meter.joules() for name, meter in meters.items()}
        except (NoEnergy, NothingSensed) as error:
            return _void(str(error))
        except BpfError as error:
            return _void(f"a sensor failed: {error.why}")
        around = between(before, self._around.look())
        result = (
            self._void_if_unwell(outcome)
            or self._void_if_unfair(outcome, around)
            or self._judge(outcome, poll)
        )
        if outcome.folder:
            self._spawner.ask("tidy", poll)
        return replace(result, environment=around.environment, others=around.others)

    def _measure(self, poll: Poll) -> Outcome:
        workload = self._workload
        job = self._job(workload.argv, workload.timeout_s, workload.bundled or "", folder=True)
        if self._services is not None:
            poll = self._services.watching(poll)
        if not self._sensors:
            return self._spawner.ask("run", poll, **job_fields(job))
        return self._measure_sensing(job, poll)

    def _measure_sensing(self, job: Job, poll: Poll) -> Outcome:
        sensing, group = self._sensing, 0
        if sensing.of_workload:
            begun = self._spawner.ask("begin", poll, **job_fields(job))
            if begun.failed_step:
                return begun
            group = group_id(begun.message)
        try:
            sensing.begin(group)
            outcome = self._spawner.ask("run", sensing.polling(poll), **job_fields(job))
        finally:
            sensing.end()
        if not (outcome.failed_step or outcome.exit_code or outcome.timed_out or outcome.stopped):
            self._sensed = {
                name: number_of(number, sensing.seen(number.spec), outcome.duration_s)
                for name, number in self._sensors.items()
            }
        return outcome

    def _reset(self, reset: Reset, poll: Poll) -> str | None:
        """Do it; the reason why it failed, if it did."""
        match reset:
            case ServiceStep():
                assert self._services is not None
                self._services.step(reset, poll)
                return None
            case FlushTcpMetrics():
                outcome = self._spawner.ask("flush_tcp_metrics", poll, **self._namespaces())
                what = "flush TCP metrics"
            case DropPageCache(paths):
                outcome = self._spawner.ask("drop_page_cache", poll, paths=list(paths))
                what = "drop the page cache"
            case ResetCommand(argv, timeout_s):
                job = self._job(argv, timeout_s, "")
                outcome = self._spawner.ask("run", poll, **job_fields(job))
                what = argv[0]
        if outcome.failed_step:
            _refuse_if_permanent(outcome, what)
            return f"reset ({what}) failed: {outcome.message}"
        if outcome.timed_out or outcome.exit_code:
            return f"reset ({what}) failed: {_ending(outcome)}{_said(outcome)}"
        return None

    def _judge(self, outcome: Outcome, poll: Poll) -> WindowResult:
        notes = _notes(outcome)

        def result(
            validity: Validity, reason: str = "", metrics: dict[str, float] | None = None
        ) -> WindowResult:
            return WindowResult(metrics or {}, outcome.duration_s, validity, reason, notes)

        if outcome.failed_step:
            _refuse_if_permanent(outcome, self._workload.bundled or self._workload.argv[0])
            return result(Validity.VOID, f"{outcome.failed_step}: {outcome.message}")
        if outcome.stopped:
            return result(Validity.VOID, "stopped")
        if outcome.timed_out:
            limit = self._workload.timeout_s
            return result(Validity.CANDIDATE_FAILED, f"no end within {limit:g} s (timeout)")
        if outcome.exit_code == NO_RESULT and self._workload.bundled:
            return result(Validity.VOID, outcome.stderr.strip()[-_SHOWN:])
        if outcome.exit_code:
            said = complaint(self._workload, outcome)
            why = f"; {said}" if said else _said(outcome)
            return result(Validity.CANDIDATE_FAILED, _ending(outcome) + why)
        try:
            metrics = self._numbers(outcome, poll)
        except MetricError as error:
            return result(Validity.CANDIDATE_FAILED, str(error) + _said(outcome))
        except MissingData as missing:
            return result(Validity.VOID, str(missing))
        return result(Validity.VALID, metrics=metrics)

    def _numbers(self, outcome: Outcome, poll: Poll) -> dict[str, float]:
        """All metrics of the window. Raises MetricError, MissingData, and what `poll` raises."""
        specs = self._workload.metrics
        others = {**self._sensed, **tool_numbers(self._workload, outcome)}
        if needs_helper(specs):
            others |= helped_numbers(specs, outcome.stdout, self._helper, poll)
        return extract(specs, outcome.stdout, outcome.duration_s, self._joules, others)

    def _void_if_unwell(self, outcome: Outcome | None = None) -> WindowResult | None:
        for check in self._health:
            if (problem := check()) is not None:
                return _void(problem, outcome)
        return None

    def _void_if_unfair(self, outcome: Outcome, around: Around) -> WindowResult | None:
        found = disturbance(around.environment, around.others, self._limits)
        if found is None:
            return None
        return replace(_void(found.reason, outcome), cause=found.cause.value)

    def _job(
        self, argv: Sequence[str], timeout_s: float, bundled: str, *, folder: bool = False
    ) -> Job:
        account, workload = self._account, self._workload
        ours = self._services.environment() if self._services else {}
        environment = {**account.environment(), **ours, **dict(workload.environment)}
        memory = self._memory if folder else None
        return Job(
            argv=tuple(argv),
            bundled=bundled,
            uid=account.uid if account.change else None,
            gid=account.gid if account.change else None,
            groups=account.groups,
            environment=tuple(environment.items()),
            timeout_s=timeout_s,
            output_limit=workload.output_limit,
            cpus=workload.cpus,
            folder=folder,
            realtime=folder and workload.realtime and account.change,
            memory_below=memory.group if memory else "",
            memory_bytes=memory.spec.memory_bytes if memory else 0,
            **self._namespaces(),
        )

    def _namespaces(self) -> dict[str, Any]:
        if self._scope is None:
            return {"netns": "", "userns": ""}
        return {"netns": self._scope.netns, "userns": self._scope.userns or ""}


def energy_meters(metrics: Iterable[MetricSpec]) -> dict[str, EnergyMeter]:
    """By name of the counter; they run from now on. Raises NoEnergy."""
    wanted = {
        metric.field
        for metric in metrics
        if metric.source in (MetricSource.ENERGY, MetricSource.POWER)
    }
    return {name: EnergyMeter(counters(name)) for name in wanted}


def _refuse_if_permanent(outcome: Outcome, what: str) -> None:
    """A step that can never succeed (no such program) ends the run; a shortage (no free process
    ids) only voids this window."""
    if outcome.errno in _OUT_OF_RESOURCES:
        return
    raise RefusedError(
        f"the workload can't run: {outcome.failed_step} {what}: {outcome.message}",
        hint="see the workload's command, user and reset steps in the profile",
        exit_code=KtuneError.exit_code,
    )


def _void(reason: str, outcome: Outcome | None = None) -> WindowResult:
    duration = outcome.duration_s if outcome else 0.0
    notes = _notes(outcome) if outcome else ()
    return WindowResult({}, duration, Validity.VOID, reason, notes)


def _notes(outcome: Outcome) -> tuple[str, ...]:
    notes = []
    if outcome.leftovers:
        names = ", ".join(f"{left.name} ({left.pid})" for left in outcome.leftovers)
        notes.append(f"left {len(outcome.leftovers)} behind, killed: {names}")
    if outcome.unkillable:
        names = ", ".join(f"{left.name} ({left.pid})" for left in outcome.unkillable)
        notes.append(f"could not kill: {names}")
    if outcome.truncated:
        notes.append("its output was longer than the limit: only the end was kept")
    return tuple(notes)


def _ending(outcome: Outcome) -> str:
    if outcome.timed_out:
        return "it did not end in time"
    if outcome.exit_code < 0:
        return f"killed by {signal.Signals(-outcome.exit_code).name}"
    return f"exit code {outcome.exit_code}"


def _said(outcome: Outcome) -> str:
    text = outcome.stderr.strip()
    return f"; it said: {text[-_SHOWN:]}" if text else ""


def _sleep(seconds: float, poll: Poll) -> None:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        poll()
        time.sleep(min(left, _SLEEP_S))
