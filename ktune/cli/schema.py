"""`ktune schema`: JSON schemas of profile and policy files, generated from the models."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ktune.cli.common import SubParsers, say
from ktune.errors import ExitCode, KtuneError, UsageError

_KINDS = ("profile", "policy")


def add_parser(subparsers: SubParsers) -> ArgumentParser:
    """Its arguments."""
    parser = subparsers.add_parser(
        "schema",
        help="JSON schemas of profiles and policies, for editors",
        description="Prints a schema, or writes all of them with -o. Editors find it by the "
        "first line of a file: # yaml-language-server: $schema=PATH",
    )
    parser.add_argument("kind", nargs="?", choices=_KINDS, help="which one (default: all)")
    parser.add_argument("-o", "--output", metavar="DIR", help="write KIND.schema.json there")
    parser.add_argument(
        "--check", action="store_true", help="compare the files in DIR (default: the shipped ones)"
    )
    return parser


def run(args: Namespace) -> int:
    """Print, write or compare."""
    from ktune.profile import locate
    from ktune.profile.schema import available_kinds, schema_text

    kinds = (args.kind,) if args.kind else available_kinds()
    if args.check:
        folder = Path(args.output) if args.output else locate.shipped_dir("schemas")
        return _check({kind: schema_text(kind) for kind in kinds}, folder)
    if args.output:
        return _write({kind: schema_text(kind) for kind in kinds}, Path(args.output))
    if args.kind is None:
        raise UsageError(
            f"which schema? {' or '.join(kinds)}", hint="ktune schema -o DIR writes all of them"
        )
    sys.stdout.write(schema_text(args.kind))
    return ExitCode.OK


def _write(texts: dict[str, str], folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for kind, text in texts.items():
            path = _file(folder, kind)
            path.write_text(text, encoding="utf-8")
            say(f"wrote {path}")
    except OSError as error:
        raise KtuneError(f"can't write to {folder}: {error.strerror}") from None
    return ExitCode.OK


def _check(texts: dict[str, str], folder: Path) -> int:
    stale = [kind for kind, text in texts.items() if _content(_file(folder, kind)) != text]
    for kind in texts:
        say(f"{_file(folder, kind)}: {'stale or missing' if kind in stale else 'up to date'}")
    if stale:
        raise KtuneError("schemas don't fit the models", hint=f"ktune schema -o {folder}")
    return ExitCode.OK


def _content(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _file(folder: Path, kind: str) -> Path:
    return folder / f"{kind}.schema.json"
