"""/dev/ktune against requests that nobody means well, and against leaks."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import random
import struct
import subprocess
from pathlib import Path

from ktune.proxy.module import device as wire
from ktune.proxy.module.device import Couple, Device
from tests.guest.inside.module_rig import (
    BYTES,
    CHOICE,
    INT,
    LONG_S,
    RATIO,
    RMEM,
    SWAPPINESS,
    THP,
    VECTOR,
    live,
    needs_module,
    path_of,
    refused,
)
from tests.proxy.rig import wait_until

pytestmark = needs_module

PROT_NONE = 0


def test_a_reader_of_the_device_may_only_look() -> None:
    fd = os.open(wire.DEVICE, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.ioctl(fd, wire.IOC_INFO, bytearray(wire._INFO.size))
    with refused(errno.EBADF):
        fcntl.ioctl(fd, wire.IOC_COMMIT)
    os.close(fd)


REQUESTS = tuple(value for name, value in vars(wire).items() if name.startswith("IOC_"))


def test_bad_pointers_are_told_and_not_followed(device: Device) -> None:
    device.add(SWAPPINESS, INT)
    device.begin(LONG_S)
    raw = ctypes.CDLL(None, use_errno=True).ioctl
    for address in (0, 1, 0xFFFF_8000_0000_0000, (1 << 64) - 8, 0x1000):
        for request in REQUESTS:
            if request in (wire.IOC_COMMIT, wire.IOC_RELEASE):
                continue
            code = raw(device.fd, ctypes.c_ulong(request), ctypes.c_ulong(address))
            assert (code, ctypes.get_errno()) == (-1, errno.EFAULT)
        items = wire._SET.pack(1, 0, 0, 0, address, 0, 0)
        with refused(errno.EFAULT):
            fcntl.ioctl(device.fd, wire.IOC_APPLY, bytearray(items))


def test_a_struct_that_ends_at_the_end_of_memory_is_read_no_further(device: Device) -> None:
    pages = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    start = ctypes.c_char.from_buffer(pages)
    end = ctypes.addressof(start) + mmap.PAGESIZE
    libc = ctypes.CDLL(None, use_errno=True)
    closed = libc.mprotect(ctypes.c_void_p(end), ctypes.c_size_t(mmap.PAGESIZE), PROT_NONE)
    assert closed == 0
    code = libc.ioctl(device.fd, ctypes.c_ulong(wire.IOC_ADD), ctypes.c_ulong(end - 100))
    assert (code, ctypes.get_errno()) == (-1, errno.EFAULT)
    del start
    pages.close()


def test_reserved_fields_and_sizes_are_checked(device: Device) -> None:
    device.add(SWAPPINESS, INT)
    device.add(RATIO, INT)
    with refused(errno.EINVAL):
        fcntl.ioctl(device.fd, wire.IOC_BEGIN, wire._LEASE.pack(10**9, 0, 0, 1))
    with refused(errno.EINVAL):
        fcntl.ioctl(device.fd, wire.IOC_COUPLE, wire._COUPLE.pack(1, 0, 1, 9))
    with refused(errno.EINVAL):
        fcntl.ioctl(device.fd, wire.IOC_COUPLE, wire._COUPLE.pack(9, 0, 1, 0))
    device.begin(LONG_S)
    for count in (0, wire.KNOBS_MAX + 1, 0xFFFFFFFF):
        with refused(errno.EINVAL):
            fcntl.ioctl(device.fd, wire.IOC_APPLY, wire._SET.pack(count, 0, 0, 0, 0, 0, 0))
    unended = wire._ITEM.pack(0, 0, 0, 0, b"1" * wire.TEXT_MAX)
    buffer = ctypes.create_string_buffer(unended, len(unended))
    with refused(errno.EINVAL):
        fcntl.ioctl(
            device.fd,
            wire.IOC_APPLY,
            wire._SET.pack(1, 0, 0, 0, ctypes.addressof(buffer), 0, 0),
        )
    for request in (wire._request(3, 1, 8), wire._request(2, 1, wire._ADD.size), 0, 0xBA00, 0x5401):
        with refused(errno.ENOTTY):
            fcntl.ioctl(device.fd, request, bytearray(4096))


def test_ten_thousand_random_requests_change_nothing_for_good() -> None:
    """Well-formed and broken ones by turns, on sessions in every state; what is not in a lease
    at the end was never written, and all that was comes back."""
    chosen = random.Random(20260101)
    before = {name: path_of(name).read_text() for name in (SWAPPINESS, RMEM, RATIO, BYTES, THP)}
    kinds = {SWAPPINESS: INT, RMEM: VECTOR, RATIO: INT, BYTES: INT, THP: CHOICE}
    texts = ("17", "33", "0", "-1", "4096 65536 999424", "always", "never", "536870912", "\x7f", "")
    device = Device()
    answered = {True: 0, False: 0}
    for _ in range(12_000):
        at = chosen.randrange(20)
        small = chosen.choice((0, 1, 2, 3, 7, 255, 256, 0xFFFFFFFF))
        try:
            if at == 0 and chosen.random() < 0.3:
                device.close()
                device = Device()
            elif at <= 3:
                name = chosen.choice(list(kinds))
                device.add(name, kinds[name], watch=chosen.random() < 0.3)
            elif at == 4:
                device.couple(chosen.choice(list(Couple)), small % 6, chosen.randrange(6))
            elif at == 5:
                device.begin(chosen.choice((0.001, 0.05, 5.0, 600.0)))
            elif at <= 9:
                items = [(chosen.randrange(6), chosen.choice(texts)) for _ in range(small % 5)]
                device.apply(items)
            elif at == 10:
                device.stage(chosen.randrange(17), [(small % 6, chosen.choice(texts))])
            elif at == 11:
                device.switch(small)
            elif at == 12 and chosen.random() < 0.1:
                device.release()
            elif at == 13:
                device.knob(small)
            elif at == 14:
                device.renew(chosen.choice((0.001, 1.0, 600.0)))
            elif at == 15:
                device.result(chosen.randrange(50))
            else:
                request = chosen.choice((*REQUESTS, chosen.getrandbits(32)))
                if request in (wire.IOC_COMMIT, wire.IOC_KEEP):
                    continue
                raw = bytearray(chosen.randbytes(4096))
                if chosen.random() < 0.5:
                    raw[: 4 * 64] = struct.pack("=64I", *(chosen.randrange(4) for _ in range(64)))
                fcntl.ioctl(device.fd, request, raw)
            answered[True] += 1
        except OSError as error:
            assert error.errno not in (errno.EIO, errno.ENOMEM)
            answered[False] += 1
    device.close()
    assert min(answered.values()) > 1000
    assert {name: path_of(name).read_text() for name in before} == before


def slabs() -> dict[str, int]:
    """Objects in use by slab cache; slub_debug keeps them apart."""
    found = {}
    for line in Path("/proc/slabinfo").read_text().splitlines()[2:]:
        name, active = line.split()[:2]
        if name.startswith(("kmalloc-", "filp", "dentry")):
            found[name] = int(active)
    return found


def test_a_thousand_leases_leak_nothing() -> None:
    def cycle() -> None:
        device = Device()
        device.add(SWAPPINESS, INT)
        device.add(RMEM, VECTOR)
        device.begin(LONG_S)
        device.stage(1, [(0, "21")])
        device.apply([(0, "17"), (1, "4096 65536 999424")])
        device.switch(1)
        device.close()

    def used() -> tuple[int, int]:
        return (
            int(Path("/proc/sys/fs/file-nr").read_text().split()[0]),
            sum(count for name, count in slabs().items() if name.startswith("kmalloc-")),
        )

    for _ in range(100):
        cycle()
    os.sync()
    files, objects = used()
    for _ in range(1000):
        cycle()
    wait_until(lambda: used()[0] < files + 100)  # files of a worker are freed a little later
    wait_until(lambda: used()[1] < objects + 700)  # one object a lease would be a thousand
    assert Path("/sys/module/ktune/refcnt").read_text().strip() == "0"


def test_it_unloads_and_loads_again_twenty_times() -> None:
    before = live(SWAPPINESS)
    module = Path(os.environ.get("KTUNE_GUEST_MODULES", "/k")) / "ktune.ko"
    for _ in range(20):
        with_lease = Device()
        with_lease.add(SWAPPINESS, INT)
        with_lease.begin(LONG_S)
        with_lease.apply([(0, "17")])
        with_lease.close()
        subprocess.run(["rmmod", "ktune"], check=True)
        subprocess.run(["insmod", str(module)], check=True)
    assert live(SWAPPINESS) == before
