"""Finds the programs of a server on this host, and asks for their version."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import glob

from ktune.kernel.versions import comparisons, kernel_version, version_holds

FOLDERS = (*("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"),)
_VERSION = re.compile(r"[0-9]+(\.[0-9]+)+")
_PATIENCE_S = 10.0


@dataclass(frozen=True)
class Needed:
    """What a kind of server needs. `programs`: the server first; `option`: prints its version.

    `package`: Debian's; `where`: patterns of further folders, each a complete set of programs.
    """

    kind: str
    package: str
    programs: tuple[str, ...]
    option: str
    where: tuple[str, ...] = ()


NEEDED: Mapping[str, Needed] = {
    item.kind: item
    for item in (
        Needed(
            "postgresql",
            "postgresql",
            ("postgres", "initdb", "psql", "pgbench"),
            "--version",
            ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"),
        ),
        Needed("redis", "redis-server", ("redis-server",), "--version"),
        Needed("nginx", "nginx-light", ("nginx",), "-v"),
        Needed("memcached", "memcached", ("memcached",), "-V"),
    )
}


@dataclass(frozen=True)
class Programs:
    """A complete set: paths by name, and the server's version."""

    paths: Mapping[str, str]
    version: str

    @property
    def server(self) -> str:
        """The path of the server itself."""
        return next(iter(self.paths.values()))


class NoPrograms(Exception):
    """What is missing, and how to get it: text for people."""


def find_programs(
    kind: str, version: str | None = None, *, folders: Sequence[str] = FOLDERS
) -> Programs:
    """The newest set that fits `version` (comparisons such as `>= 15, < 17`). Raises NoPrograms."""
    needed = NEEDED[kind]
    found: list[Programs] = []
    problems: list[str] = []
    for paths in _sets(needed, folders):
        try:
            found.append(Programs(paths, version_of(paths[needed.programs[0]], needed.option)))
        except NoPrograms as problem:
            problems.append(str(problem))
    if not found:
        missing = _missing(needed, folders)
        what = problems or [f"{', '.join(missing)} not found"]
        raise NoPrograms(f"{'; '.join(what)}: apt install {needed.package}")
    fitting = [item for item in found if version is None or _fits(item.version, version)]
    if not fitting:
        here = ", ".join(f"{item.version} ({item.server})" for item in found)
        raise NoPrograms(f"{kind} {version} is wanted, here is {here}")
    return max(fitting, key=lambda item: kernel_version(item.version))


def version_of(program: str, option: str) -> str:
    """The version that a server prints about itself. Raises NoPrograms."""
    try:
        done = subprocess.run(
            [program, option],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE_S,
            text=True,
            errors="replace",
            env={"PATH": ":".join(FOLDERS), "LANG": "C.UTF-8"},
            cwd="/",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoPrograms(f"{program} {option} does not work ({error})") from error
    match = _VERSION.search(done.stdout + done.stderr)
    if match is None:
        said = (done.stderr or done.stdout).strip()[:200] or "nothing"
        raise NoPrograms(f"{program} {option} tells no version: {said}")
    return match[0]


def _sets(needed: Needed, folders: Sequence[str]) -> Iterator[dict[str, str]]:
    """Each complete set: all of a further folder's, or whatever the usual folders have."""
    for folder in sorted(path for pattern in needed.where for path in glob(pattern)):
        paths = {name: f"{folder}/{name}" for name in needed.programs}
        if all(map(_runs, paths.values())):
            yield paths
    usual = {name: _in(name, folders) for name in needed.programs}
    if all(usual.values()):
        yield {name: path for name, path in usual.items() if path}


def _missing(needed: Needed, folders: Sequence[str]) -> list[str]:
    return [name for name in needed.programs if not _in(name, folders)]


def _in(name: str, folders: Sequence[str]) -> str | None:
    paths = (f"{folder}/{name}" for folder in folders)
    return next(filter(_runs, paths), None)


def _runs(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _fits(found: str, wanted: str) -> bool:
    version = kernel_version(found)
    return all(version_holds(version, op, right) for op, right in comparisons(wanted))
