"""The service that is watched: which processes it has now, and whether it is still the same.

A process is named by its id and its start time: ids are used again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ktune.errors import RefusedError
from ktune.measure.attach import cgroups
from ktune.measure.attach.fields import NoSuchField, start_ticks
from ktune.measure.attach.files import read_kernel_file
from ktune.measure.attach.specs import MissingData, TargetKind, TargetSpec


@dataclass(frozen=True, order=True)
class ServiceProcess:
    """One process for good: ordered by age, the oldest first."""

    start_ticks: int
    pid: int

    @property
    def key(self) -> str:
        return f"{self.pid}:{self.start_ticks}"


class Target:
    """One service. `look()` before the first window says whether it is there at all."""

    def __init__(self, spec: TargetSpec) -> None:
        """Raises RefusedError for a cgroup that is none."""
        self.spec = spec
        self._fixed: ServiceProcess | None = None
        self._folder = ""
        if spec.kind is TargetKind.CGROUP:
            self._folder = os.path.realpath(spec.name)
            if os.path.isdir(self._folder) and not cgroups.is_cgroup(self._folder):
                raise RefusedError(f"{spec.name} is no cgroup", hint="see `attach:` in the profile")

    def look(self) -> tuple[ServiceProcess, ...]:
        """The processes now, oldest first, at least one. Raises MissingData."""
        found = sorted(filter(None, map(_identified, self._pids())))
        if self.spec.kind is TargetKind.PID and found:
            if self._fixed is None:
                self._fixed = found[0]
            elif self._fixed != found[0]:
                raise MissingData(f"process {self.spec.name} ended; its number is another's now")
        if not found:
            raise MissingData(f"{self.spec} has no process: the service is gone")
        return tuple(found)

    def folder_with(self, file: str, main: ServiceProcess) -> str:
        """The service's own cgroup folder that has this file. Raises MissingData."""
        for folder in self._folders(main):
            if os.path.isfile(os.path.join(folder, file)):
                return folder
        raise MissingData(f"no cgroup of {self.spec} has a file {file}")

    def unified_folder(self) -> str:
        """The service's own folder in cgroup version 2. Raises MissingData."""
        mounts = [item.mount.rstrip("/") for item in cgroups.hierarchies() if item.unified]
        for folder in self._folders(self.look()[0]):
            if any(folder.startswith(f"{mount}/") for mount in mounts):
                return folder
        raise MissingData(f"{self.spec} has no cgroup of version 2")

    def _pids(self) -> tuple[int, ...]:
        try:
            match self.spec.kind:
                case TargetKind.PID:
                    return (int(self.spec.name),)
                case TargetKind.PROCESS:
                    return _named(self.spec.name)
                case TargetKind.CGROUP:
                    return cgroups.members(self._folder)
                case TargetKind.UNIT:
                    return cgroups.members(self._unit_folder())
        except FileNotFoundError:
            raise MissingData(f"{self.spec} is gone") from None
        except OSError as error:
            raise MissingData(f"{self.spec} can't be looked at: {error.strerror}") from error

    def _unit_folder(self) -> str:
        if not self._folder or not os.path.isdir(self._folder):
            self._folder = next(iter(self._unit_folders()), "")
        if not self._folder:
            raise MissingData(f"{self.spec} has no cgroup: it does not run")
        return self._folder

    def _unit_folders(self) -> tuple[str, ...]:
        try:
            return cgroups.folders_of_unit(self.spec.name)
        except LookupError as error:
            raise RefusedError(str(error), hint="name the cgroup by its path") from None

    def _folders(self, main: ServiceProcess) -> list[str]:
        if self.spec.kind is TargetKind.CGROUP:
            return [self._folder]
        if self.spec.kind is TargetKind.UNIT:
            return list(self._unit_folders())
        try:
            text = read_kernel_file(f"/proc/{main.pid}/cgroup")
        except OSError as error:
            raise MissingData(f"process {main.pid} is gone") from error
        return [folder for _, folder in cgroups.folders_of_process(text)]


def _named(name: str) -> tuple[int, ...]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                if read_kernel_file(f"/proc/{entry}/comm").rstrip("\n") == name:
                    found.append(int(entry))
            except OSError:
                continue  # it ended while we looked
    return tuple(found)


def _identified(pid: int) -> ServiceProcess | None:
    """None for a process that is gone, or dead and not reaped yet."""
    try:
        text = read_kernel_file(f"/proc/{pid}/stat")
        if text.rpartition(")")[2].split()[:1] in (["Z"], ["X"]):
            return None
        return ServiceProcess(start_ticks(text), pid)
    except (OSError, NoSuchField, ValueError, IndexError):
        return None
