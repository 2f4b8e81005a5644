"""`ktune studies list|show|export`: runs on record."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from ktune.cli.common import SubParsers, percent, print_json, say, state_paths, table, warn
from ktune.errors import ExitCode, KtuneError, UsageError
from ktune.records import atomic
from ktune.records.codec import RecordError, encode
from ktune.records.paths import StatePaths
from ktune.records.study import Study, list_studies
from ktune.records.summary import report_lines, without_secrets


def add_parser(subparsers: SubParsers) -> ArgumentParser:
    """Its arguments."""
    parser = subparsers.add_parser(
        "studies", help="runs on record: list, show, export", description="Runs on record."
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="all studies, oldest first")
    listing.add_argument("--json", action="store_true", help="for programs")
    show = actions.add_parser("show", help="one study: settings, windows, proof")
    show.add_argument("study", metavar="STUDY")
    show.add_argument("--json", action="store_true", help="everything on record, as JSON")
    export = actions.add_parser("export", help="everything on record as one JSON document")
    export.add_argument("study", metavar="STUDY")
    export.add_argument("-o", "--output", metavar="FILE", default="-", help="default: the terminal")
    return parser


def run(args: Namespace) -> int:
    """List, show or export."""
    paths = state_paths(args)
    if args.action == "list":
        return _list(paths, as_json=args.json)
    study = Study.open(paths, args.study)
    if args.action == "export":
        return _export(study, args.output)
    if args.json:
        print_json(_document(study))
    else:
        say(*report_lines(study))
    return ExitCode.OK


def _list(paths: StatePaths, *, as_json: bool) -> int:
    rows, data = [], []
    for study in list_studies(paths):
        if isinstance(study, RecordError):
            warn(f"ktune: {study.message}")
            continue
        gain = _gain(study)
        rows.append((study.id, study.status.value, study.manifest.profile_name, gain))
        data.append(
            {
                "id": study.id,
                "status": study.status.value,
                "profile": study.manifest.profile_name,
                "created_at": study.manifest.created_at,
                "scope": study.manifest.scope,
                "gain": gain,
            }
        )
    if as_json:
        print_json(data)
    else:
        say(*table(rows, indent=""))
        if not rows:
            say("no studies yet: `ktune tune PROFILE` makes one")
    return ExitCode.OK


def _gain(study: Study) -> str:
    try:
        proof = study.proof()
    except KtuneError as error:
        return f"(proof not usable: {error.message})"
    if proof is None or proof.gain is None:
        return ""
    low, high = proof.gain.interval
    return (
        f"{proof.gain.metric} {percent(proof.gain.estimate, sign=True)} "
        f"[{percent(low, sign=True)}, {percent(high, sign=True)}]"
    )


def _document(study: Study) -> dict[str, Any]:
    log = study.windows()
    proof = study.proof()
    return {
        "format": "ktune-study-1",
        "status": study.status.value,
        "manifest": encode(study.manifest) | {"storage": without_secrets(study.manifest.storage)},
        "windows": [encode(record) for record in log.records],
        "windows_torn": log.torn,
        "proof": None if proof is None else encode(proof),
    }


def _export(study: Study, output: str) -> int:
    text = json.dumps(_document(study), indent=1, allow_nan=False) + "\n"
    if output == "-":
        sys.stdout.write(text)
        return ExitCode.OK
    try:
        atomic.write_text(Path(output), text)
    except OSError as error:
        raise UsageError(f"{output}: {error.strerror}") from error
    say(f"{study.id}: {len(study.windows().records)} windows written to {output}")
    return ExitCode.OK
