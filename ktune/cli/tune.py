"""`ktune tune PROFILE`: search, confirm, restore; `--resume`, `--pareto`, `--confirm`."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from ktune.cli.common import SubParsers, add_proxy, print_json, say, state_paths, warn, whole_number
from ktune.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from ktune.modes.run import RunOptions, RunResult


def add_parser(subparsers: SubParsers) -> ArgumentParser:
    """Its arguments."""
    parser = subparsers.add_parser(
        "tune",
        help="search for better settings, confirm them, restore",
        description="Searches through the proxy, confirms the best with fresh pairs of windows, "
        "and puts every knob back. Exit 0: improved; 3: no improvement found.",
    )
    parser.add_argument("profile", metavar="PROFILE", nargs="?", help="a file or a shipped name")
    parser.add_argument("--resume", metavar="STUDY", help="go on with an interrupted study")
    parser.add_argument(
        "--pareto",
        action="store_true",
        help="several objectives: search for the trades between them and show the front, "
        "unconfirmed; no proof",
    )
    parser.add_argument(
        "--confirm", metavar="STUDY", help="prove a trial of a finished search (with --trial)"
    )
    parser.add_argument(
        "--trial",
        metavar="N",
        type=whole_number(0),
        action="append",
        default=[],
        help="for --confirm; several share alpha and are tried in turn",
    )
    parser.add_argument(
        "--contexts",
        action="store_true",
        help="a setting for each phase of the workload, and what tells the phases apart "
        "(with --resume: go on with one of these)",
    )
    parser.add_argument("--dry-run", action="store_true", help="show the plan and touch nothing")
    parser.add_argument(
        "--keep-scope",
        action="store_true",
        help="leave the run's own namespace for `apply --netns` (until `rollback --all`, at most "
        "10 minutes)",
    )
    parser.add_argument(
        "--coexist", action="store_true", help="go on although another tuner runs on this host"
    )
    add_proxy(parser)
    parser.add_argument(
        "--sampler", choices=("tpe", "gp", "cmaes", "random", "qmc"), help="default: the profile's"
    )
    parser.add_argument(
        "--storage", metavar="URL", help="an Optuna database that you trust (default: own journal)"
    )
    parser.add_argument("--trials", type=whole_number(1), help="default: the profile's")
    parser.add_argument(
        "--windows",
        type=whole_number(1),
        help="of search and proof together, divided by what the proof will probably take; "
        "default: the profile's, else no such limit",
    )
    parser.add_argument("--time", metavar="DURATION", help="such as 10m; default: the profile's")
    parser.add_argument("--seed", type=whole_number(0), help="of everything random")
    parser.add_argument(
        "--space",
        choices=("full", "projected"),
        help="projected: along a few random directions through all knobs; default: the profile's",
    )
    parser.add_argument(
        "--dimensions", type=whole_number(1), help="of a projected space; default: the profile's"
    )
    parser.add_argument(
        "--warm-start",
        metavar="STUDY|FILE",
        action="append",
        default=[],
        help="first measure the best settings of an earlier study or a file of rows (repeatable)",
    )
    parser.add_argument("--search-only", action="store_true", help="stop before the confirmation")
    parser.add_argument(
        "--require-ready",
        action="store_true",
        help="end with exit 4 before the search when its proof can't resolve the MEI",
    )
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress, notes only")
    return parser


def run(args: Namespace) -> int:
    """Tune."""
    if sum(item is not None for item in (args.profile, args.resume, args.confirm)) != 1:
        raise UsageError(
            "name one thing: a profile, or a study with --resume, or one with --confirm",
            hint="`ktune profile list` and `ktune studies list` show them",
        )
    if (args.confirm is None) != (not args.trial):
        raise UsageError("--confirm STUDY and --trial N belong together")
    if args.pareto and (args.profile is None or args.search_only):
        raise UsageError("--pareto is for the search of a PROFILE, and stops before any proof")
    if args.profile is None and args.warm_start:
        raise UsageError("--warm-start is for a new study: a resumed one keeps what it began with")
    options = _options(args)
    if args.dry_run:
        return _dry_run(args)
    if args.contexts:
        from ktune.cli import contexts

        return contexts.run(args, options)
    from ktune.modes.run import resume_study, tune_profile
    from ktune.report.live import open_view

    paths = state_paths(args)
    with open_view(quiet=args.quiet) as view:
        if args.profile is None:
            result = resume_study(args.resume or args.confirm, options, paths, view)
        else:
            result = tune_profile(args.profile, options, paths, view)
    return _tell(args, result)


def _options(args: Namespace) -> RunOptions:
    from ktune.modes.run import RunOptions
    from ktune.modes.settings import Overrides
    from ktune.profile.units import duration
    from ktune.proxy.backends import ProxyChoice

    try:
        time_s = None if args.time is None else duration(args.time)
        if time_s == 0:
            raise ValueError("the search needs some time")
    except ValueError as error:
        raise UsageError(f"--time: {error}", hint="such as 90s, 10m, 1h") from None
    return RunOptions(
        overrides=Overrides(
            args.sampler,
            args.storage,
            args.trials,
            time_s,
            args.seed,
            args.pareto,
            args.space,
            args.dimensions,
            args.windows,
        ),
        keep_scope=args.keep_scope,
        coexist=args.coexist,
        search_only=args.search_only,
        picks=tuple(dict.fromkeys(args.trial)),
        require_ready=args.require_ready,
        warm_start=tuple(args.warm_start),
        proxy=ProxyChoice(args.proxy),
    )


def _dry_run(args: Namespace) -> int:
    from ktune.cli import plan

    if args.profile is None:
        raise UsageError("--dry-run shows the plan of a PROFILE, not of a study")
    return plan.run(args)


def _tell(args: Namespace, result: RunResult) -> int:
    from ktune.records.codec import encode
    from ktune.records.front import read_front
    from ktune.records.summary import report_lines, search_document

    code = _exit_code(result)
    front = read_front(result.study.folder) if result.outcome == "unconfirmed" else None
    if args.json:
        print_json(
            {
                "study": result.study.id,
                "outcome": result.outcome,
                "exit_code": int(code),
                "ready": result.ready,
                "netns": result.kept_netns,
                "foreign": [item.to_json() for item in result.foreign],
                **({} if front is None else {"front": encode(front.points)}),
                "search": search_document(result.study),
            }
        )
        return code
    sys.stderr.flush()
    say(*report_lines(result.study), "")
    for item in result.foreign:
        warn(f"changed by somebody else and kept: {item.key} = {item.found}")
    paths = state_paths(args)
    if front is not None and front.points:
        confirm = paths.command("tune", "--confirm", result.study.id, "--trial", "N")
        say(f"prove one of them: {confirm}")
    if args.search_only and result.outcome == "unconfirmed":
        say(f"confirm what it found: {paths.command('tune', '--resume', result.study.id)}")
    if result.outcome == "improved":
        say(f"next: {paths.command('freeze', result.study.id, '-o', 'policy.yaml')}")
        if result.kept_netns:
            apply = paths.command("apply", "policy.yaml", "--netns", result.kept_netns)
            say(f"then: {apply}", "the namespace stays for 10 minutes, or until `rollback --all`")
    return code


def _exit_code(result: RunResult) -> ExitCode:
    if result.foreign:
        return ExitCode.DRIFT
    return ExitCode.OK if result.outcome != "no_improvement_found" else ExitCode.NO_IMPROVEMENT
