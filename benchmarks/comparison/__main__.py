"""ktune beside its alternatives on recorded surfaces: tables and a picture.

    python -m benchmarks.comparison --state DIR [--seeds 200] [--dear-seeds 20] [--jobs 2]
        [--windows 60 120] [--mlos-venv VENV] [--only METHOD ...] [--picture FILE] [--write FILE]
    python -m benchmarks.comparison.real --state DIR      # three real workloads, hours

Every method gets the same number of windows, baselines and confirmations included, on the same
surfaces with the same seeds. Results are kept in DIR: a run that is cut goes on.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.comparison.methods import METHODS, Tools, run_seeds
from benchmarks.comparison.picture import svg
from benchmarks.comparison.question import Comparison
from benchmarks.comparison.report import Places, replace_block, report
from benchmarks.comparison.runs import run_missing
from benchmarks.comparison.table import summaries
from benchmarks.costs.rig import own_runtime_folder
from benchmarks.evidence.results import Results
from benchmarks.surfaces.definitions import NAMES
from benchmarks.surfaces.store import RECORDED

WINDOWS = (60, 120)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing, print everything."""
    options = _parser().parse_args(argv)
    tools = Tools(options.mlos_venv)
    chosen = options.only or METHODS
    if unknown := set(chosen) - set(METHODS):
        _parser().error(f"no method {', '.join(sorted(unknown))}; there are {', '.join(METHODS)}")
    missing = {method: tools.missing(method) for method in chosen}
    methods = [method for method in chosen if not missing[method]]
    question = Comparison(
        options.recorded,
        options.surfaces,
        methods,
        options.windows,
        dear_seeds=options.dear_seeds,
    )
    if not question.paths:
        raise SystemExit(f"no surface is recorded in {options.recorded}")
    if options.one:
        return _one(question, methods[0], options.windows[0], tools)
    results = Results(options.state)
    if not options.print_only:
        with results.held():
            run_missing(question, results, tools, seeds=options.seeds, jobs=options.jobs)
    items = summaries(results.of(question))
    left_out = {method: why for method, why in missing.items() if why}
    places = Places(options.recorded, options.mlos_venv) if options.sizes else None
    text = report(question, items, left_out, places)
    print(text)
    if options.picture:
        options.picture.write_text(svg(items))
    if options.write:
        replace_block(options.write, "comparison", text, options.picture)
    return 0


def _one(question: Comparison, method: str, windows: int, tools: Tools) -> int:
    """One run in this process, for its memory (`memory_mib`): prints the peak in KiB."""
    own_runtime_folder()
    surface = next(iter(question.surfaces.values()))
    list(run_seeds(surface, method, windows, [0], tools))
    who = resource.RUSAGE_CHILDREN if method.startswith("MLOS") else resource.RUSAGE_SELF
    print(resource.getrusage(who).ru_maxrss)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="ktune beside its alternatives.")
    parser.add_argument("--state", type=Path, required=True, help="folder of the results")
    parser.add_argument("--recorded", type=Path, default=RECORDED, help="folder of the surfaces")
    parser.add_argument("--surfaces", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--seeds", type=int, default=Comparison.usual_sessions)
    parser.add_argument("--dear-seeds", type=int, default=20, help="of MLOS and gp")
    parser.add_argument("--windows", type=int, nargs="+", default=list(WINDOWS))
    parser.add_argument("--only", nargs="+", metavar="METHOD", help=", ".join(METHODS))
    parser.add_argument(
        "--mlos-venv",
        type=Path,
        default=Path("~/.cache/ktune/mlos").expanduser(),
        help="made by install_mlos.sh",
    )
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--print-only", action="store_true", help="of what there is already")
    parser.add_argument("--no-sizes", dest="sizes", action="store_false")
    parser.add_argument("--picture", type=Path, help="an SVG")
    parser.add_argument("--write", type=Path, help="a document with markers for the tables")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
