"""`ktune profile recommend`: which profiles fit what runs here. Touches nothing."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ktune.cli.common import print_json, say, state_paths, table, warn
from ktune.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from ktune.measure.recommend.recommend import Recommendation, Recommended

_LONGEST_S = 600.0


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "--for",
        dest="time",
        default="3s",
        metavar="TIME",
        help="how long to sample the mix of work (default: 3s)",
    )
    parser.add_argument(
        "--in",
        dest="folders",
        metavar="DIR",
        action="append",
        default=[],
        help="a folder with profiles of your own, before the others (repeatable)",
    )


def run(args: Namespace) -> int:
    """Look, and name what fits."""
    from ktune.catalog.catalog import load_catalog
    from ktune.measure.recommend.recommend import recommend
    from ktune.profile import locate
    from ktune.profile.host import host_facts
    from ktune.profile.units import duration

    try:
        sample_s = duration(args.time)
    except ValueError as error:
        raise UsageError(f"--for: {error}", hint="such as 3s, 1m") from None
    if not 0 < sample_s <= _LONGEST_S:
        raise UsageError("--for: more than 0s, at most 10m")
    folders = [Path(name) for name in args.folders]
    if missing := [str(folder) for folder in folders if not folder.is_dir()]:
        raise UsageError(f"--in: {missing[0]} is no folder")
    until_s = time.monotonic() + sample_s
    found = recommend(
        locate.available((*folders, *locate.default_search_path())),
        facts=host_facts(),
        catalog=load_catalog(),
        state_dir=str(state_paths(args).state),
        wait=lambda: time.sleep(max(0.0, until_s - time.monotonic())),
    )
    if args.json:
        print_json(_document(found))
        return ExitCode.OK
    say(*_lines(found))
    for name, why in found.broken.items():
        warn(f"{name} can't be loaded: {why}")
    return ExitCode.OK


def _lines(found: Recommended) -> Iterator[str]:
    if not found.found:
        yield "No profile fits what runs here."
    for item in found.found:
        yield from _one(item)
    for note in found.seen.notes:
        yield f"not seen: {note}"
    if found.found:
        yield f"next: ktune plan {found.found[0].name}"
    else:
        yield "To extend with a workload of your own (`ktune profile init NAME`):"
        yield from table(sorted(found.bases.items()))
    yield "Nothing was changed."


def _one(item: Recommendation) -> Iterator[str]:
    yield f"{item.name}: fits {item.fits}"
    yield f"  {item.summary}"
    yield from (f"  because {reason}" for reason in item.reasons)
    yield from (f"  more so with {text}" for text in item.against)
    yield from (f"  missing: {text}" for text in item.missing)
    yield ""


def _document(found: Recommended) -> dict[str, object]:
    return {
        "profiles": [asdict(item) for item in found.found],
        "bases": dict(found.bases),
        "broken": dict(found.broken),
        "seen": {
            "programs": dict(sorted(found.seen.programs.items())),
            "ports": sorted(found.seen.ports),
            "sockets": sorted(found.seen.sockets),
            "filesystems": sorted(found.seen.filesystems),
            "mix": dict(found.seen.mix),
            "notes": list(found.seen.notes),
        },
    }
