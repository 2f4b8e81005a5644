"""One command in a guest: QEMU in software emulation, Debian's kernel, this machine's files.

The guest sees / of this machine read-only (9p) below a layer in memory. Its first serial line
carries the kernel's words alone, the second the command's output, so that a word of a test is never
taken for a complaint of the kernel. It never uses KVM: /dev/kvm opens on machines where no stock
kernel runs.
"""

from __future__ import annotations

import compileall
import os
import secrets
import select
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from .archive import Archive
from .building import build
from .disk import Disk
from .in_memory import pack
from .kernels import Kernel
from .modules import every_module, loaded_in_order
from .needs import program, static_busybox
from .verdict import Verdict, judge
from .waking import Waker

CHECKOUT = Path(__file__).resolve().parents[2]
MODULE_SOURCE = CHECKOUT / "kmod"
GUEST_WORD = "ktune_guest"
"""On the guest's kernel command line; tests that only run there look for it."""
_HERE = Path(__file__).parent
_SHARE = "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"
_DRIVERS = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
_DISK_DRIVERS = ("virtio_blk", "crc32c_generic", "ext4")
_SCRIPTS = ("second.sh", "booted.sh", "in_boot.sh")


@dataclass(frozen=True)
class Guest:
    """How a guest is made. `module` is the source of our kernel module, None for none."""

    kernel: Kernel
    module: Path | None = None
    memory_mib: int = 1536
    cpus: int = 1
    limit_s: float = 900.0
    append: str = ""
    devices: Sequence[str] = field(default=())
    """More words for QEMU."""
    in_memory: bool = False
    """A root in memory: sleep does it no harm; the machine's other files are not there."""
    disk: Disk | None = None
    """Takes what is written, in the place of memory, and systemd is process 1 (`booting.py`)."""
    cut_at_end: bool = False
    """With a disk: no shutdown, the machine is gone at once."""
    log: Path | None = None
    """Where the kernel's own words are kept."""

    def run(self, command: str, shown: TextIO) -> Verdict:
        """Boot, run `command` (for sh) in the checkout, power off. Its output goes to `shown`.

        Raises GuestError: something is missing, the module does not build.
        """
        _compile()
        with tempfile.TemporaryDirectory(prefix="ktune-guest-") as made:
            work = Path(made)
            marker = f"KTUNE-GUEST-{secrets.token_hex(8)}"
            (work / "initramfs").write_bytes(self._initramfs(command, marker, work))
            kernel_log = work / "kernel.log"
            argv = self._argv(work / "initramfs", kernel_log)
            with Waker(work) as waker:
                output, ended = watched(
                    [*argv, *waker.words],
                    self.limit_s,
                    shown,
                    marker=marker,
                    cut=self.cut_at_end,
                )
            log = kernel_log.read_text(errors="replace") if kernel_log.exists() else ""
            if self.log:
                self.log.write_text(log)
            return judge(log, output, marker=marker, ended=ended, limit_s=self.limit_s)

    def _initramfs(self, command: str, marker: str, work: Path) -> bytes:
        archive = Archive()
        for name in ("bin", "dev", "proc", "sys", "host", "memory", "new", "guest/kmod"):
            archive.folder(name)
        archive.character_device("dev/console", 5, 1)
        archive.file("bin/busybox", static_busybox().read_bytes(), 0o755)
        archive.file("init", (_HERE / "first.sh").read_bytes(), 0o755)
        for script in _SCRIPTS:
            archive.file(f"guest/{script}", (_HERE / script).read_bytes())
        archive.file("guest/command", command.encode() + b"\n")
        settings = {
            "RELEASE": self.kernel.release,
            "ROOT": self._root,
            "END": "cut" if self.cut_at_end else "off",
            "KERNEL_MODULES": str(self.kernel.modules),
            "CHECKOUT": str(CHECKOUT),
            "PROGRAMS": str(Path(sys.executable).parent),
            "MARKER": marker,
        }
        lines = "".join(f"{key}={shlex.quote(value)}\n" for key, value in settings.items())
        archive.file("guest/settings", lines.encode())
        wanted = () if self.in_memory else _DRIVERS + (_DISK_DRIVERS if self.disk else ())
        drivers = loaded_in_order(self.kernel.modules, wanted)
        for driver in drivers:
            archive.file(f"guest/modules/{driver.name}.ko", driver.content)
        archive.file("guest/drivers", _lines(driver.name for driver in drivers))
        ours = every_module(build(self.module, self.kernel, work)) if self.module else []
        for module in ours:
            archive.file(f"guest/kmod/{module.name}.ko", module.content)
        archive.file("guest/kmod/order", _lines(module.name for module in ours))
        if self.in_memory:
            pack(archive, CHECKOUT)
        return archive.written()

    @property
    def _root(self) -> str:
        if self.in_memory:
            return "memory"
        return "disk" if self.disk else "host"

    def _argv(self, initramfs: Path, kernel_log: Path) -> list[str]:
        checks = "slub_debug=FZPU " if self.module else ""  # all else takes twice as long
        words = (
            f"console=ttyS0 loglevel=5 panic=-1 oops=panic mitigations=off {checks}"
            "no_timer_check "  # on a busy host the check of the timer fails, and the boot with it
            f"{GUEST_WORD} {self.append}"
        )
        return [
            *(program("setpriv"), "--pdeathsig", "KILL"),
            program("qemu-system-x86_64"),
            # q35 does not sleep or power off any more once it was awakened.
            *("-M", "pc" if self.in_memory else "q35"),
            *("-accel", "tcg,thread=multi", "-cpu", "max,la57=off"),
            *("-smp", str(self.cpus), "-m", str(self.memory_mib)),
            *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
            *("-serial", f"file:{kernel_log}", "-serial", "stdio"),
            *("-kernel", str(self.kernel.image), "-initrd", str(initramfs)),
            *("-append", words.strip()),
            *(() if self.in_memory else ("-virtfs", _SHARE)),
            *(self.disk.words if self.disk else ()),
            *self.devices,
        ]


def _compile() -> None:
    """What emulation would compile at the first start of each program. Best effort: a checkout that
    can't be written to is compiled in the guest."""
    for name in ("ktune", "tests"):
        compileall.compile_dir(CHECKOUT / name, quiet=2)


def _lines(words: Iterable[str]) -> bytes:
    return "".join(f"{word}\n" for word in words).encode()


def watched(
    argv: Sequence[str], limit_s: float, shown: TextIO, *, marker: str, cut: bool
) -> tuple[str, bool]:
    """Output of a guest, and whether it ended as it should: by itself, or `cut` off at the line
    with the marker. That line is not shown."""
    until = time.monotonic() + limit_s
    held = bytearray()
    passed_on = 0
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        try:
            while (left_s := until - time.monotonic()) > 0:
                if not select.select([pipe], [], [], left_s)[0]:
                    break
                data = os.read(pipe, 1 << 16)
                if not data:
                    return _text(held), True
                held += data
                while (end := held.find(b"\n", passed_on)) >= 0:
                    line = _text(held[passed_on : end + 1])
                    passed_on = end + 1
                    if marker not in line:
                        shown.write(line)
                        shown.flush()
                    elif cut:
                        return _text(held), True
            return _text(held), False
        finally:
            process.kill()


def _text(data: bytes | bytearray) -> str:
    return data.decode(errors="replace").replace("\r", "")
