"""A build of generated C: compile every unit, link, run what came out. Standard library only.

usage: compile_c [--units N] [--functions N] [--jobs N] [--folder PATH] [--compiler NAME] [--seed N]

The same seed writes the same program. `--jobs 0` runs as many compilers at a time as this load may
use CPUs. The program prints a number that this load works out too: a build that went wrong is no
result. Everything lies in a temporary folder (below `--folder`) that is removed.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from ktune.measure.workloads.options import OptionError, parse

DEFAULTS = {"units": 24, "functions": 40, "jobs": 0, "folder": "", "compiler": "cc", "seed": 1}
_MASK = 0xFFFFFFFF
_HEADERS = ("stdio.h", "stdlib.h", "string.h", "stdint.h", "math.h", "time.h", "sys/types.h")


class Body(NamedTuple):
    """The numbers in a generated function."""

    a: int
    b: int
    c: int
    rounds: int


class BuildFailed(Exception):
    """The compiler refused, or the program printed another number. For people."""


def main(argv: Sequence[str]) -> int:
    """Build, print `key=value` lines."""
    try:
        options = parse(argv, DEFAULTS)
        units, functions, jobs = (options[name] for name in ("units", "functions", "jobs"))
        if not (0 < units <= 10_000 and 0 < functions <= 10_000 and 0 <= jobs <= 1024):
            raise OptionError("expected --units and --functions from 1 to 10000, --jobs up to 1024")
        compiler = shutil.which(options["compiler"])
        if compiler is None:
            raise BuildFailed(f"no C compiler {options['compiler']}: apt-get install gcc libc6-dev")
        jobs = jobs or len(os.sched_getaffinity(0))
        with tempfile.TemporaryDirectory(
            prefix="ktune-build-", dir=options["folder"] or None
        ) as at:
            expected = write_sources(at, units, functions, options["seed"])
            compile_s, link_s = build(at, compiler, units, jobs, expected)
    except (OSError, OptionError, BuildFailed) as error:
        print(f"compile_c: {error}", file=sys.stderr)
        return 1
    seconds = compile_s + link_s
    print(f"units={units}")
    print(f"jobs={jobs}")
    print(f"seconds={seconds:.6f}")
    print(f"compile_seconds={compile_s:.6f}")
    print(f"link_seconds={link_s:.6f}")
    print(f"units_per_s={units / seconds:.3f}")
    return 0


def write_sources(folder: str, units: int, functions: int, seed: int) -> int:
    """Write `u0.c`...; the number that the program must print."""
    chooser = random.Random(seed)
    total = 0
    for unit in range(units):
        lines = [f"#include <{header}>" for header in _HEADERS]
        value = unit
        for number in range(functions):
            a, b, c = (chooser.randrange(1, 1 << 30) for _ in range(3))
            body = Body(a, b, c, chooser.randrange(2, 9))
            lines.append(_function(f"f{unit}_{number}", body))
            value = _evaluate(value, body)
        calls = " ".join(f"x = f{unit}_{number}(x);" for number in range(functions))
        lines.append(f"uint32_t unit{unit}(uint32_t x) {{ {calls} return x; }}")
        if unit == 0:
            lines += [f"uint32_t unit{other}(uint32_t);" for other in range(units)]
            sums = " ".join(f"sum += unit{other}({other}u);" for other in range(units))
            lines.append(
                f'int main(void) {{ uint32_t sum = 0; {sums} printf("%u\\n", sum); return 0; }}'
            )
        with open(os.path.join(folder, f"u{unit}.c"), "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        total = (total + value) & _MASK
    return total


def _function(name: str, body: Body) -> str:
    """Integer arithmetic with a loop and a switch: something for an optimiser to do."""
    a, b, c, rounds = body
    return (
        f"static uint32_t {name}(uint32_t x) {{\n"
        f"  for (int i = 0; i < {rounds}; i++)\n"
        f"    switch (x % 4u) {{\n"
        f"    case 0: x = x * {a}u + (uint32_t)i; break;\n"
        f"    case 1: x ^= {b}u >> (i & 7); break;\n"
        f"    case 2: x += {c}u - x / 3u; break;\n"
        f"    default: x = (x << 5 | x >> 27) ^ {a ^ c}u;\n"
        f"    }}\n"
        f"  return x;\n"
        f"}}"
    )


def _evaluate(x: int, body: Body) -> int:
    """What the C function returns."""
    a, b, c, rounds = body
    for i in range(rounds):
        match x % 4:
            case 0:
                x = x * a + i
            case 1:
                x ^= b >> (i & 7)
            case 2:
                x += c - x // 3
            case _:
                x = (x << 5 | x >> 27) ^ (a ^ c)
        x &= _MASK
    return x


def build(folder: str, compiler: str, units: int, jobs: int, expected: int) -> tuple[float, float]:
    """Seconds of compiling, and of linking and running. Raises BuildFailed, OSError."""

    def compile_one(unit: int) -> None:
        _run(folder, compiler, "-O2", "-c", f"u{unit}.c", "-o", f"u{unit}.o")

    started = time.perf_counter()
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(compile_one, range(units)))
    compiled = time.perf_counter()
    _run(folder, compiler, "-o", "program", *(f"u{unit}.o" for unit in range(units)))
    printed = _run(folder, "./program").strip()
    if printed != str(expected):
        raise BuildFailed(f"the program printed {printed[:40]!r} instead of {expected}")
    return compiled - started, time.perf_counter() - compiled


def _run(folder: str, *argv: str) -> str:
    done = subprocess.run(
        argv,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode:
        words = " ".join(argv[:4])
        raise BuildFailed(f"{words} failed ({done.returncode}): {done.stdout.strip()[:300]}")
    return done.stdout


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
