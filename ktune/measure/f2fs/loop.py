"""A loop device of a given number, which empties itself. Standard library only.

Sources: loop(4), include/uapi/linux/loop.h. With LO_FLAGS_AUTOCLEAR the kernel lets go of the file
when the last mount or descriptor of the device is gone, whoever dies.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import time
from contextlib import suppress

_CONTROL = "/dev/loop-control"
_LOOP_CONFIGURE = 0x4C0A
_LOOP_CTL_ADD = 0x4C80
_LOOP_CTL_REMOVE = 0x4C81
_AUTOCLEAR = 4
_INFO = struct.Struct("=QQQQQIIII64s64s32sQQ")
"""struct loop_info64."""
_CONFIG = struct.Struct(f"=II{_INFO.size}s64x")
"""struct loop_config."""
_MAJOR = 7
_NODE_S = 5.0


def attach(number: int, image: int) -> int:
    """The descriptor of the device `loopN`, which shows the file `image` as long as it is used.

    Raises OSError: EBUSY, somebody else has this device.
    """
    control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        with suppress(FileExistsError):
            fcntl.ioctl(control, _LOOP_CTL_ADD, number)
    finally:
        os.close(control)
    device = _open(number)
    try:
        info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, _AUTOCLEAR, b"", b"", b"", 0, 0)
        fcntl.ioctl(device, _LOOP_CONFIGURE, _CONFIG.pack(image, 0, info))
    except BaseException:
        os.close(device)
        raise
    return device


def remove(number: int) -> None:
    """The empty device goes, too; one that is still in use stays. Raises OSError (EBUSY)."""
    control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(control, _LOOP_CTL_REMOVE, number)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
    finally:
        os.close(control)


def _open(number: int) -> int:
    """devtmpfs, or udev, needs a moment to show it."""
    path = f"/dev/loop{number}"
    until = time.monotonic() + _NODE_S
    while True:
        try:
            device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
            continue
        about = os.fstat(device)
        if stat.S_ISBLK(about.st_mode) and about.st_rdev == os.makedev(_MAJOR, number):
            return device
        os.close(device)
        raise OSError(errno.ENODEV, f"{path} is no loop device")
