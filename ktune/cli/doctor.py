"""`ktune doctor`: what works on this host, what is missing, why, and what it is used for."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ktune.cli.common import SubParsers, print_json, say, state_paths, table
from ktune.errors import ExitCode


def add_parser(subparsers: SubParsers) -> ArgumentParser:
    """Its arguments."""
    parser = subparsers.add_parser(
        "doctor",
        help="what works on this host, what is missing, why, and what it is used for",
        description="Tries every ability that ktune uses, in child processes and namespaces of "
        "their own; changes no setting. Always exit 0: what is missing may not be needed.",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def run(args: Namespace) -> int:
    """Examine the host."""
    from ktune.measure.fairness.doctor import fairness_findings
    from ktune.measure.guardrails.doctor import guardrail_findings
    from ktune.measure.services.doctor import service_findings
    from ktune.policy.configuration_probe import configuration_findings
    from ktune.policy.probes import Answer, examine
    from ktune.records.codec import encode

    findings = [
        *examine(state_paths(args)),
        *configuration_findings(),
        *guardrail_findings(),
        *fairness_findings(),
        *service_findings(),
    ]
    if args.json:
        print_json([encode(item) for item in findings])
        return ExitCode.OK
    say(*table((item.answer.value, item.name, item.detail) for item in findings))
    missing = [item for item in findings if item.answer is not Answer.WORKS]
    if missing:
        say("", "What is broken, missing or works partly is used for:")
        say(*table((item.name, item.used_for) for item in missing))
    return ExitCode.OK
