"""What ktune costs, as ratios side by side in one run. Asserts nothing on time.

    python benchmarks/overhead.py [--mlos-venv VENV] [--quick] [--only PART ...]

Parts: `tuning` (a 30-trial run against MLOS, and where ktune's time goes), `startup`, `restore`
(kill -9 of the tuner to the last knob restored; the guardian's memory), `apply` (50 sysctls through
the lease against the bare system calls), `guard` (a write that the BPF guard judges against one
that it does not). What needs root is left out without it, and says so.
"""

from __future__ import annotations

import argparse
import compileall
from collections.abc import Sequence
from pathlib import Path

from costs import apply, guard, parts, restore, rig, startup, tuning

PARTS = ("startup", "apply", "guard", "tuning", "restore")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts that were asked for."""
    options = _parser().parse_args(argv)
    chosen = options.only or PARTS
    # What it is compared with was compiled when it was installed; a checkout need not be.
    compileall.compile_dir(Path(__file__).resolve().parents[1] / "ktune", quiet=1)
    rig.own_runtime_folder()
    print(f"ktune's overhead: {rig.machine()}")
    with rig.scratch(options.scratch) as folder:
        if "startup" in chosen:
            startup.measure(options.runs, folder)
        if "apply" in chosen and _root("apply"):
            apply.measure(options.runs, options.knobs)
        if "guard" in chosen and _root("guard"):
            guard.measure(options.runs)
        if "tuning" in chosen:
            tuning.measure(options.rounds, options.trials, folder, options.mlos_venv)
            parts.measure(options.rounds, options.trials, folder)
        if "restore" in chosen and _root("restore"):
            restore.measure(options.kills, folder)
    return 0


def _root(part: str) -> bool:
    if rig.can_make_namespaces():
        return True
    rig.note(f"{part}: left out, it needs root")
    return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What ktune costs, beside what others cost.")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="default: all")
    parser.add_argument(
        "--mlos-venv", type=Path, help="a virtual environment made by install_mlos.sh"
    )
    parser.add_argument(
        "--scratch", help="a folder on a real disk (fsync counts); default: the temporary folder"
    )
    parser.add_argument("--rounds", type=int, default=7, help="of whole runs")
    parser.add_argument("--trials", type=int, default=30, help="of each run")
    parser.add_argument("--runs", type=int, default=40, help="of single commands")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--knobs", type=int, default=50, help="of the part `apply`")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
