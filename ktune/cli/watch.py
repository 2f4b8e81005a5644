"""`ktune watch [POLICY]`: looks after a policy in force and takes it back when it does harm."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from ktune.cli.common import (
    SubParsers,
    add_proxy,
    confirm,
    percent,
    print_json,
    say,
    show,
    state_paths,
    table,
    warn,
)
from ktune.errors import ExitCode, UsageError
from ktune.kernel.wording import counted

if TYPE_CHECKING:
    from ktune.modes.watch.spec import WatchSpec
    from ktune.modes.watch.subject import Subject, WatchOptions
    from ktune.policy.deciding import Decider
    from ktune.policy.model import PolicyDocument

_LEAST_INTERVAL_S = 0.1
_TIMES = ("interval", "probation_every", "holdback_every")


def add_parser(subparsers: SubParsers) -> ArgumentParser:
    """Its arguments."""
    parser = subparsers.add_parser(
        "watch",
        help="look after a policy in force, take it back when it does harm",
        description="Recommendation mode, in the foreground: guardrails, then pairs of windows "
        "(baseline against policy) on probation and now and then for ever. A regression or a "
        "crossed guardrail rolls the policy back (exit 8). A policy that is not in force is shown, "
        "asked about and applied first.",
    )
    parser.add_argument(
        "policy", metavar="POLICY", nargs="?", help="a policy file; default: the newest in force"
    )
    parser.add_argument(
        "--persisted",
        action="store_true",
        help="the newest policy in force of those that are applied after every boot; for the unit",
    )
    parser.add_argument("--netns", metavar="PATH", help="network namespace that it is applied in")
    parser.add_argument(
        "--profile", help="how to measure; default: the profile of the study that proved it"
    )
    parser.add_argument(
        "--on-death",
        choices=("stay", "baseline"),
        default="stay",
        help="when the watcher dies: the policy stays (default), or the baseline returns",
    )
    parser.add_argument("--interval", metavar="TIME", help="look at the guardrails so often")
    parser.add_argument("--probation-every", metavar="TIME", help="from pair to pair at first")
    parser.add_argument("--holdback-every", metavar="TIME", help="from pair to pair later")
    parser.add_argument(
        "--on-missing",
        choices=("alert", "rollback"),
        help="when the metrics are gone or stand still (default: as the policy says)",
    )
    parser.add_argument(
        "--relearn", action="store_true", default=None, help="search again after a rollback"
    )
    parser.add_argument(
        "--until-settled", action="store_true", help="end with 0 once the probation is passed"
    )
    parser.add_argument(
        "--coexist", action="store_true", help="go on although another tuner runs on this host"
    )
    add_proxy(parser)
    parser.add_argument(
        "--despite-lock-out", action="store_true", help="although it was rolled back recently"
    )
    parser.add_argument(
        "--yes", "-y", action="store_true", help="apply it without asking, if it is not in force"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be watched")
    parser.add_argument("--json", action="store_true", help="with --dry-run: as JSON")
    parser.add_argument("--quiet", action="store_true", help="notes only")
    return parser


def run(args: Namespace) -> int:
    """Watch."""
    from ktune.modes.watch.run import watch_subject
    from ktune.modes.watch.subject import find_subject
    from ktune.report.live import open_view

    if args.json and not args.dry_run:
        raise UsageError("--json goes with --dry-run", hint="`ktune status --json` shows a watch")
    if args.persisted and (args.policy or args.netns):
        raise UsageError("--persisted finds the policy itself: leave POLICY and --netns away")
    options = _options(args)
    if args.dry_run:
        return _dry_run(args, options)
    paths = state_paths(args)
    subject = find_subject(args.policy, options, paths)
    if subject.entry is None and not _agreed(subject, assume_yes=args.yes):
        warn("nothing was changed")
        return ExitCode.FAILED
    with open_view(quiet=args.quiet) as view:
        return watch_subject(subject, options, paths, view)


def _agreed(subject: Subject, *, assume_yes: bool) -> bool:
    """A policy that is not in force yet is shown and asked about as `apply` does."""
    from ktune.cli.apply import show_plan

    plan = subject.plan
    show_plan(plan)
    lasts = " for as long as it is watched" if subject.leased else ""
    return confirm(f"Apply {plan.name} to {plan.scope.text}{lasts}?", assume_yes=assume_yes)


def _options(args: Namespace) -> WatchOptions:
    from ktune.modes.watch.subject import WatchOptions
    from ktune.profile.units import duration
    from ktune.proxy.backends import ProxyChoice

    times: dict[str, float | None] = {}
    for name in _TIMES:
        text = getattr(args, name)
        option = "--" + name.replace("_", "-")
        try:
            times[name] = None if text is None else duration(text)
        except ValueError as error:
            raise UsageError(f"{option}: {error}", hint="such as 10s, 1m, 1h") from None
    interval_s = times["interval"]
    if interval_s is not None and interval_s < _LEAST_INTERVAL_S:
        raise UsageError("--interval is at least 100ms")
    return WatchOptions(
        netns=args.netns,
        persisted=args.persisted,
        profile=args.profile,
        baseline_on_death=args.on_death == "baseline",
        interval_s=interval_s,
        probation_every_s=times["probation_every"],
        holdback_every_s=times["holdback_every"],
        on_missing=args.on_missing,
        relearn=args.relearn,
        until_settled=args.until_settled,
        coexist=args.coexist,
        despite_lock_out=args.despite_lock_out,
        proxy=ProxyChoice(args.proxy),
    )


def _dry_run(args: Namespace, options: WatchOptions) -> int:
    from ktune.modes.watch.subject import find_subject, knobs_of, spec_of

    subject = find_subject(args.policy, options, state_paths(args))
    spec = spec_of(subject, knobs_of(subject), stays=not subject.leased)
    if args.json:
        from ktune.records.codec import encode

        decider = _decider(subject, options)
        print_json(
            {
                "in_force": subject.entry is not None,
                "spec": encode(spec),
                "decided_by": None if decider is None else decider.text,
            }
        )
    else:
        _show(spec, in_force=subject.entry is not None)
        _show_leaves(subject.plan.checked.policy.document)
        _show_decider(subject, options)
        if subject.condemned is not None:
            say(f"would be rolled back: a watch decided so and died: {subject.condemned.why}")
        say("dry run: nothing was changed")
    return ExitCode.OK


def _show(spec: WatchSpec, *, in_force: bool) -> None:
    from ktune.evidence.guard import worse_by
    from ktune.modes.watch.guarding import too_short
    from ktune.profile.units import format_duration

    timing, guard = spec.timing, spec.guard
    say(
        f"{spec.identity.policy} serial {spec.identity.serial}, {spec.identity.scope.text}, "
        + ("in force" if in_force else "would be applied first"),
        *table(
            (knob.tunable.key, show(knob.policy), "back to", show(knob.baseline))
            for knob in spec.knobs
        ),
    )
    for metric in spec.metrics:
        share = worse_by(guard.margins[metric.name], metric.direction)
        say(f"  {metric.name}: rolled back when worse by more than {percent(share)}")
    say(
        f"guardrails every {format_duration(timing.interval_s)}; "
        f"probation: {counted(guard.probation_pairs, 'pair')}, one every "
        f"{format_duration(timing.probation_every_s)}, false rollbacks {guard.alpha:.2%} in total; "
        f"then one every {format_duration(timing.holdback_every_s)}, a false rollback every "
        f"{guard.mean_pairs:g} pairs"
    )
    if why := too_short(guard):
        warn(f"warning: watch.probation_pairs: {why}; such a probation does not allow --persist")
    if spec.unpaired:
        say(f"no pairs: {', '.join(spec.unpaired)} can't be switched for a window; alerts only")


def _decider(subject: Subject, options: WatchOptions) -> Decider | None:
    """Who would choose among the leaves; None: the policy does not adapt."""
    from ktune.policy.deciding import foreseen

    contexts = subject.plan.checked.policy.document.contexts
    if contexts is None:
        return None
    return foreseen(contexts.parsed_tree, options.proxy, on_host=subject.plan.scope.is_host)


def _show_decider(subject: Subject, options: WatchOptions) -> None:
    from ktune.modes.watch.adaptive import kernel_tree_of
    from ktune.profile.units import format_duration

    decider = _decider(subject, options)
    if decider is None:
        return
    say(f"decided by: {decider.text}")
    checked = subject.plan.checked
    alone_s = kernel_tree_of(checked, baseline_on_death=options.baseline_on_death).alone_s
    if alone_s and decider.is_kernel:
        say(
            f"when user space dies: goes on adapting for {format_duration(alone_s)}, "
            "then the baseline returns"
        )
    else:
        say("when user space dies: the baseline returns at once")


def _show_leaves(document: PolicyDocument) -> None:
    from ktune.cli.contexts import tree_lines

    contexts = document.contexts
    if contexts is None:
        return
    say("adapts; the first leaf with evidence is shown above")
    for name, leaf in contexts.leaves.items():
        values = ", ".join(f"{key} = {show(value)}" for key, value in leaf.assignment.items())
        say(f"  {name}: {values}" + ("" if leaf.evidence else " (the baseline)"))
    say(*tree_lines(contexts.tree, "  "))
