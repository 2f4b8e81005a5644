"""What each way to the kernel costs, side by side in one run. Asserts nothing on time.

    python benchmarks/backends.py [--rounds N] [--kills N] [--writes N]

For every back end that works here (file, file + BPF guard, kernel module): how long the knobs stay
moved after a kill -9 of the tuner, and of tuner and guardian together; what a switch costs for each
knob; what a write costs that the guard looks at, or that the module makes. Knobs of the whole host,
put back in the end. The same program runs in a guest of software emulation, where the module can be
loaded:

    python -m tests.guest --shell -- \\
        python benchmarks/backends.py --rounds 20 --kills 5 --writes 1000

There only the ratios within one run mean anything.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from costs import backends, guard, module, rig


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What each back end of the proxy costs.")
    parser.add_argument("--rounds", type=int, default=200, help="of switches")
    parser.add_argument("--kills", type=int, default=20, help="of each kind")
    parser.add_argument("--writes", type=int, default=20_000, help="in each round of writes")
    options = parser.parse_args(argv)
    if not rig.can_make_namespaces():
        print("needs root", file=sys.stderr)
        return 4
    rig.own_runtime_folder()
    print(f"back ends of the proxy: {rig.machine()}")
    backends.measure(rounds=options.rounds, kills=options.kills)
    guard.measure(options.rounds, options.writes)
    module.measure(max(5, options.rounds // 4), max(100, options.writes // 10))
    return 0


if __name__ == "__main__":
    sys.exit(main())
