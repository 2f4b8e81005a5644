"""How our own child programs are started: fast, isolated, standard library only.

`python -I -S` starts in about 15 ms: no site-packages, no environment variables, no current
directory on the path. The package's own folder goes to the *end* of `sys.path`, so that nothing
beside it (site-packages of an installed wheel) can shadow the standard library.
"""

from __future__ import annotations

import os
import sys

_BOOT = (
    "import sys, importlib; sys.path.append(sys.argv[1]); "
    "raise SystemExit(importlib.import_module(sys.argv[2]).main(sys.argv[3:]))"
)
_PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def program(module: str, *args: str, site: bool = False) -> list[str]:
    """The argv that runs `main(args)` of one of our standard-library-only modules; with `site`
    of one that needs an installed package too."""
    without = [] if site else ["-S"]
    return [sys.executable, "-I", *without, "-c", _BOOT, _PACKAGE_ROOT, module, *args]
