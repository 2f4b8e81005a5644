"""`ktune report STUDY`: what a study found, in plain text or as JSON."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ktune.cli.common import SubParsers, print_json, say, state_paths
from ktune.cli.studies import lines_of, open_record
from ktune.errors import ExitCode
from ktune.records.types import StudyStatus


def add_parser(subparsers: SubParsers) -> ArgumentParser:
    """Its arguments."""
    parser = subparsers.add_parser(
        "report",
        help="what a study found, in plain text or as JSON",
        description="Prints what was found, with its interval, and what it rests on.",
    )
    parser.add_argument("study", metavar="STUDY", help="a study's id (`ktune studies list`)")
    parser.add_argument("--json", action="store_true", help="for programs; its keys are stable")
    return parser


def run(args: Namespace) -> int:
    """Print it."""
    paths = state_paths(args)
    study = open_record(paths, args.study)
    if args.json:
        from ktune.records.report_json import report_document

        print_json(report_document(study))
        return ExitCode.OK
    say(*lines_of(study))
    if study.adapts:
        return ExitCode.OK
    if study.status is StudyStatus.PROVEN:
        say("", f"next: {paths.command('freeze', study.id, '-o', 'policy.yaml')}")
    elif study.status is StudyStatus.INTERRUPTED:
        command = "calibrate" if study.calibrates else "tune"
        say("", f"go on: {paths.command(command, '--resume', study.id)}")
    return ExitCode.OK
