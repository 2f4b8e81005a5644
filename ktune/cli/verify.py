"""`ktune verify`: the policies in force against the kernel, knob by knob."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ktune.cli.common import SubParsers, print_json, say, show, state_paths, table
from ktune.errors import ExitCode
from ktune.kernel.wording import counted
from ktune.policy import stack
from ktune.policy.stack import UnreadableEntry
from ktune.policy.verify import EntryCheck, Standing, verify
from ktune.records.codec import encode

_SAID = {
    Standing.IN_FORCE: "as applied",
    Standing.DRIFTED: "DRIFTED",
    Standing.COVERED: "other values for now, by a lease at work (`ktune status`): ask again",
    Standing.PENDING: "not committed: its apply died or is at work (`ktune recover`)",
    Standing.REBOOTED: "no longer in force: the reboot has reset its knobs (`ktune rollback`)",
    Standing.SCOPE_GONE: "no longer in force: its namespace has ended (`ktune rollback`)",
}


def add_parser(subparsers: SubParsers) -> ArgumentParser:
    """Its arguments."""
    parser = subparsers.add_parser(
        "verify",
        help="compare the kernel with the policies in force",
        description="Reads every knob of every policy in force; exit 5 when one differs, or when "
        "a policy has ended with a reboot or with its namespace; exit 6 when a lease at work (a "
        "pair of its watch, a run) has other values in force for now.",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def run(args: Namespace) -> int:
    """Compare."""
    paths = state_paths(args)
    found = stack.read(paths)
    unreadable = [entry for entry in found if isinstance(entry, UnreadableEntry)]
    readable = [entry for entry in found if not isinstance(entry, UnreadableEntry)]
    checks = verify(readable, paths)
    good = all(check.standing is Standing.IN_FORCE for check in checks)
    if args.json:
        print_json(
            {
                "ok": good and not unreadable,
                "policies": [_as_json(check) for check in checks],
                "unreadable": [encode(entry) for entry in unreadable],
            }
        )
    else:
        say(*(f"UNREADABLE: {entry.path}: {entry.reason}" for entry in unreadable))
        for check in checks:
            _show(check)
        if not found:
            say("no policy is in force")
    if unreadable:
        return ExitCode.FAILED
    if good:
        return ExitCode.OK
    fine = (Standing.IN_FORCE, Standing.COVERED)
    covered = all(check.standing in fine for check in checks)
    return ExitCode.BUSY if covered else ExitCode.DRIFT


def _show(check: EntryCheck) -> None:
    entry = check.entry
    say(
        f"{entry.name} serial {entry.serial}, {entry.scope.text}: {_SAID[check.standing]} "
        f"({counted(len(check.knobs), 'knob')} compared)"
    )
    say(
        *table(
            (knob.key, f"applied {show(knob.applied)}", f"now {show(knob.live)}")
            for knob in check.drifted
        )
    )


def _as_json(check: EntryCheck) -> dict[str, object]:
    return {
        "name": check.entry.name,
        "serial": check.entry.serial,
        "scope": check.entry.scope.text,
        "standing": check.standing.value,
        "knobs": [
            {"key": knob.key, "applied": knob.applied, "live": knob.live, "ok": knob.ok}
            for knob in check.knobs
        ],
    }
