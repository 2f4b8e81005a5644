"""Makes a policy survive reboots, and puts it in force again after one.

Only after its probation, not when the previous boot under it did not stay healthy, and never with
`ktune=off` on the kernel command line.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ktune.errors import ExitCode, KtuneError, RefusedError
from ktune.evidence.guard import GuardRule, too_few
from ktune.kernel.namespaces import boot_id
from ktune.policy import persisted, stack
from ktune.policy.apply import ApplyPlan, apply, entry_in_force, plan_apply
from ktune.policy.load import load_policy, parse_policy
from ktune.policy.model import PolicyDocument
from ktune.policy.persisted import BootRecord, PersistedPolicy
from ktune.policy.rollback import roll_back
from ktune.records import clock, history
from ktune.records.paths import StatePaths
from ktune.records.watches import read_watch, watch_id

COMMAND_LINE = Path("/proc/cmdline")
OFF = "ktune=off"


class BootOutcome(StrEnum):
    """What became of one persisted policy at boot."""

    APPLIED = "applied"
    IN_FORCE = "in_force"
    """It was applied in this boot already."""
    BLOCKED = "blocked"
    """The boot before under it did not stay healthy."""
    FAILED = "failed"
    """A check refused it, or a knob did not take its value and all were put back."""


@dataclass(frozen=True)
class BootStep:
    """One persisted policy at boot, with the exit code that it stands for."""

    name: str
    outcome: BootOutcome
    reason: str = ""
    exit_code: ExitCode = ExitCode.OK


def refuse_unproven(plan: ApplyPlan, paths: StatePaths) -> None:
    """May this policy be applied after every boot?

    Raises:
        RefusedError: it is not for the host, or has not passed its probation on this kernel.
    """
    document = plan.checked.policy.document
    if not plan.scope.is_host:
        raise RefusedError(
            "--persist is for the host: a namespace ends with the boot",
            hint="whoever makes the namespace applies the policy to it",
        )
    study = document.origin.study
    if not (paths.studies / study).is_dir():
        raise RefusedError(
            f"study {study}, which says how {document.name} is measured, is not here: "
            "nothing could watch it after a boot",
            hint="persist it with the state folder that it was tuned with",
        )
    if why := too_few(document.watch.probation_pairs, _probation(document)):
        raise RefusedError(
            f"{plan.checked.policy.mark('watch', 'probation_pairs')}: the probation of "
            f"{document.name} proves nothing: {why}",
            hint="give the profile more `watch.probation_pairs` and freeze it again",
        )
    known = persisted.find(paths, document.digest)
    if known is not None and known.kernel == os.uname().release:
        return  # passed here; that each boot begins a probation anew takes nothing from it
    watch = read_watch(paths, watch_id(document.name, document.digest, 0))
    hint = f"watch it first: {paths.command('watch', plan.checked.policy.path, '--until-settled')}"
    if watch is None:
        raise RefusedError(f"{document.name} has not been on probation here", hint=hint)
    if watch.phase == "alert_only":
        raise RefusedError(
            f"no pairs can be measured for {document.name}, so that it can't pass a probation",
            hint="apply it by hand after each boot",
        )
    if not watch.settled:
        raise RefusedError(
            f"{document.name} has not passed its probation: {watch.phase or watch.mode}, "
            f"{watch.reason}",
            hint=hint,
        )
    if watch.kernel != os.uname().release:
        raise RefusedError(
            f"{document.name} passed its probation on kernel {watch.kernel}, "
            f"this is {os.uname().release}",
            hint=hint,
        )


def _probation(document: PolicyDocument) -> GuardRule:
    """The first test of its probation: objectives, and constraints with a margin."""
    evidence = document.evidence
    goals = [item.metric for item in evidence.objectives] or [evidence.gain.metric]
    metrics = {*goals, *(item.metric for item in evidence.constraints)}
    return GuardRule(dict.fromkeys(metrics, 0.0), document.watch.alpha)


def persist(
    plan: ApplyPlan,
    paths: StatePaths,
    *,
    healthy_after_s: float = persisted.HEALTHY_AFTER_S,
    coexist: bool = False,
) -> PersistedPolicy:
    """Apply this policy after every boot from now on. A person says so: what blocked it is gone.

    Raises:
        RefusedError: see `refuse_unproven`.
        KtuneError: its file has changed since it was read.
        OSError: it could not be recorded.
    """
    refuse_unproven(plan, paths)
    document, source = plan.checked.policy.document, plan.checked.policy.path
    data = Path(source).read_bytes()
    if parse_policy(data, path=source).document.digest != document.digest:
        raise KtuneError(f"{source} was changed while it was read", hint="try again")
    earlier = persisted.find(paths, document.digest)
    item = PersistedPolicy(
        number=persisted.next_number(paths) if earlier is None else earlier.number,
        name=document.name,
        serial=document.serial,
        digest=document.digest,
        since=clock.now(),
        who=str(history.actor()),
        source=os.path.abspath(source),
        healthy_after_s=healthy_after_s,
        coexist=coexist,
        kernel=os.uname().release,
    )
    persisted.keep(paths, item, data)
    _not_under(paths, document.digest)
    return item


def boot(paths: StatePaths, *, command_line: Path = COMMAND_LINE) -> list[BootStep]:
    """Apply every persisted policy that may be, in the order in which they were persisted.

    Raises:
        RefusedError: the kernel command line says `ktune=off`.
        RecordError: the record of the last boot can't be understood: nothing is applied.
    """
    if OFF in _kernel_words(command_line.read_text(errors="replace")):
        raise RefusedError(
            f"{OFF} is on the kernel command line: nothing is applied",
            hint="boot without it, or take the policies away: ktune rollback --all",
        )
    _begin_boot(paths)
    found, problems = persisted.list_persisted(paths)
    steps = [BootStep("?", BootOutcome.FAILED, problem, ExitCode.FAILED) for problem in problems]
    return [*steps, *(_boot_one(item, paths) for item in found)]


def _kernel_words(text: str) -> list[str]:
    """What follows ` -- ` belongs to init (Documentation/admin-guide/kernel-parameters.rst)."""
    words = text.split()
    return words[: words.index("--")] if "--" in words else words


def _begin_boot(paths: StatePaths) -> None:
    """A new boot: what the last one was begun under is blocked unless that stayed healthy."""
    last = persisted.read_boot(paths)
    if last is not None and last.boot_id == boot_id():
        return
    if last is not None and not last.healthy:
        for item in persisted.list_persisted(paths)[0]:
            if item.digest in last.digests and not item.blocked:
                why = f"the boot of {last.began} under it did not stay healthy"
                persisted.write(paths, dataclasses.replace(item, blocked=why))
    if last is not None or persisted.list_persisted(paths)[0]:
        persisted.write_boot(paths, BootRecord(boot_id(), clock.now()))


def _boot_one(item: PersistedPolicy, paths: StatePaths) -> BootStep:
    if item.blocked:
        return BootStep(item.name, BootOutcome.BLOCKED, item.blocked, ExitCode.REFUSED)
    try:
        return _applied(item, paths)
    except KtuneError as error:
        return BootStep(item.name, BootOutcome.FAILED, error.message, error.exit_code)
    except OSError as error:  # the disk; the next policy may still be had
        why = f"{error.filename or paths.state}: {error.strerror}"
        return BootStep(item.name, BootOutcome.FAILED, why, ExitCode.FAILED)


def _applied(item: PersistedPolicy, paths: StatePaths) -> BootStep:
    policy = load_policy(str(persisted.policy_file(paths, item)))
    if policy.document.digest != item.digest:
        raise KtuneError(
            f"{policy.path} is not the policy that was persisted", exit_code=ExitCode.UNTRUSTED
        )
    plan = plan_apply(policy, netns=None)
    if entry_in_force(plan, paths) is not None:
        return BootStep(item.name, BootOutcome.IN_FORCE)
    for entry in stack.readable(paths):
        if entry.digest == item.digest and not entry.scope.same_boot:
            roll_back(entry, paths=paths, why="ended by the reboot", unpersist=False)
    _under(paths, item.digest)
    try:
        apply(plan, paths=paths, why="after boot", coexist=item.coexist)
    except KtuneError:
        if entry_in_force(plan, paths) is None:  # committed, it stays although its history is lost
            _not_under(paths, item.digest)
        raise
    watch = read_watch(paths, watch_id(item.name, item.digest, 0))
    kernel = os.uname().release
    known = watch is not None and watch.kernel == kernel
    said = "" if known else f"kernel {kernel} is new to it"
    return BootStep(item.name, BootOutcome.APPLIED, said)


def _under(paths: StatePaths, digest: str) -> None:
    """On disk before the first write: a boot that dies in it is known for what it was."""
    record = persisted.read_boot(paths) or BootRecord(boot_id(), clock.now())
    # A policy that comes later in the boot has its own time to stay healthy.
    fresh = dataclasses.replace(record, digests=(*record.digests, digest), healthy="", why="")
    persisted.write_boot(paths, fresh)


def _not_under(paths: StatePaths, digest: str) -> None:
    record = persisted.read_boot(paths)
    if record is not None and digest in record.digests:
        left = tuple(item for item in record.digests if item != digest)
        persisted.write_boot(paths, dataclasses.replace(record, digests=left))
