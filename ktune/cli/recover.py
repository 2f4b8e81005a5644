"""`ktune recover`: restores what runs that died left behind."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from ktune.cli.common import SubParsers, print_json, say, show, state_paths, table
from ktune.errors import ExitCode, KtuneError
from ktune.measure.swap.ground import left, undo_left, undone_text
from ktune.policy.settle import settle
from ktune.proxy.guardian.recovery import Recovery, RecoveryOutcome
from ktune.proxy.module.modes import SYSFS, end_emergency
from ktune.proxy.recover import pending
from ktune.records import history, lockouts
from ktune.records.paths import StatePaths

_FAILED = (RecoveryOutcome.INCOMPLETE, RecoveryOutcome.REFUSED)


def add_parser(subparsers: SubParsers) -> ArgumentParser:
    """Its arguments."""
    parser = subparsers.add_parser(
        "recover",
        help="restore what a dead run left behind",
        description="Restores from every journal whose guardian is gone. A journal of another "
        "boot writes nothing; one that can't be trusted is refused and reported (exit 1).",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what is pending only")
    parser.add_argument(
        "--end-emergency",
        action="store_true",
        help="after restoring: let policies be applied again before the quiet time is over",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def run(args: Namespace) -> int:
    """Recover."""
    paths = state_paths(args)
    if args.dry_run:
        return _dry_run(paths, as_json=args.json, end_emergency=args.end_emergency)
    recoveries = settle(paths)
    _record(recoveries, paths)
    if args.json:
        print_json([item.to_json() for item in recoveries])
    code = report_recoveries(recoveries, silent=args.json)
    swaps = list(undo_left(paths.state))
    if not args.json:
        say(*(undone_text(*swap) for swap in swaps))
    if any(problem for _, problem in swaps):
        code = ExitCode.FAILED
    if not recoveries and not swaps and not args.json:
        say("nothing is pending")
    if args.end_emergency and code == ExitCode.OK:
        _end_emergency(paths, silent=args.json)
    return code


def _end_emergency(paths: StatePaths, *, silent: bool) -> None:
    ended = lockouts.end_emergency(paths)
    for item in ended:
        history.record(
            paths,
            history.Action.RECOVER,
            why="the emergency is ended by hand",
            subject=item.subject,
            scope=item.where,
            changes=(),
            notes={"since": item.since, "cause": item.why},
        )
        if not silent:
            say(f"emergency in {item.where} since {item.since} ended: {item.why}")
    kernels = _end_kernels()
    if kernels and not silent:
        say("the kernel module's emergency ended")
    if not (ended or kernels or silent):
        say("there is no emergency")


def _end_kernels() -> bool:
    """The kernel module has a mode of its own."""
    try:
        return end_emergency()
    except OSError as error:
        raise KtuneError(
            f"the kernel module's emergency could not be ended: {error.strerror}",
            hint=f"as root: echo idle > {SYSFS}/mode",
        ) from error


def report_recoveries(recoveries: Sequence[Recovery], *, silent: bool) -> int:
    """Say what became of each journal; the exit code that it makes."""
    for item in () if silent else recoveries:
        say(
            f"{item.journal}: {item.outcome.value.replace('_', ' ')}"
            + (f" ({item.reason})" if item.reason else "")
        )
        if item.report is None:
            continue
        say(
            *table(
                (done.key, show(done.before), "->", show(done.observed))
                for done in item.report.restored
            )
        )
        say(*(f"  NOT restored: {failed.message}" for failed in item.report.failed))
        say(
            *(
                f"  kept: {one.key} {show(one.found)} (somebody else wrote it)"
                for one in item.report.foreign
            )
        )
    if any(item.outcome in _FAILED for item in recoveries):
        return ExitCode.FAILED
    foreign = any(item.report and item.report.foreign for item in recoveries)
    return ExitCode.DRIFT if foreign else ExitCode.OK


def _dry_run(paths: StatePaths, *, as_json: bool, end_emergency: bool) -> int:
    found = pending(paths)
    swaps = list(left(paths.state))
    if as_json:
        print_json(
            [
                {"path": str(item.path), "condition": item.condition.value, "reason": item.reason}
                for item in found
            ]
        )
    else:
        say(*(f"{item.path}: {item.condition.value}: {item.reason}" for item in found))
        say(*(f"{folder}: a dead run's swap file and memory cgroup" for folder in swaps))
        emergencies = [item for item in lockouts.read_lockouts(paths) if item.emergency]
        for item in emergencies if end_emergency else ():
            say(f"emergency in {item.where} since {item.since} would be ended: {item.why}")
        say(
            "dry run: nothing was changed"
            if found or swaps or emergencies
            else "nothing is pending"
        )
    return ExitCode.OK


def _record(recoveries: Sequence[Recovery], paths: StatePaths) -> None:
    for item in recoveries:
        if item.report is None:
            continue
        history.record(
            paths,
            history.Action.RECOVER,
            why=f"run {item.run_id} ended without restoring",
            subject=item.run_id,
            scope="",
            changes=tuple(
                history.Change(done.key, done.before, done.observed)
                for done in item.report.restored
            ),
            notes={"outcome": item.outcome.value},
        )
