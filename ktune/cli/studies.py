"""`ktune studies list|show|export`: runs on record, studies and calibrations."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ktune.cli.common import SubParsers, percent, print_json, say, state_paths, table, warn
from ktune.errors import ExitCode, KtuneError, UsageError
from ktune.kernel.wording import counted
from ktune.records import atomic
from ktune.records.codec import RecordError, encode
from ktune.records.contexts import read_contexts
from ktune.records.front import read_front
from ktune.records.gains import directions_of, proven_text
from ktune.records.paths import StatePaths
from ktune.records.readiness import read_readiness
from ktune.records.study import Study, list_studies
from ktune.records.summary import report_lines, search_document, without_secrets


def add_parser(subparsers: SubParsers) -> ArgumentParser:
    """Its arguments."""
    parser = subparsers.add_parser(
        "studies", help="runs on record: list, show, export", description="Runs on record."
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="all studies and calibrations, oldest first")
    listing.add_argument("--json", action="store_true", help="for programs")
    show = actions.add_parser("show", help="one of them: settings, windows, proof or readiness")
    show.add_argument("study", metavar="STUDY")
    show.add_argument("--json", action="store_true", help="everything on record, as JSON")
    export = actions.add_parser("export", help="everything on record as one JSON document")
    export.add_argument("study", metavar="STUDY")
    export.add_argument(
        "--rows",
        action="store_true",
        help="only settings and scores, for `tune --warm-start` here or elsewhere",
    )
    export.add_argument("-o", "--output", metavar="FILE", default="-", help="default: the terminal")
    return parser


def run(args: Namespace) -> int:
    """List, show or export."""
    paths = state_paths(args)
    if args.action == "list":
        return _list(paths, as_json=args.json)
    study = open_record(paths, args.study)
    if args.action == "export":
        return _export(study, args.output, rows=args.rows)
    if args.json:
        print_json(_document(study))
    else:
        say(*lines_of(study))
    return ExitCode.OK


def open_record(paths: StatePaths, name: str) -> Study:
    """A study, a calibration or contexts. Raises UsageError (nearest study), RecordError."""
    try:
        return Study.open(paths, name)
    except UsageError:
        for under in (paths.calibrations, paths.contexts):
            try:
                return Study.open(paths, name, under=under)
            except UsageError:
                continue
        raise


def lines_of(study: Study) -> Iterator[str]:
    """The report of a study, a calibration or contexts."""
    if study.adapts:
        from ktune.cli import contexts

        return contexts.lines(study)
    found = read_readiness(study.folder) if study.calibrates else None
    if found is None:
        return report_lines(study)
    from ktune.cli import calibrate

    return calibrate.report(study, found)


def _list(paths: StatePaths, *, as_json: bool) -> int:
    rows, data = [], []
    for study in _by_age(paths):
        kind = "calibration" if study.calibrates else "contexts" if study.adapts else "study"
        gain, noise = ("", _noise(study)) if study.calibrates else (_gain(study), "")
        said = f"calibration: {noise}" if study.calibrates else gain
        if phase := study.manifest.options.get("phase"):
            said = f"phase {phase}: {gain}"
        if study.adapts:
            said = _contexts(study)
        rows.append((study.id, study.status.value, study.manifest.profile_name, said))
        data.append(
            {
                "id": study.id,
                "kind": kind,
                "status": study.status.value,
                "profile": study.manifest.profile_name,
                "created_at": study.manifest.created_at,
                "scope": study.manifest.scope,
                "gain": gain,
                "noise": noise,
            }
        )
    if as_json:
        print_json(data)
    else:
        say(*table(rows, indent=""))
        if not rows:
            say("no studies yet: `ktune tune PROFILE` makes one")
    return ExitCode.OK


def _by_age(paths: StatePaths) -> list[Study]:
    """Studies and calibrations, oldest first; of one that can't be read only that is said."""
    found = []
    everything = (
        item
        for under in (None, paths.calibrations, paths.contexts)
        for item in list_studies(paths, under=under)
    )
    for study in everything:
        if isinstance(study, RecordError):
            warn(f"ktune: {study.message}")
        else:
            found.append(study)
    return sorted(found, key=lambda study: study.id)


def _contexts(study: Study) -> str:
    from ktune.cli import contexts

    try:
        return contexts.standing(study)
    except RecordError as error:
        return f"(not usable: {error.message})"


def _noise(calibration: Study) -> str:
    try:
        found = read_readiness(calibration.folder)
    except RecordError as error:
        return f"(not usable: {error.message})"
    if found is None:
        return "no answer yet"
    ready = "ready" if found.ready else "not ready"
    return f"{ready}, sd of a pair {percent(found.noise.sd)} from {counted(found.pairs, 'pair')}"


def _gain(study: Study) -> str:
    try:
        proof = study.proof()
    except KtuneError as error:
        return f"(proof not usable: {error.message})"
    if proof is None or proof.gain is None:
        return ""
    gain = proof.gain
    direction = directions_of(study.manifest).get(gain.metric)
    return proven_text(gain.metric, gain.estimate, gain.interval, gain.level, direction)


def _document(study: Study) -> dict[str, Any]:
    log = study.windows()
    proof, front = study.proof(), read_front(study.folder)
    found, contexts = read_readiness(study.folder), read_contexts(study.folder)
    return {
        "format": "ktune-study-1",
        "status": study.status.value,
        "manifest": encode(study.manifest) | {"storage": without_secrets(study.manifest.storage)},
        "search": search_document(study),
        "windows": [encode(record) for record in log.records],
        "windows_torn": log.torn,
        "proof": None if proof is None else encode(proof),
        "readiness": None if found is None else encode(found),
        "front": None if front is None else encode(front),
        "contexts": None if contexts is None else encode(contexts),
    }


def _export(study: Study, output: str, *, rows: bool) -> int:
    document = _rows(study) if rows else _document(study)
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    if output == "-":
        sys.stdout.write(text)
        return ExitCode.OK
    try:
        atomic.write_text(Path(output), text)
    except OSError as error:
        raise UsageError(f"{output}: {error.strerror}") from error
    if rows:
        say(f"{study.id}: {counted(len(document['rows']), 'setting')} written to {output}")
    else:
        say(f"{study.id}: {counted(len(document['windows']), 'window')} written to {output}")
    return ExitCode.OK


def _rows(study: Study) -> dict[str, Any]:
    from ktune.modes.warm_start import shared_rows

    found: dict[str, Any] = encode(shared_rows(study))
    return found
