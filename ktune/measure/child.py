"""How our own child programs are started: fast, isolated, standard library only.

`python -I -S` starts in about 15 ms: no site-packages, no environment variables, no current
directory on the path. The package's own folder goes to the *end* of `sys.path`, so that nothing
beside it (site-packages of an installed wheel) can shadow the standard library.
"""

from __future__ import annotations

import os
import socket
import subprocess
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


def connected(
    module: str, *args: str, site: bool = False, stderr: int | None = None
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """The program, started, and our end of the socket that is its standard input: it ends when
    that closes. A session of its own: a terminal's signals do not reach it. Raises OSError."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(
                program(module, *args, site=site),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
    return process, ours
