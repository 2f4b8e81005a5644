"""A machine that is booted again and again: systemd is process 1, a disk keeps what is written.

Each boot runs one command once multi-user.target is reached, then the machine is shut down, or its
power is cut. A machine can be copied between two boots, so that tests share what came before.
"""

from __future__ import annotations

import io
import sys
import tempfile
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TextIO

from .disk import Disk
from .kernels import Kernel
from .machine import Guest
from .needs import SYSTEMD, GuestError, check
from .verdict import Verdict

RELEASE_VARIABLE = "KTUNE_GUEST_RELEASE"
"""Kernel of the machines that tests on the host boot; the runner sets it."""

_ALWAYS = "rcupdate.rcu_cpu_stall_suppress=1 systemd.show_status=error "
"""A busy host may leave a guest without a CPU for longer than its kernel likes; of systemd's words
only complaints."""


class End(StrEnum):
    """How a boot ends once its command has."""

    OFF = "off"
    """`systemctl poweroff`: every unit is stopped, everything is on the disk."""
    CUT = "cut"
    """QEMU is killed: only what was synced is on the disk."""


@dataclass(frozen=True)
class Boot:
    """What became of one boot; `log` has the kernel's and systemd's words."""

    verdict: Verdict
    output: str
    log: str

    @property
    def code(self) -> int | None:
        return self.verdict.code


@dataclass
class Machine:
    """A machine with one kernel and one disk.

    `module`: source of our kernel module; its files are in /run/guest/kmod, nothing loads them.
    `shown`: where outputs go while they come.
    """

    kernel: Kernel
    disk: Disk
    module: Path | None = None
    memory_mib: int = 1536
    cpus: int = 1
    limit_s: float = 1800.0
    shown: TextIO = field(default_factory=lambda: sys.stdout)

    @staticmethod
    def make(kernel: Kernel, folder: Path, *, module: Path | None = None) -> Machine:
        """One that was never booted, with a new disk in `folder`. Raises GuestError."""
        check(SYSTEMD)
        return Machine(kernel, Disk.make(folder / "disk.ext4"), module)

    def copied(self, folder: Path) -> Machine:
        """Another machine, with all that this one has written so far."""
        return replace(self, disk=self.disk.copied(folder / "disk.ext4"))

    def boot(self, command: str, *, append: str = "", end: End = End.OFF) -> Boot:
        """Boot, run `command` (for sh, as root, in the checkout), end.

        `append`: more words for the kernel command line.

        Raises:
            GuestError: the machine hung, did not tell an exit code, or its kernel complained.
        """
        output = _Tee(self.shown)
        with tempfile.TemporaryDirectory(prefix="ktune-boot-") as made:
            log = Path(made) / "kernel.log"
            verdict = Guest(
                self.kernel,
                self.module,
                memory_mib=self.memory_mib,
                cpus=self.cpus,
                limit_s=self.limit_s,
                append=_ALWAYS + append,
                disk=self.disk,
                cut_at_end=end is End.CUT,
                log=log,
            ).run(command, output)
            boot = Boot(verdict, output.getvalue(), log.read_text(errors="replace"))
        if verdict.problems:
            raise GuestError("\n".join(verdict.problems))
        return boot


class _Tee(io.StringIO):
    """Keeps what is written and passes it on."""

    def __init__(self, other: TextIO) -> None:
        super().__init__()
        self._other = other

    def write(self, text: str) -> int:
        self._other.write(text)
        return super().write(text)

    def flush(self) -> None:
        self._other.flush()
