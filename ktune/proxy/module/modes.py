"""Modes, schedules and trees of the kernel module (kmod/uapi/ktune_modes.h). Standard library.

A session that has begun may tell the module's mode machine what it does, and give it a schedule by
which the kernel switches between baseline and candidate, or a tree by which it chooses a leaf.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from array import array
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from pathlib import Path

from ktune.proxy.module.device import Device

SYSFS = Path("/sys/kernel/ktune")
WINDOWS_MAX = 4096
SCHEDULE_VERSION = 1
_PATIENCE_S = 10.0
"""A restore that takes longer goes on; whoever waits has a look at the knobs by itself."""

_MODE = struct.Struct("=8I")
_SCHEDULE = struct.Struct(f"=4I{WINDOWS_MAX // 64}Q")
_STAMP = struct.Struct("=3QIBB2x")
_STAMPS = struct.Struct("=IIQII")
TREE_BYTES = 248
_KEEPS_AT = 20


def _request(direction: int, number: int, size: int) -> int:
    return direction << 30 | size << 16 | 0xBA << 8 | number


IOC_MODE = _request(3, 32, _MODE.size)
IOC_SCHEDULE = _request(1, 33, _SCHEDULE.size)
IOC_STAMPS = _request(3, 34, _STAMPS.size)
IOC_TREE = _request(1, 35, TREE_BYTES)
IOC_STOP = _request(0, 36, 0)
IOC_PAUSE = _request(0, 40, 0)
IOC_RESUME = _request(0, 41, 0)


class KernelMode(IntEnum):
    """What the module is in."""

    IDLE = 0
    LEARNING = 1
    COLLABORATION = 2
    RECOMMENDATION = 3
    EMERGENCY = 4


class KernelEvent(IntEnum):
    """What user space may tell."""

    STARTED = 0
    FINALISTS = 1
    NO_FINALIST = 2
    CONFIRMED = 3
    WATCH = 4
    REGRESSED = 5
    POLICY_GONE = 6
    TRIPPED = 7
    FOREIGN = 8
    CRITICAL = 9
    CLEARED = 10


class Keeps(IntEnum):
    """What a tree does when user space has died."""

    NOT = 0
    """The lease ends: the baseline."""
    ON = 1
    """Goes on, and renews the lease itself."""
    LEASE = 2
    """Goes on until the lease ends."""


class StampFlag(IntFlag):
    """Why a window may not count."""

    LATE = 1
    FAILED = 2
    CUT = 4


@dataclass(frozen=True)
class ModeNow:
    """The machine after an event; `commands` are bits of enum kt_command (kmod/kt_core.h)."""

    mode: KernelMode
    commands: int
    trips: int


@dataclass(frozen=True)
class WindowStamp:
    """One window as it was; nanoseconds of CLOCK_BOOTTIME, 0 where that has not happened."""

    asked_ns: int
    begun_ns: int
    ended_ns: int
    window: int
    candidate: bool
    flags: StampFlag


@dataclass(frozen=True)
class Stamps:
    """The windows so far."""

    windows: tuple[WindowStamp, ...]
    planned: int
    over: bool


def tell(
    device: Device, event: KernelEvent, *, max_trips: int = 3, reapplies: bool = False
) -> ModeNow:
    """Tell the machine an event; `max_trips` and `reapplies` count with STARTED and WATCH.

    Raises OSError: EPERM in an emergency, EBUSY where another session holds the mode, ESRCH where
    this one does not, EBADFD for a session that has not begun or a mode in which it has no place.
    """
    raw = bytearray(_MODE.pack(event, max_trips, int(reapplies), 0, 0, 0, 0, 0))
    fcntl.ioctl(device.fd, IOC_MODE, raw)
    _, _, _, mode, commands, trips, _, _ = _MODE.unpack(raw)
    return ModeNow(KernelMode(mode), commands, trips)


def start_schedule(
    device: Device, candidate_first: Sequence[bool], window_s: float, slot: int = 1
) -> None:
    """Have the kernel switch between the baseline and the assignment staged in `slot`.

    One coin for each pair: True, and its first window is the candidate's. Raises OSError (EINVAL,
    ENOENT: nothing staged, EBADFD: not in collaboration mode) and ValueError.
    """
    fcntl.ioctl(device.fd, IOC_SCHEDULE, packed_schedule(candidate_first, window_s, slot))


def packed_schedule(candidate_first: Sequence[bool], window_s: float, slot: int) -> bytes:
    """The struct ktune_schedule. Raises ValueError: no pair, or more than the kernel takes."""
    windows = 2 * len(candidate_first)
    if not 0 < windows <= WINDOWS_MAX:
        raise ValueError(f"a schedule holds 1 to {WINDOWS_MAX // 2} pairs, not {windows // 2}")
    bits = [0] * (WINDOWS_MAX // 64)
    for pair, first in enumerate(candidate_first):
        at = 2 * pair + (not first)
        bits[at // 64] |= 1 << at % 64
    return _SCHEDULE.pack(SCHEDULE_VERSION, windows, round(1000 * window_s), slot, *bits)


def stamps(device: Device, first: int = 0) -> Stamps:
    """The windows from number `first` on. Raises OSError: ENODATA without a schedule."""
    room = array("B", bytes(_STAMP.size * WINDOWS_MAX))
    address = room.buffer_info()[0]
    raw = bytearray(_STAMPS.pack(first, WINDOWS_MAX, address, 0, 0))
    fcntl.ioctl(device.fd, IOC_STAMPS, raw)
    _, count, _, planned, over = _STAMPS.unpack(raw)
    rows = _STAMP.iter_unpack(room.tobytes()[: count * _STAMP.size])
    windows = tuple(
        WindowStamp(asked, begun, ended, window, bool(arm), StampFlag(flags))
        for asked, begun, ended, window, arm, flags in rows
    )
    return Stamps(windows, planned, bool(over))


def start_tree(device: Device, tree: bytes) -> None:
    """Have the kernel follow a tree (`policy.kernel_tree`); leaf i is the slot i + 1.

    Raises OSError: EOPNOTSUPP for a feature that this kernel can't count, EINVAL, ENOENT: a leaf
    that was not staged, EBADFD: not in recommendation mode.
    """
    fcntl.ioctl(device.fd, IOC_TREE, tree)


def stop(device: Device) -> None:
    """End the schedule or the tree; the baseline is in force. Raises OSError."""
    fcntl.ioctl(device.fd, IOC_STOP)


def pause_tree(device: Device) -> None:
    """Have the tree rest, with what it has chosen in force; the session may write again.

    Raises OSError: ESRCH without a tree of this session, EBADFD for a schedule.
    """
    fcntl.ioctl(device.fd, IOC_PAUSE)


def resume_tree(device: Device) -> None:
    """Have it look again, from now on; its leaf is put in force. Raises OSError."""
    fcntl.ioctl(device.fd, IOC_RESUME)


def keeping(tree: bytes, keeps: Keeps) -> bytes:
    """The same tree with another answer to the death of user space. Raises ValueError: no tree."""
    if len(tree) != TREE_BYTES:
        raise ValueError(f"a tree has {TREE_BYTES} bytes, not {len(tree)}")
    return tree[:_KEEPS_AT] + bytes([keeps]) + tree[_KEEPS_AT + 1 :]


def shown(name: str) -> str:
    """One file of /sys/kernel/ktune (`mode`, `stats/looks`). Raises OSError."""
    return (SYSFS / name).read_text().rstrip("\n")


def tree_leaf() -> int | None:
    """The leaf that the kernel has chosen, by its number; None: it follows no tree."""
    try:
        leaf = int(shown("tree/leaf"))
    except OSError:
        return None  # no module
    return leaf if leaf >= 0 else None


def alone_s() -> float | None:
    """For how long a tree still goes on whose user space has died; None: none does."""
    try:
        return int(shown("lease")) / 1000 if shown("unguarded") == "1" else None
    except OSError:
        return None  # no module


def end_alone() -> None:
    """End a tree whose user space has died, if there is one; waits for its restore. Raises
    OSError."""
    if alone_s() is None:
        return
    sessions = int(shown("sessions"))
    _write("mode", "idle")
    until_s = time.monotonic() + _PATIENCE_S
    while int(shown("sessions")) >= sessions and time.monotonic() < until_s:
        time.sleep(0.02)


def end_emergency() -> bool:
    """End one that the kernel is in. False: it is in none. Raises OSError."""
    if not SYSFS.exists() or shown("mode") != "emergency":
        return False
    _write("mode", "idle")
    return True


def _write(name: str, text: str) -> None:
    fd = os.open(SYSFS / name, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def emergency() -> str | None:
    """Why the module is in an emergency now; None: it is not, or there is no module."""
    with suppress(OSError):
        if shown("mode") == "emergency":
            return shown("reason")
    return None


def known_features() -> int:
    """The features that this kernel's module can count, one bit each. Raises OSError."""
    return int(shown("tree/known"), 16)
