"""What BPF sensors cost. Asserts nothing on time; needs root.

    python benchmarks/sensors.py [--rounds N] [--windows N] [--runs N] [--only PART ...]

Parts: `always` (each sensor attached all the time: what an event costs), `budgeted` (run-queue
latency as ktune attaches it, on a ping-pong over a pipe: nothing switches more), `hackbench`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from costs import rig, sensing

PARTS = ("always", "budgeted", "hackbench")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description="What BPF sensors cost.")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="default: all")
    parser.add_argument("--rounds", type=int, default=200, help="of the part `always`")
    parser.add_argument("--windows", type=int, default=30, help="of the part `budgeted`")
    parser.add_argument("--runs", type=int, default=15, help="of hackbench")
    parser.add_argument("--loops", type=int, default=2000, help="messages of a hackbench sender")
    options = parser.parse_args(argv)
    print(f"Sensors: {rig.machine()}")
    if "always" in options.only:
        sensing.always(options.rounds)
    if "budgeted" in options.only:
        sensing.budgeted(options.windows)
    if "hackbench" in options.only:
        sensing.hackbench(options.runs, options.loops)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
