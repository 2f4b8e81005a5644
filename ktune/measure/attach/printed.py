"""Numbers that a program prints: run once for each look, with the rights of a workload."""

from __future__ import annotations

import time
from collections.abc import Iterable

from ktune.errors import RefusedError
from ktune.kernel.namespaces import NamespaceRef
from ktune.measure.attach.observe import Counted, Level, Observation
from ktune.measure.attach.specs import LiveMetric, MissingData, PrintedNumber, Reduction
from ktune.measure.job import Job, Outcome, job_fields
from ktune.measure.metrics import MetricError, extract
from ktune.measure.spawner_client import Spawner, SpawnerGone
from ktune.measure.specs import MetricSource, MetricSpec
from ktune.measure.user import Account
from ktune.measure.window import Poll

_SHOWN = 200


def look_at_programs(
    metrics: Iterable[LiveMetric],
    spawner: Spawner,
    account: Account,
    scope: NamespaceRef | None,
    poll: Poll,
) -> dict[str, Observation]:
    """By metric what its program printed; each program runs once. Raises MissingData, RefusedError
    for a program that can't be run."""
    runs: dict[tuple[tuple[str, ...], float], list[tuple[LiveMetric, PrintedNumber]]] = {}
    for metric in metrics:
        if isinstance(metric.origin, PrintedNumber):
            key = (metric.origin.argv, metric.origin.timeout_s)
            runs.setdefault(key, []).append((metric, metric.origin))
    found: dict[str, Observation] = {}
    for (argv, timeout_s), wanted in runs.items():
        started_s = time.monotonic()
        printed = _printed(_job(argv, timeout_s, account, scope), spawner, poll)
        at_s = (started_s + time.monotonic()) / 2
        for metric, origin in wanted:
            value = _number(metric, origin, printed)
            rate = metric.how is Reduction.RATE
            found[metric.name] = Counted(at_s, {"": value}) if rate else Level(at_s, value)
    return found


def _job(
    argv: tuple[str, ...], timeout_s: float, account: Account, scope: NamespaceRef | None
) -> Job:
    return Job(
        argv=argv,
        uid=account.uid if account.change else None,
        gid=account.gid if account.change else None,
        groups=account.groups,
        environment=tuple(account.environment().items()),
        netns=scope.netns if scope else "",
        userns=(scope.userns or "") if scope else "",
        timeout_s=timeout_s,
    )


def _printed(job: Job, spawner: Spawner, poll: Poll) -> str:
    program = job.argv[0]
    try:
        outcome = spawner.ask("run", poll, **job_fields(job))
    except SpawnerGone as error:
        raise MissingData(error.message) from error
    problem = _problem(outcome, job.timeout_s)
    if outcome.failed_step == "execute":
        raise RefusedError(f"{program} can't be run: {outcome.message}")
    if problem:
        raise MissingData(f"{program}: {problem}")
    return outcome.stdout


def _problem(outcome: Outcome, timeout_s: float) -> str:
    if outcome.failed_step:
        return f"{outcome.failed_step}: {outcome.message}"
    if outcome.timed_out:
        return f"no end within {timeout_s:g} s"
    if outcome.truncated:
        return "it prints too much"
    if outcome.exit_code:
        said = outcome.stderr.strip()[-_SHOWN:]
        return f"exit code {outcome.exit_code}" + (f"; it said: {said}" if said else "")
    return ""


def _number(metric: LiveMetric, origin: PrintedNumber, printed: str) -> float:
    source = MetricSource.JSON if origin.json else MetricSource.KEY_VALUE
    spec = MetricSpec(metric.name, source, origin.field)
    try:
        return extract([spec], printed, 0.0)[metric.name]
    except MetricError as error:
        raise MissingData(str(error)) from None
