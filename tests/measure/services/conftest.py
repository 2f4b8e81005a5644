"""A state folder that a server's user can reach, and profiles with one server."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ktune.kernel.namespaces import NamespaceRef
from ktune.measure.runner import CommandSource
from ktune.measure.services.from_profile import services_of
from ktune.measure.services.programs import NoPrograms, find_programs
from ktune.measure.source import open_source
from ktune.profile.load import parse_profile
from ktune.profile.model import Profile
from ktune.profile.placement import online_cpus, workload_cpus

PROGRAMS = {
    "postgresql": "postgres",
    "redis": "redis-server",
    "nginx": "nginx",
    "memcached": "memcached",
}


@pytest.fixture(scope="module")
def templates() -> Iterator[Path]:
    """The state folder of a module's tests: its templates are made once."""
    folder = Path(tempfile.mkdtemp(prefix="kt-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@dataclass
class Bed:
    """Makes profiles with one server `srv`, and sources of their windows."""

    state: Path

    def profile(
        self, service: str, command: str = "true", *, more: str = "", metrics: str = "x: {}"
    ) -> Profile:
        """`service`: what stands in its braces; `command`: for a shell; `more`: lines of the
        workload; `metrics`: what a shell prints, without plausible."""
        metrics = metrics.replace("{}", "{from: key_value, plausible: [-1e9, 1e9]}")
        text = f"""
ktune: 1
kind: profile
name: bed
services: [{{name: srv, {service}}}]
workload:
  command: [sh, -c, '{command}']
  timeout: 30s
  {more}
  metrics: {{{metrics}}}
"""
        return parse_profile(text.encode(), file="bed.yaml", state_dir=str(self.state))

    def source(self, profile: Profile, scope: NamespaceRef | None = None) -> CommandSource:
        """As a run opens it."""
        assert profile.workload is not None
        source = open_source(
            profile.workload,
            scope=scope,
            services=services_of(profile, scope),
            cpus=workload_cpus(profile, online_cpus()),
        )
        assert isinstance(source, CommandSource)
        return source

    def log(self) -> str:
        """What the server has said."""
        return (self.state / "services" / "logs" / "srv.log").read_text()

    def folder(self, *parts: str) -> Path:
        """The service's folder, while it runs."""
        (found,) = (self.state / "services" / "run").glob("srv-????????")
        return found.joinpath(*parts)


@pytest.fixture
def bed(templates: Path) -> Bed:
    return Bed(templates)


def need(kind: str) -> None:
    """Skip, naming what is missing."""
    try:
        find_programs(kind)
    except NoPrograms as problem:
        pytest.skip(str(problem))


def servers(source: CommandSource) -> list[int]:
    """Every process of the services of a source, by the cgroup that they are in."""
    group = source.group()
    if group is None:
        pytest.skip("no cgroup (version 2) can be made here")
    pids = [
        int(line)
        for procs in Path(group).glob("service-*/**/cgroup.procs")
        for line in procs.read_text().split()
    ]
    return [pid for pid in pids if _name(pid) in PROGRAMS.values()]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
