"""`ktune status`: what is in force, what is pending, what runs. Must answer at once, so nothing
heavy is imported: no catalog, no YAML, no models."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from ktune.cli.common import SubParsers, print_json, say, show, state_paths, table
from ktune.errors import ExitCode
from ktune.policy import stack
from ktune.policy.stack import EntryState, StackEntry, UnreadableEntry
from ktune.proxy.recover import PendingJournal, pending
from ktune.records.codec import encode
from ktune.records.paths import StatePaths
from ktune.records.study import Study, list_studies
from ktune.records.types import StudyStatus


def add_parser(subparsers: SubParsers) -> ArgumentParser:
    """Its arguments."""
    parser = subparsers.add_parser(
        "status",
        help="policies in force, pending journals, running studies",
        description="Shows what is in force, what dead runs left behind and what runs now. "
        "Changes nothing; `ktune verify` compares with the kernel.",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def run(args: Namespace) -> int:
    """Show it."""
    paths = state_paths(args)
    entries = stack.read(paths)
    journals = pending(paths)
    running = [
        study
        for study in list_studies(paths)
        if isinstance(study, Study) and study.status is StudyStatus.RUNNING
    ]
    if args.json:
        print_json(_as_json(paths, entries, journals, running))
    else:
        _policies(entries)
        _journals(journals, paths)
        say(*(_study_line(study) for study in running))
        if not (entries or journals or running):
            say("nothing in force, nothing pending, nothing running")
    return ExitCode.OK


def _policies(entries: list[StackEntry | UnreadableEntry]) -> None:
    for entry in entries:
        if isinstance(entry, UnreadableEntry):
            say(f"UNREADABLE: {entry.path}: {entry.reason}")
            continue
        say(
            f"{_standing(entry)}: {entry.name} serial {entry.serial}, {entry.scope.text}, "
            f"since {entry.applied_at} by {entry.who}; unguarded (nothing watches it)"
        )
        say(
            *table(
                (knob.key, show(knob.original), "->", show(knob.applied)) for knob in entry.knobs
            )
        )


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
    if any(item.condition.value == "pending" for item in journals):
        say(f"  restore what is pending: {paths.command('recover')}")


def _study_line(study: Study) -> str:
    runner = study.manifest.runner
    return (
        f"running: study {study.id} ({study.manifest.profile_name}), "
        f"pid {runner.pid if runner else '?'}"
    )


def _as_json(
    paths: StatePaths,
    entries: list[StackEntry | UnreadableEntry],
    journals: list[PendingJournal],
    running: list[Study],
) -> dict[str, Any]:
    return {
        "state_dir": str(paths.state),
        "policies": [
            encode(entry) | {"standing": _standing(entry), "guarded": False}
            for entry in entries
            if isinstance(entry, StackEntry)
        ],
        "unreadable": [encode(entry) for entry in entries if isinstance(entry, UnreadableEntry)],
        "journals": [
            {"path": str(item.path), "condition": item.condition.value, "reason": item.reason}
            for item in journals
        ],
        "running": [
            {
                "study": study.id,
                "profile": study.manifest.profile_name,
                "pid": study.manifest.runner.pid if study.manifest.runner else None,
            }
            for study in running
        ],
    }
