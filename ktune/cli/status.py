"""`ktune status`: what is in force, what is pending, what runs. Must answer at once, so nothing
heavy is imported: no catalog, no YAML, no models."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ktune.cli.common import SubParsers, print_json, say, show, state_paths, table
from ktune.errors import ExitCode
from ktune.kernel.wording import counted
from ktune.policy import stack
from ktune.policy.guarded import guard_state
from ktune.policy.persisted import PersistedPolicy, list_persisted
from ktune.policy.stack import EntryState, StackEntry, UnreadableEntry
from ktune.proxy.journal import JournalState
from ktune.proxy.module.modes import emergency, tree_leaf
from ktune.proxy.recover import PendingJournal, pending
from ktune.records.codec import RecordError, encode
from ktune.records.lockouts import Lockout, read_lockouts
from ktune.records.paths import StatePaths
from ktune.records.services import RunningService, running_services
from ktune.records.study import Study, list_studies
from ktune.records.transitions import mode_now
from ktune.records.types import StudyStatus
from ktune.records.unfair import Unfair, unfair_of
from ktune.records.watches import WatchRecord, list_watches, watch_id


def add_parser(subparsers: SubParsers) -> ArgumentParser:
    """Its arguments."""
    parser = subparsers.add_parser(
        "status",
        help="policies in force and how they are watched, pending journals, what runs",
        description="Shows what is in force, what dead runs left behind and what runs now. "
        "Changes nothing; `ktune verify` compares with the kernel.",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def run(args: Namespace) -> int:
    """Show it."""
    paths = state_paths(args)
    watches, problems = list_watches(paths)
    persisted, unreadable = list_persisted(paths)
    try:
        lockouts = read_lockouts(paths)
    except RecordError as error:  # apply refuses; what is in force is shown all the same
        lockouts = []
        problems.append(error.message)
    found = _Found(
        entries=stack.read(paths),
        watches=watches,
        persisted=persisted,
        problems=[*problems, *unreadable],
        journals=pending(paths),
        running=[
            study
            for study in (
                *list_studies(paths),
                *list_studies(paths, under=paths.calibrations),
                *list_studies(paths, under=paths.contexts),
            )
            if isinstance(study, Study) and study.status is StudyStatus.RUNNING
        ],
        lockouts=lockouts,
        kernel_emergency=emergency(),
        services=list(running_services(paths.state)),
    )
    if args.json:
        print_json(_as_json(paths, found))
    else:
        _show(paths, found)
    return ExitCode.OK


@dataclass(frozen=True)
class _Found:
    """Everything that is shown."""

    entries: list[StackEntry | UnreadableEntry]
    watches: list[WatchRecord]
    persisted: list[PersistedPolicy]
    problems: list[str]
    journals: list[PendingJournal]
    running: list[Study]
    lockouts: list[Lockout]
    kernel_emergency: str | None
    services: list[RunningService]

    def watch_of(self, entry: StackEntry) -> WatchRecord | None:
        """The watch of a policy in force, whether its watcher lives or not."""
        name = watch_id(entry.name, entry.digest, entry.scope.cookie)
        for record in self.watches:
            if record.id == name and record.boot_id == entry.scope.boot_id:
                return record
        return None

    @property
    def leased(self) -> list[WatchRecord]:
        """Watches that hold their policy by a lease of their own."""
        return [item for item in self.watches if item.watching and item.on_death == "baseline"]


def _show(paths: StatePaths, found: _Found) -> None:
    _policies(found, paths)
    for record in found.leased:
        say(f"in force while it is watched: {record.policy} serial {record.serial}, {record.scope}")
        say(*_watch_lines(record))
    say(*map(_persisted_line, found.persisted))
    say(*(f"UNREADABLE: {text}" for text in found.problems))
    _journals(found.journals, paths)
    for study in found.running:
        say(*_study_lines(study))
    say(*map(_service_line, found.services))
    for item in found.lockouts:
        what = "EMERGENCY" if item.emergency else "locked out"
        say(f"{what}: {item.subject} in {item.where}, until {item.until}: {item.why}")
    if found.kernel_emergency is not None:
        say(*_kernel_emergency_lines(found, paths))
    if any(item.emergency for item in found.lockouts):
        say(f"  end the emergency: {paths.command('recover', '--end-emergency')}")
    if not (
        found.entries
        or found.persisted
        or found.journals
        or found.running
        or found.leased
        or found.services
        or found.lockouts
        or found.problems
        or found.kernel_emergency is not None
    ):
        say("nothing in force, nothing pending, nothing running")
    elif not (found.entries or found.leased):
        say("nothing in force")


def _kernel_emergency_lines(found: _Found, paths: StatePaths) -> Iterator[str]:
    """The module refuses leases; what was committed stays until somebody takes it back."""
    yield (
        f"EMERGENCY of the kernel module: {found.kernel_emergency}; it grants no lease; "
        f"end it: {paths.command('recover', '--end-emergency')}"
    )
    if found.entries:
        yield f"  policies that nobody watches stay in force; undo: {paths.command('rollback')}"


def _policies(found: _Found, paths: StatePaths) -> None:
    for entry in found.entries:
        if isinstance(entry, UnreadableEntry):
            say(f"UNREADABLE: {entry.path}: {entry.reason}")
            continue
        record = found.watch_of(entry)
        guarded = record is not None and record.watching
        say(
            f"{_standing(entry)}: {entry.name} serial {entry.serial}, {entry.scope.text}, "
            f"since {entry.applied_at} by {entry.who}; "
            + ("watched" if guarded else "unguarded (nothing watches it)")
        )
        say(
            *table(
                (knob.key, show(knob.original), "->", show(knob.applied)) for knob in entry.knobs
            )
        )
        say(*_guard_lines(entry, paths))
        if record is not None:
            say(*_watch_lines(record))


def _guard_lines(entry: StackEntry, paths: StatePaths) -> Iterator[str]:
    """Who guards its knobs in the kernel, and what that has seen."""
    if _standing(entry) == "in force":
        state = guard_state(entry, paths)
        yield f"  guard: {state.text}"
        yield from (f"    {line}" for line in state.lines)


def _watch_lines(record: WatchRecord) -> Iterator[str]:
    """Mode, since when, why, the evidence so far."""
    phase = f" ({record.phase})" if record.phase else ""
    who = f"watched by pid {record.runner.pid}" if record.watching and record.runner else "watched"
    if not record.watching:
        who = "last watched"
    state = "paused, " if record.paused else ""
    yield f"  {who}: {state}{record.mode}{phase} since {record.since}: {record.reason}"
    if record.leaf:
        switches = f"switched {counted(record.switches, 'time')} so far"
        yield f"  adapts: {record.leaf} since {record.leaf_since}, {switches}"
        if record.decided_by:
            yield f"  decided by: {record.decided_by}{_kernel_leaf(record)}"
    yield from (f"  {line}" for line in record.evidence)
    if record.watched_s > 0:
        share = record.baseline_s / record.watched_s
        yield f"  {counted(record.pairs, 'pair')} so far, {share:.1%} of the time on the baseline"
    if record.alerts:
        last = record.alerts[-1]
        yield f"  last alert, {last.at}: {last.text}"


def _kernel_leaf(record: WatchRecord) -> str:
    """What the kernel has chosen since the watch looked."""
    leaf = tree_leaf() if record.watching and record.decided_by == "kernel" else None
    known = leaf is not None and leaf < len(record.leaves)
    return f" (now: {record.leaves[leaf]})" if known and leaf is not None else ""


def _persisted_line(item: PersistedPolicy) -> str:
    name = f"{item.name} serial {item.serial}"
    if item.blocked:
        return f"persisted, but BLOCKED: {name}: {item.blocked}"
    return f"persisted: {name} is applied after every boot, since {item.since} by {item.who}"


def _standing(entry: StackEntry) -> str:
    if not entry.scope.same_boot:
        return "ended by the reboot"
    if not entry.scope.alive():
        return "ended with its namespace"
    return "being applied" if entry.state is EntryState.PENDING else "in force"


def _journals(journals: list[PendingJournal], paths: StatePaths) -> None:
    for item in journals:
        word = {"active": "lease at work", "pending": "PENDING", "refused": "REFUSED"}
        say(f"{word.get(item.condition.value, 'old journal')}: {item.path}: {item.reason}")
        if item.state is not None and item.condition.value == "active":
            say(f"  writes go by {item.state.standing.text}")
            say(f"  switched by {_switched_by(item.state)}")
    if any(item.condition.value == "pending" for item in journals):
        say(f"  restore what is pending: {paths.command('recover')}")


def _switched_by(state: JournalState) -> str:
    if not state.scheduled:
        return "ktune"
    return f"the kernel, by a schedule of {counted(state.scheduled, 'pair')}"


def _study_lines(study: Study) -> Iterator[str]:
    runner = study.manifest.runner
    yield (
        f"running: {_kind(study)} {study.id} ({study.manifest.profile_name}), "
        f"pid {runner.pid if runner else '?'}"
    )
    now = mode_now(study.folder)
    if now is not None:
        yield f"  {now.mode} since {now.since}: {now.reason}"
    found = _unfair(study)
    if found is not None and found.void:
        yield f"  {found.text}"
        if found.many:
            yield f"  {found.advice}"


def _unfair(study: Study) -> Unfair | None:
    """Windows that do not count; None: its records can't be read, which `report` explains."""
    try:
        return unfair_of(study.windows().records)
    except RecordError:
        return None


