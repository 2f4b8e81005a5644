"""Tests in `inside/` may touch every knob of the machine: they are collected in a guest only."""

from __future__ import annotations

from pathlib import Path

from tests.guest.machine import GUEST_WORD

collect_ignore = (
    [] if GUEST_WORD in Path("/proc/cmdline").read_text().split() else ["inside", "asleep"]
)
