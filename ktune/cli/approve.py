"""`ktune approve STUDY|POLICY`: a person says yes to exactly what was proven."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ktune.cli.common import SubParsers, confirm, print_json, say, state_paths, table, warn
from ktune.errors import ExitCode

if TYPE_CHECKING:
    from ktune.policy.approval import Approvable


def add_parser(subparsers: SubParsers) -> ArgumentParser:
    """Its arguments."""
    parser = subparsers.add_parser(
        "approve",
        help="say yes to a proven study or a policy, where that is required before apply",
        description="Records who approves and when, bound to the digest of the proof or the "
        "policy, to the settings and the scope, and to how it will be watched: what differs in any "
        "of these is not approved.",
    )
    parser.add_argument("subject", metavar="STUDY|POLICY", help="a study's id or a policy file")
    parser.add_argument("--revoke", action="store_true", help="take the approval back")
    parser.add_argument("--why", default="", help="a reason, for the history")
    parser.add_argument("--dry-run", action="store_true", help="show what would be approved")
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def _watched(found: Approvable) -> Iterator[str]:
    """How it will be looked after: an approval is one of that, too."""
    terms = found.terms
    watch = ", ".join(
        f"{key} {value}" for key, value in terms["watch"].items() if value is not None
    )
    yield f"  watched: {watch}"
    yield f"  other writers of its knobs: {terms['guard']}"
    said = terms["safety"]
    yield f"  guardrails (safety): {json.dumps(said) if said else 'the defaults'}"


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
        say(*_watched(found))
    if args.dry_run:
        say("dry run: nothing was recorded")
        return ExitCode.OK
    if not confirm(f"Approve {found.name}?", assume_yes=args.yes):
        warn("not approved")
        return ExitCode.FAILED
    made = approvals.approve(
        paths,
        digest=found.digest,
        subject=args.subject,
        scope=found.scope,
        why=args.why,
        terms=found.terms,
    )
    fire(HookEvent.APPROVED, {"subject": found.name, "digest": found.digest}, warn)
    if args.json:
        print_json({"subject": found.name, "digest": made.digest, "who": made.who, "at": made.at})
    else:
        say(f"approved by {made.who} at {made.at}")
    return ExitCode.OK
