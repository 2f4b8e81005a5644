"""Compiles `programs/*.bpf.c` to the objects that ship with ktune; only developers need it.

    python -m ktune.kernel.bpf.build            compile and replace the checked-in objects
    python -m ktune.kernel.bpf.build --check    compile elsewhere and compare byte for byte

The same clang (Debian 12: clang 14, llvm 14, libbpf-dev) gives the same bytes: paths are relative
to `programs/` and DWARF is stripped; BTF stays. Standard library only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from ktune.kernel.bpf.objects import PROGRAMS

CLANG = "clang-14"
STRIP = "llvm-strip-14"


def sources() -> list[Path]:
    """Every program's source, by name."""
    return sorted(PROGRAMS.glob("*.bpf.c"))


def compile_object(source: Path, target: Path) -> None:
    """Compile one source. Raises OSError (no clang), subprocess.CalledProcessError."""
    arch = sysconfig.get_config_var("MULTIARCH") or "x86_64-linux-gnu"
    subprocess.run(
        [
            *(CLANG, "-target", "bpfel", "-O2", "-g", "-Wall", "-Werror"),
            f"-I/usr/include/{arch}",  # asm/types.h, the same on every little-endian machine
            *("-fdebug-compilation-dir=.", "-c", source.name, "-o", str(target)),
        ],
        cwd=source.parent,
        check=True,
    )
    subprocess.run([STRIP, "--strip-debug", str(target)], check=True)


def differing() -> list[str]:
    """Names of objects that are missing, or not what their source compiles to."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for source in sources():
            name = source.name.removesuffix(".c") + ".o"
            fresh, kept = Path(folder, name), PROGRAMS / name
            compile_object(source, fresh)
            if not kept.exists() or kept.read_bytes() != fresh.read_bytes():
                found.append(name)
    known = {source.name.removesuffix(".c") + ".o" for source in sources()}
    return found + [path.name for path in PROGRAMS.glob("*.o") if path.name not in known]


def main(argv: list[str]) -> int:
    """Returns the exit status: 1 where `--check` finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m ktune.kernel.bpf.build")
    parser.add_argument("--check", action="store_true", help="compare, change nothing")
    if parser.parse_args(argv).check:
        wrong = differing()
        for name in wrong:
            print(f"{name} is not what its source compiles to: run the build", file=sys.stderr)
        return 1 if wrong else 0
    for source in sources():
        compile_object(source, PROGRAMS / (source.name.removesuffix(".c") + ".o"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
