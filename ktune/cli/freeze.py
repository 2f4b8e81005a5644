"""`ktune freeze STUDY -o policy.yaml`: a proven study becomes a policy file."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ktune.cli.common import SubParsers, say, state_paths, whole_number
from ktune.errors import UsageError
from ktune.kernel.wording import counted


def add_parser(subparsers: SubParsers) -> ArgumentParser:
    """Its arguments."""
    parser = subparsers.add_parser(
        "freeze",
        help="make a policy out of a proven study",
        description="Writes the policy of a proven study; exit 3 for a study without proof. "
        "The same study always gives the same policy.",
    )
    parser.add_argument("study", metavar="STUDY", help="a study's id (`ktune studies list`)")
    parser.add_argument("-o", "--output", metavar="FILE", default="-", help="default: the terminal")
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    parser.add_argument("--name", default="", help="default: PROFILE@HOSTNAME")
    parser.add_argument(
        "--serial", type=whole_number(1), help="default: the how manieth proven study it is"
    )
    parser.add_argument(
        "--valid-days",
        type=whole_number(1),
        default=180,
        help="days from the proof until the policy is refused as too old (default: 180)",
    )
    parser.add_argument(
        "--fits-kernel", default="", metavar="EXPR", help="default: the series it was measured on"
    )
    parser.add_argument(
        "--fits-mem", default="", metavar="EXPR", help="default: at least half of the memory"
    )
    return parser


def run(args: Namespace) -> int:
    """Write it."""
    from ktune.policy.freeze import FreezeOptions, freeze
    from ktune.policy.freeze_contexts import freeze_contexts
    from ktune.policy.load import parse_policy
    from ktune.records import atomic
    from ktune.records.study import Study, is_study_id

    paths = state_paths(args)
    contexts = is_study_id(args.study) and (paths.contexts / args.study).is_dir()
    study = Study.open(paths, args.study, under=paths.contexts if contexts else None)
    options = FreezeOptions(
        args.name, args.serial, args.valid_days, args.fits_kernel, args.fits_mem
    )
    text = (freeze_contexts if contexts else freeze)(study, paths, options)
    policy = parse_policy(text.encode(), path=args.output)
    if args.output == "-":
        sys.stdout.write(text)
        return 0
    output = Path(args.output)
    if output.exists() and not args.force:
        raise UsageError(f"{output} exists", hint="--force replaces it")
    try:
        atomic.write_text(output, text)
        os.chmod(output, 0o644)
    except OSError as error:
        raise UsageError(f"{output}: {error.strerror}") from error
    document = policy.document
    verb = "apply" if document.contexts is None else "watch"
    command = paths.command(verb, str(output))
    if document.scope == "ephemeral":
        command += " --netns PATH"  # the run's own namespace is gone
    say(
        f"{document.name} serial {document.serial}: {counted(len(document.assignment), 'knob')}, "
        f"valid until {document.not_after}",
        f"written to {output}; look at it, then: {command}",
    )
    return 0
