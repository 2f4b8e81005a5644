"""Where programs of workloads are looked for. Standard library only."""

from __future__ import annotations

import os
import shutil

WORKLOAD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Nothing of the caller's own PATH reaches a workload."""


def is_there(program: str, path: str = WORKLOAD_PATH) -> bool:
    """Whether execvp(3) with that PATH would find a program."""
    if "/" in program:
        return os.access(program, os.X_OK)
    return shutil.which(program, path=path) is not None