def _service_line(item: RunningService) -> str:
    where = f"{item.socket}" + (f", port {item.port}" if item.port else "")
    text = f"service {item.name} of {item.profile} ({item.kind} {item.version}, {where})"
    if item.held:
        return f"{text}: runs since {item.since}, started by pid {item.pid}"
    return f"{text}: ended with its run; the next one removes its data"


def _as_json(paths: StatePaths, found: _Found) -> dict[str, Any]:
    return {
        "state_dir": str(paths.state),
        "policies": [
            encode(entry)
            | {
                "standing": _standing(entry),
                "guarded": _guarded(entry, found),
                "guard_state": _guard_json(entry, paths),
            }
            for entry in found.entries
            if isinstance(entry, StackEntry)
        ],
        "persisted": [encode(item) for item in found.persisted],
        "watches": [encode(record) | {"watching": record.watching} for record in found.watches],
        "kernel_emergency": found.kernel_emergency,
        "services": [encode(item) for item in found.services],
        "lockouts": [encode(item) | {"emergency": item.emergency} for item in found.lockouts],
        "unreadable": [
            *(encode(entry) for entry in found.entries if isinstance(entry, UnreadableEntry)),
            *({"path": "", "reason": text} for text in found.problems),
        ],
        "journals": [
            {
                "path": str(item.path),
                "condition": item.condition.value,
                "reason": item.reason,
                "proxy": None if item.state is None else item.state.standing.to_json(),
                "scheduled_pairs": 0 if item.state is None else item.state.scheduled,
            }
            for item in found.journals
        ],
        "running": [_study_json(study) for study in found.running],
    }


def _guard_json(entry: StackEntry, paths: StatePaths) -> dict[str, Any]:
    state = guard_state(entry, paths)
    return {**encode(state), "unlock": state.unlock}


def _guarded(entry: StackEntry, found: _Found) -> bool:
    record = found.watch_of(entry)
    return record is not None and record.watching


def _kind(study: Study) -> str:
    if study.adapts:
        return "contexts"
    return "calibration" if study.calibrates else "study"


def _study_json(study: Study) -> dict[str, Any]:
    now, found = mode_now(study.folder), _unfair(study)
    return {
        _kind(study): study.id,
        "profile": study.manifest.profile_name,
        "pid": study.manifest.runner.pid if study.manifest.runner else None,
        "mode": encode(now) if now is not None else None,
        "disturbed": None if found is None else found.to_json(),
    }
