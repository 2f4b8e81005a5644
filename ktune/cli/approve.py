"""`ktune approve STUDY|POLICY`: a person says yes to exactly what was proven."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ktune.cli.common import SubParsers, confirm, print_json, say, state_paths, table, warn
from ktune.errors import ExitCode


def add_parser(subparsers: SubParsers) -> ArgumentParser:
    """Its arguments."""
    parser = subparsers.add_parser(
        "approve",
        help="say yes to a proven study or a policy, where that is required before apply",
        description="Records who approves and when, bound to the digest of the proof or the "
        "policy: what changes afterwards is not approved.",
    )
    parser.add_argument("subject", metavar="STUDY|POLICY", help="a study's id or a policy file")
    parser.add_argument("--revoke", action="store_true", help="take the approval back")
    parser.add_argument("--why", default="", help="a reason, for the history")
    parser.add_argument("--dry-run", action="store_true", help="show what would be approved")
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def run(args: Namespace) -> int:
    """Approve, or take it back."""
    from ktune.policy.approval import find
    from ktune.policy.hooks import fire
    from ktune.profile.configuration import HookEvent
    from ktune.records import approvals

    paths = state_paths(args)
    found = find(args.subject, paths)
    if args.revoke:
        there = approvals.revoke(
            paths, digest=found.digest, subject=args.subject, scope=found.scope, why=args.why
        )
        say(f"{found.name}: approval taken back" if there else f"{found.name} was not approved")
        return ExitCode.OK
    if not args.json:
        say(f"{found.name} in {found.scope}: {found.gain}", f"  {found.digest}")
        say(*table(found.assignment.items()))
    if args.dry_run:
        say("dry run: nothing was recorded")
        return ExitCode.OK
    if not confirm(f"Approve {found.name}?", assume_yes=args.yes):
        warn("not approved")
        return ExitCode.FAILED
    made = approvals.approve(
        paths, digest=found.digest, subject=args.subject, scope=found.scope, why=args.why
    )
    fire(HookEvent.APPROVED, {"subject": found.name, "digest": found.digest}, warn)
    if args.json:
        print_json({"subject": found.name, "digest": made.digest, "who": made.who, "at": made.at})
    else:
        say(f"approved by {made.who} at {made.at}")
    return ExitCode.OK
