"""`ktune history`: who changed what, when, why, before, after, and how to undo it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ktune.cli.common import (
    SubParsers,
    print_json,
    say,
    show,
    state_paths,
    table,
    warn,
    whole_number,
)
from ktune.errors import ExitCode
from ktune.records import history
from ktune.records.codec import encode


def add_parser(subparsers: SubParsers) -> ArgumentParser:
    """Its arguments."""
    parser = subparsers.add_parser(
        "history",
        help="who changed what, when, why, and how to undo it",
        description="Every change that ktune left in force or took back, oldest first.",
    )
    parser.add_argument("-n", "--last", type=whole_number(1), metavar="N", help="the last N only")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def run(args: Namespace) -> int:
    """Show it."""
    log = history.read(state_paths(args))
    entries = log.entries[-args.last :] if args.last else log.entries
    if args.json:
        print_json([encode(entry) for entry in entries])
    else:
        for entry in entries:
            _show(entry)
        if not entries:
            say("nothing was changed yet")
    if log.damaged:
        warn(f"{log.damaged} damaged lines of the history were left out")
    return ExitCode.OK


def _show(entry: history.HistoryEntry) -> None:
    scope = f" in {entry.scope}" if entry.scope else ""
    say(f"{entry.at}  {entry.what.value} {entry.subject}{scope}, by {entry.who}: {entry.why}")
    say(*table((item.key, show(item.before), "->", show(item.after)) for item in entry.changes))
    say(*(f"  {key}: {text}" for key, text in entry.notes.items() if key.startswith("kept ")))
    if entry.undo:
        say(f"  undo: {entry.undo}")
