"""`ktune rollback`: takes the newest policy (or all) out of force."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ktune.cli import persisting
from ktune.cli.common import SubParsers, print_json, say, show, state_paths, table, warn
from ktune.cli.recover import report_recoveries
from ktune.errors import ExitCode, KtuneError
from ktune.policy.rollback import (
    Ending,
    KnobStep,
    RolledBack,
    clear_up,
    plan_rollback,
    roll_back,
    to_roll_back,
)
from ktune.policy.stack import StackEntry
from ktune.proxy.guardian.recovery import RecoveryOutcome
from ktune.proxy.planner import Verdict
from ktune.records.codec import encode
from ktune.records.paths import StatePaths

_SAID = {
    Ending.RESTORED: "rolled back",
    Ending.REBOOTED: "off the stack: the reboot had reset its knobs; nothing was written",
    Ending.SCOPE_GONE: "off the stack: its namespace has ended; nothing was written",
}


def add_parser(subparsers: SubParsers) -> ArgumentParser:
    """Its arguments."""
    parser = subparsers.add_parser(
        "rollback",
        help="take the newest policy (or all) out of force",
        description="Restores what was there before the newest policy. A knob that somebody else "
        "wrote meanwhile keeps its value and is reported (exit 5).",
    )
    parser.add_argument("--all", action="store_true", help="every policy, newest first")
    parser.add_argument("--dry-run", action="store_true", help="show what would be written")
    parser.add_argument("--why", default="", help="a reason, for the history")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def run(args: Namespace) -> int:
    """Roll back."""
    paths = state_paths(args)
    if args.dry_run:
        return _dry_run(to_roll_back(paths, everything=args.all), as_json=args.json)
    dead = [item for item in clear_up(paths) if item.outcome is not RecoveryOutcome.IN_USE]
    recovered = report_recoveries(dead, silent=args.json)
    entries = to_roll_back(paths, everything=args.all)
    done: list[RolledBack] = []
    try:
        for entry in entries:
            done.append(roll_back(entry, paths=paths, why=args.why))
            _tell_hooks(done[-1], args.why)
            if not args.json:
                _show(done[-1])
    finally:
        if args.json:
            print_json({"rolled_back": [encode(item) for item in done]})
        if args.all:
            _end_kept_scopes(paths)
    if args.all or not entries:
        forgotten = persisting.forget_where_nothing_is_in_force(paths, everything=args.all)
    else:
        forgotten = []
    forgotten += persisting.remove_unused_units(paths)
    if not args.json:
        say(*(["no policy is in force"] if not entries else []), *forgotten)
    foreign = any(item.foreign for item in done)
    return max(recovered, ExitCode.DRIFT if foreign else ExitCode.OK)


def _dry_run(entries: list[StackEntry], *, as_json: bool) -> int:
    plans = [(entry, plan_rollback(entry)) for entry in entries]
    if as_json:
        print_json(
            [
                {"name": entry.name, "knobs": [encode(step) for step in steps]}
                for entry, steps in plans
            ]
        )
        return ExitCode.OK
    for entry, steps in plans:
        say(f"{entry.name} serial {entry.serial}, {entry.scope.text}:")
        if not steps:
            say("  has ended already: nothing would be written")
        say(*table(_would(step) for step in steps))
    say("dry run: nothing was changed" if plans else "no policy is in force")
    return ExitCode.OK


def _would(step: KnobStep) -> tuple[str, str, str, str]:
    match step.verdict:
        case Verdict.RESTORE:
            return step.key, show(step.live), "->", show(step.original)
        case Verdict.NOTHING:
            return step.key, show(step.live), "", "as it was before: nothing to do"
        case Verdict.FOREIGN:
            return step.key, show(step.live), "", "somebody else wrote it: would be kept"
        case Verdict.GONE:
            return step.key, "-", "", "is gone"


def _show(done: RolledBack) -> None:
    say(f"{done.entry.name} serial {done.entry.serial}: {_SAID[done.ending]}")
    say(
        *table(
            (item.key, show(item.before), "->", show(item.observed))
            for item in done.report.restored
        )
    )
    say(
        *table(
            (
                item.key,
                "kept",
                show(item.found),
                f"(somebody else wrote it over {show(item.expected)})",
            )
            for item in done.foreign
        )
    )


def _tell_hooks(done: RolledBack, why: str) -> None:
    from ktune.policy.hooks import fire
    from ktune.profile.configuration import HookEvent

    about = {"policy": done.entry.name, "digest": done.entry.digest, "why": why or "by hand"}
    fire(HookEvent.ROLLED_BACK, {**about, "scope": done.entry.scope.text}, warn)


def _end_kept_scopes(paths: StatePaths) -> None:
    """`tune --keep-scope` leaves a process that holds the namespace: nothing needs it any more."""
    from ktune.measure.scope import end_kept
    from ktune.records.kept import take_all

    for kept in take_all(paths):
        try:
            end_kept(kept.pid, kept.cookie)
        except (OSError, KtuneError) as error:
            warn(f"the kept namespace of process {kept.pid} ends by itself: {error}")
