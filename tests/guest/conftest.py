"""Tests in `inside/` may touch every knob of the machine: they are collected in a guest only. Those
in `booted/` boot machines one after the other: only where the runner has named a kernel."""

from __future__ import annotations

import os
from pathlib import Path

from tests.guest.booting import RELEASE_VARIABLE
from tests.guest.machine import GUEST_WORD

collect_ignore = (
    [] if GUEST_WORD in Path("/proc/cmdline").read_text().split() else ["inside", "asleep"]
)
if RELEASE_VARIABLE not in os.environ:
    collect_ignore += ["booted"]
