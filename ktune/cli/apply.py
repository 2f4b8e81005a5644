"""`ktune apply POLICY`: shows what would change, asks, puts the policy in force."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from ktune.cli import persisting
from ktune.cli.common import (
    SubParsers,
    add_proxy,
    confirm,
    print_json,
    say,
    show,
    state_paths,
    table,
    warn,
)
from ktune.errors import ExitCode, RefusedError, UsageError
from ktune.kernel.wording import counted
from ktune.records.gains import uncertain_lines

if TYPE_CHECKING:
    from ktune.policy.apply import ApplyPlan
    from ktune.policy.model import PolicyDocument
    from ktune.records.paths import StatePaths


def add_parser(subparsers: SubParsers) -> ArgumentParser:
    """Its arguments."""
    parser = subparsers.add_parser(
        "apply",
        help="put a policy in force",
        description="Checks digest, age, host and every knob of a policy, shows the difference "
        "and applies it. `ktune rollback` undoes it.",
    )
    parser.add_argument(
        "policy", metavar="POLICY", nargs="?", help="a file that `ktune freeze` wrote"
    )
    parser.add_argument(
        "--netns",
        metavar="PATH",
        help="network namespace to apply it in, such as /proc/PID/ns/net; required by policies "
        "that were proven in a namespace of their own",
    )
    parser.add_argument("--dry-run", action="store_true", help="show the difference only")
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")
    parser.add_argument("--why", default="", help="a reason, for the history")
    parser.add_argument(
        "--coexist", action="store_true", help="go on although another tuner runs on this host"
    )
    add_proxy(parser)
    parser.add_argument(
        "--despite-lock-out",
        action="store_true",
        help="apply although it was rolled back a short while ago, or the scope is in emergency",
    )
    persisting.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the difference as JSON")
    return parser


def run(args: Namespace) -> int:
    """Apply it."""
    if args.boot:
        return persisting.run_boot(args)
    if args.policy is None:
        raise UsageError("which policy?", hint="ktune apply POLICY")
    from ktune.policy.apply import apply, entry_in_force, plan_apply, refuse_adaptive
    from ktune.policy.guarded import guard_state
    from ktune.policy.hooks import fire
    from ktune.policy.load import load_policy
    from ktune.profile.configuration import HookEvent
    from ktune.proxy.backends import ProxyChoice

    paths = state_paths(args)
    policy = load_policy(args.policy)
    refuse_adaptive(policy)
    plan = plan_apply(policy, netns=args.netns)
    if args.persist:
        persisting.check(plan, args, paths)
    if args.json:
        print_json(_as_json(plan, dry_run=args.dry_run))
    else:
        show_plan(plan)
    if args.dry_run:
        _say_refusals(plan, args, paths)
        say_unless(args.json, "dry run: nothing was changed")
        return ExitCode.OK
    after = ", now and after every boot" if args.persist else ""
    if not confirm(f"Apply {plan.name} to {plan.scope.text}{after}?", assume_yes=args.yes):
        warn("nothing was changed")
        return ExitCode.FAILED
    entry = entry_in_force(plan, paths) if args.persist else None
    if entry is None:
        entry = apply(
            plan,
            paths=paths,
            why=args.why,
            coexist=args.coexist,
            despite_lock_out=args.despite_lock_out,
            proxy=ProxyChoice(args.proxy),
        )
    lasts = "now and after every boot" if args.persist else "until the next boot"
    said = persisting.persist_it(plan, args, paths) if args.persist else []
    told = {"policy": entry.name, "serial": entry.serial, "digest": entry.digest}
    fire(HookEvent.APPLIED, {**told, "scope": entry.scope.text}, warn)
    state = guard_state(entry, paths)
    say_unless(
        args.json,
        f"in force: {entry.name} serial {entry.serial}, "
        f"{counted(len(entry.knobs), 'knob')}, {lasts}",
        f"guard:  {state.text}",
        *(f"        {line}" for line in state.lines),
        *said,
        f"watch:  {paths.command('watch', args.policy)}",
        f"check:  {paths.command('verify')}",
        f"undo:   {paths.command('rollback')}",
    )
    return ExitCode.OK


def say_unless(silent: bool, *lines: str) -> None:
    """Text for people, unless JSON was asked for."""
    if not silent:
        say(*lines)


def show_plan(plan: ApplyPlan) -> None:
    """What is proven, and what changes."""
    document = plan.checked.policy.document
    gain = document.evidence.gain
    after = counted(document.evidence.pairs.after, "pair")
    say(
        f"{document.name} serial {document.serial}, from study {document.origin.study}",
        f"  proven: {gain.text}, {after} after the decision",
        *(f"    {line}" for line in _uncertain(document)),
        *(f"    {item.text}" for item in document.evidence.objectives),
        f"  scope: {plan.scope.text}",
    )
    rows = []
    for item in plan.diff:
        notes = []
        if item.before == item.after:
            notes.append("no change")
        elif item.before != item.baseline:
            notes.append(f"proven against {show(item.baseline)}")
        if item.takes_effect != "now":
            notes.append(f"counts for each {item.takes_effect.replace('_', ' ')}")
        said = f"({'; '.join(notes)})" if notes else ""
        rows.append((item.key, show(item.before), "->", show(item.after), said))
    say(*table(rows))


def _uncertain(document: PolicyDocument) -> tuple[str, ...]:
    evidence = document.evidence
    return uncertain_lines(evidence.gain.interval, document.origin.study, evidence.pairs.after)


def _say_refusals(plan: ApplyPlan, args: Namespace, paths: StatePaths) -> None:
    """What `apply` would end with after its question."""
    from ktune.policy.apply import refuse_locked_out
    from ktune.policy.approval import NotApprovedError, refuse_unapproved

    try:
        refuse_locked_out(plan, paths, despite=args.despite_lock_out)
        refuse_unapproved(plan.checked.policy.document, paths)
    except (RefusedError, NotApprovedError) as error:
        say_unless(args.json, f"would be refused: {error.message}")


def _as_json(plan: ApplyPlan, *, dry_run: bool) -> dict[str, Any]:
    document = plan.checked.policy.document
    return {
        "policy": document.name,
        "serial": document.serial,
        "digest": document.digest,
        "scope": plan.scope.text,
        "dry_run": dry_run,
        "knobs": [
            {
                "key": item.key,
                "before": item.before,
                "after": item.after,
                "proven_against": item.baseline,
                "takes_effect": item.takes_effect,
            }
            for item in plan.diff
        ],
    }
