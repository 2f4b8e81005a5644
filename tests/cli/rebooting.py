"""A host that reboots: the same machine with another boot id and kernel command line.

Both files are covered in a mount namespace of the command's own; the kernel's settings are put back
by the test, as a real boot would.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ktune.records import clock
from ktune.records.paths import StatePaths
from ktune.records.watches import WatchRecord, watch_id, write_watch
from tests.conftest import RUNTIME, HostKnobs

from .support import Cli, Ran

KNOB = "vm.stat_interval"
FILE = "/proc/sys/vm/stat_interval"
_COVERED = "/proc/sys/kernel/random/boot_id", "/proc/cmdline"
_RUN = """
mount --bind "$1" /proc/sys/kernel/random/boot_id && mount --bind "$2" /proc/cmdline || exit 99
shift 2; exec "$@"
"""


@dataclass
class Host:
    """Commands on a host that can be rebooted; `units` is its /etc/systemd/system."""

    folder: Path
    knobs: HostKnobs
    boots: int = 0

    def __post_init__(self) -> None:
        self.units = self.folder / "units"
        self.paths = StatePaths(self.folder / "state", RUNTIME)
        self.reboot(setting="1")

    def reboot(self, *, setting: str, parameters: str = "quiet") -> None:
        """Another boot; `setting` is what sysctl.d or the kernel gives the knob."""
        self.boots += 1
        (self.folder / "boot_id").write_text(f"{uuid.UUID(int=self.boots)}\n")
        (self.folder / "cmdline").write_text(f"console=ttyS0 {parameters}\n")
        for link in (RUNTIME / "journals").glob("*"):
            link.unlink()
        self.knobs.write(FILE, setting)

    @property
    def boot_id(self) -> str:
        return str(uuid.UUID(int=self.boots))

    def __call__(self, *words: object) -> Ran:
        return Cli(self.folder / "state", prefix=self.prefix)(*words)

    @property
    def prefix(self) -> tuple[str, ...]:
        files = str(self.folder / "boot_id"), str(self.folder / "cmdline")
        return ("unshare", "--mount", "sh", "-c", _RUN, "sh", *files)

    @property
    def live(self) -> str:
        return self.knobs.read(FILE)

    @property
    def status(self) -> Any:
        return self("status", "--json").json

    def persist(self, file: Path, *words: str) -> Ran:
        return self("apply", file, "--persist", "--yes", "--unit-dir", self.units, *words)

    def watched(self, document: Any, **changes: Any) -> None:
        """The record that a watch leaves after the probation."""
        import os

        fields: dict[str, Any] = {
            "id": watch_id(document.name, document.digest, 0),
            "policy": document.name,
            "serial": document.serial,
            "digest": document.digest,
            "scope": "host",
            "boot_id": self.boot_id,
            "kernel": os.uname().release,
            "mode": "recommendation",
            "phase": "steady",
            "since": clock.now(),
            "reason": "30 pairs without a regression",
            "seed": 1,
        }
        write_watch(self.paths, WatchRecord(**(fields | changes)))

    def healthy(self) -> None:
        """What the watch records after the probation of a boot."""
        path = self.paths.persisted / "boot.json"
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"healthy": clock.now()}))
