"""What tests of the guard stand on: a cgroup2 group of the test's own, and a writer inside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from ktune.kernel.cgroup2 import cgroup2_root

WRITE = """
import errno, json, os, sys
folder, netns, path, *values = sys.argv[1:]
if folder:
    with open(folder + "/cgroup.procs", "w") as file:
        file.write(str(os.getpid()))
if netns:
    import ctypes
    fd = os.open(netns, os.O_RDONLY)
    assert ctypes.CDLL(None).setns(fd, 0x40000000) == 0
said = []
for value in values:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, value.encode())
        said.append("ok")
    except OSError as error:
        said.append(errno.errorcode[error.errno])
    finally:
        os.close(fd)
print(json.dumps([os.getpid(), said]))
"""


class Group:
    """A cgroup2 group; the only place where tests refuse anything to anybody."""

    def __init__(self, name: str) -> None:
        root = cgroup2_root()
        assert root is not None
        self.folder = f"{root}/ktune-test-{name}-{os.getpid()}"
        os.mkdir(self.folder)

    def write(self, path: str, *values: str, netns: str = "") -> list[str]:
        """Write from inside, one after the other: `ok` or the errno's name of each."""
        return write_as(self.folder, path, *values, netns=netns)[1]

    def close(self) -> None:
        """Remove it; nobody is inside any more, but groups of guardians may be."""
        for inner in Path(self.folder).iterdir():
            if inner.is_dir():
                inner.rmdir()
        os.rmdir(self.folder)

    @property
    def enclosure(self) -> tuple[str, ...]:
        """argv in front of a command for which this group is the root of cgroup2: whatever it
        attaches there concerns nobody else."""
        root = cgroup2_root()
        script = (
            f'echo $$ > {self.folder}/cgroup.procs; mount --bind {self.folder} {root}; exec "$@"'
        )
        return ("unshare", "--mount", "sh", "-ec", script, "sh")


def write_as(folder: str, path: str, *values: str, netns: str = "") -> tuple[int, list[str]]:
    """(pid of the writer, what became of each write)."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", WRITE, folder, netns, path, *values],
        capture_output=True,
        text=True,
        check=True,
    )
    pid, said = json.loads(done.stdout)
    return pid, said


_REPO = Path(__file__).resolve().parents[2]
_TRY = """
from ktune.kernel.bpf.library import BpfError
from ktune.proxy.guard.loaded import LoadedGuard
try:
    LoadedGuard().close()
except BpfError as error:
    print(error.why)
"""


@cache
def why_no_guard() -> str | None:
    """None where the guard works, else why it does not: the reason of a skip."""
    if os.geteuid() != 0:
        return "needs root"
    if cgroup2_root() is None:
        return "needs a cgroup2 mount"
    # In a process of its own: here pytest-timeout has the signal that limits the loading.
    done = subprocess.run(
        [sys.executable, "-c", _TRY], capture_output=True, text=True, cwd=_REPO, check=False
    )
    return (done.stdout + done.stderr).strip() or None


@contextmanager
def new_group(name: str) -> Iterator[Group]:
    """A group for one test."""
    made = Group(name)
    try:
        yield made
    finally:
        made.close()


def knob_path(key: str) -> Path:
    """Of a sysctl."""
    return Path("/proc/sys", *key.split("."))
