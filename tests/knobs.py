"""The host's knobs as an administrator reads and writes them: not through ktune.

Light: programs that tests start by the hundred import it, pytest is not to come with it.
"""

from __future__ import annotations

import os
from pathlib import Path


def write_knob(path: str, text: str) -> None:
    """One write(2), errors raised."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def read_knob(path: str) -> str:
    """The value in force; a choice file gives the chosen word."""
    text = Path(path).read_text().strip()
    return text.partition("[")[2].partition("]")[0] if "[" in text else " ".join(text.split())
