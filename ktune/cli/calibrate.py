"""`ktune calibrate PROFILE`: what can be proven with this workload here, and how long it takes."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ktune.cli.common import (
    SubParsers,
    percent,
    print_json,
    say,
    show,
    state_paths,
    table,
    warn,
    whole_number,
)
from ktune.errors import ExitCode, UsageError
from ktune.kernel.wording import counted
from ktune.records.codec import encode

if TYPE_CHECKING:
    from ktune.evidence.readiness import Averaging, Effect, Spread
    from ktune.modes.calibrating import CalibrationResult
    from ktune.records.readiness import Readiness, Waiting
    from ktune.records.study import Study


def add_parser(subparsers: SubParsers) -> ArgumentParser:
    """Its arguments."""
    parser = subparsers.add_parser(
        "calibrate",
        help="measure the noise: what can be proven here, and how long it takes",
        description="Measures the baseline against itself and what a switch leaves behind, and "
        "restores. Exit 0: the smallest gain of interest can be shown; 4: it can't.",
    )
    parser.add_argument("profile", metavar="PROFILE", nargs="?", help="a file or a shipped name")
    parser.add_argument(
        "--resume",
        metavar="CALIBRATION",
        help="go on with an interrupted one, or with --pairs add to a finished one",
    )
    parser.add_argument("--dry-run", action="store_true", help="show the plan and touch nothing")
    parser.add_argument(
        "--pairs", type=whole_number(10), help="of identical settings, in all (default 10)"
    )
    parser.add_argument(
        "--coexist", action="store_true", help="go on although another tuner runs on this host"
    )
    parser.add_argument("--seed", type=whole_number(0), help="of everything random")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress, notes only")
    return parser


def run(args: Namespace) -> int:
    """Calibrate."""
    if (args.profile is None) == (args.resume is None):
        raise UsageError(
            "name a profile, or a calibration with --resume", hint="ktune studies list"
        )
    if args.dry_run:
        from ktune.cli import plan

        if args.profile is None:
            raise UsageError("--dry-run shows the plan of a PROFILE, not of a calibration")
        return plan.run(args)
    if args.resume is not None and args.seed is not None:
        raise UsageError("--resume goes on with the seed that it began with")
    from ktune.modes.calibrating import calibrate_profile, resume_calibration
    from ktune.report.live import open_view

    paths = state_paths(args)
    with open_view(quiet=args.quiet) as view:
        if args.resume is not None:
            result = resume_calibration(
                args.resume, paths, view, pairs=args.pairs, coexist=args.coexist
            )
        else:
            result = calibrate_profile(
                args.profile, paths, view, pairs=args.pairs, seed=args.seed, coexist=args.coexist
            )
    return _tell(args, result)


def _tell(args: Namespace, result: CalibrationResult) -> int:
    code = _exit_code(result)
    if args.json:
        answer = encode(result.readiness)
        names = {"calibration": result.study.id, "exit_code": int(code)}
        print_json({**names, "foreign": [item.to_json() for item in result.foreign], **answer})
        return code
    sys.stderr.flush()
    say(*report(result.study, result.readiness))
    for item in result.foreign:
        warn(f"changed by somebody else and kept: {item.key} = {item.found}")
    return code


def _exit_code(result: CalibrationResult) -> ExitCode:
    if result.foreign:
        return ExitCode.DRIFT
    return ExitCode.OK if result.readiness.ready else ExitCode.REFUSED


def report(study: Study, found: Readiness) -> Iterator[str]:
    """The answer for people."""
    from ktune.profile.units import format_duration

    proof = found.proof
    yield f"Calibration {study.id} of {study.manifest.profile_name}"
    pairs = counted(found.pairs, "pair")
    yield f"{pairs} of the baseline against itself, {counted(found.windows, 'window')} in all"
    if found.switched_to:
        changed = ", ".join(f"{key} = {show(value)}" for key, value in found.switched_to.items())
        yield f"switched to and back: {changed}"
    yield ""
    yield from table(_rows(found))
    yield ""
    allowed = counted(proof.pairs_allowed, "pair")
    yield (
        f"To show a gain of {percent(proof.gain)} within {allowed}, "
        "at the upper limit of the noise:"
    )
    needed = "over 120" if proof.pairs_needed is None else proof.pairs_needed
    smallest = "none" if proof.smallest_gain is None else percent(proof.smallest_gain)
    tune_s = found.tune_windows * found.window_s
    rows: list[tuple[str, object]] = [
        ("shown in", f"{proof.power:.0%} of proofs"),
        ("pairs needed", f"{needed} for 80%"),
        ("smallest gain", f"{smallest} is shown in 80% of proofs of {allowed}"),
        (
            "expected time",
            f"{format_duration(proof.expected_s)} of proof, at most "
            f"{format_duration(proof.longest_s)}; a whole `tune` about {format_duration(tune_s)}",
        ),
    ]
    if proof.gain == 0:
        del rows[:2]
    yield from table(rows)
    yield ""
    for remark in found.remarks:
        yield f"Note: {remark}"
    if found.ready:
        yield "Ready."
        return
    for problem in found.problems:
        yield f"Not ready: {problem}"
    yield "What would help:"
    yield from (f"  - {item}" for item in found.helps)


def _rows(found: Readiness) -> Iterator[tuple[str, str]]:
    yield "noise", _spread(found.noise)
    for name, limit in found.constraints.items():
        yield f"noise of {name}", _spread(limit)
    yield "order", f"second window against first: {_effect(found.order)}"
    yield (
        "autocorrelation",
        f"{found.autocorrelation:+.2f} from pair to pair (chance alone: -0.1 +-"
        f"{2 / found.pairs**0.5:.1f}; never a reason to refuse)",
    )
    yield "carry-over", _effect(found.carry_over, "baseline after a candidate: ")
    yield "and one later", _effect(found.lasting, "second window after it: ")
    yield "after a switch", _effect(found.warm_up, "first window against second: ")
    yield "settle", _waiting(found.waiting, found)
    if found.averaging is not None:
        yield "longer windows", _averaging(found.averaging)
    gate = found.gate
    yield (
        "promotion rule",
        ("FIRED" if gate.fired else "does not fire")
        + f" on identical settings (E {gate.e_value:.2g}, fires at {gate.threshold:.3g})",
    )
    yield "window", f"{found.window_s:.3g} s with switching and settling"


def _spread(spread: Spread) -> str:
    return (
        f"sd of a pair {percent(spread.sd)}, 90% limits {percent(spread.low)} to "
        f"{percent(spread.high)}"
    )


def _waiting(wait: Waiting, found: Readiness) -> str:
    if found.carry_over is None:
        return f"{wait.settle_now_s:g} s now; whether that is enough was not measured"
    if wait.settle_s <= wait.settle_now_s:
        warm_up = f", warm-up of {wait.warm_up} {wait.unit}" if wait.warm_up else ""
        return f"{wait.settle_now_s:g} s{warm_up}: enough, as far as the three lines above can see"
    warm_up = (
        ""
        if wait.warm_up is None
        else f", or a warm-up of {wait.warm_up} {wait.unit} in the window"
    )
    at_least = "" if wait.enough else "at least "
    return f"{wait.settle_now_s:g} s now, wanted {at_least}{wait.settle_s:g} s{warm_up}"


def _averaging(found: Averaging) -> str:
    return (
        f"two averaged vary {found.ratio:.2f} [{found.low:.2f}, {found.high:.2f}] times as much as "
        "one (0.71: longer windows help, 1: they don't)"
    )


def _effect(effect: Effect | None, what: str = "") -> str:
    if effect is None:
        return "not measured: no switch, or too few valid windows around one"
    said = (
        "found"
        if effect.found
        else f"none found (one of {percent(effect.detectable)} would be, 4 times in 5)"
    )
    return (
        f"{what}{percent(effect.mean, sign=True)} "
        f"[{percent(effect.low, sign=True)}, {percent(effect.high, sign=True)}]: {said}"
    )
