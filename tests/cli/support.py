"""Runs the `ktune` command as people do, and looks at a namespace from the outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.warm import run_ktune

HOME = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cli:
    """`ktune` with a state folder of its own."""

    def __init__(self, state: Path, *, prefix: tuple[str, ...] = ()) -> None:
        self.state = state
        self._prefix = prefix

    def argv(self, *words: object) -> list[str]:
        return [*self._prefix, sys.executable, "-m", "ktune", *map(str, words)]

    def __call__(
        self, *words: object, env: Mapping[str, str] | None = None, timeout_s: float = 60
    ) -> Ran:
        if self._prefix:
            done = self._anew(words, env, timeout_s)
        else:
            given = [str(word) for word in words]
            done = run_ktune(given, self.environment(env), timeout_s=timeout_s)
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    def _anew(
        self, words: Sequence[object], env: Mapping[str, str] | None, timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*words),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd=HOME,
            env=self.environment(env),
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("KTUNE_")}
        return kept | {"KTUNE_STATE_DIR": str(self.state)} | dict(more or {})


class Namespace:
    """A network namespace that a sleeping process holds."""

    def __init__(self, holder: subprocess.Popen[bytes]) -> None:
        self._holder = holder
        _wait(lambda: os.readlink(self.path) != os.readlink("/proc/self/ns/net"))

    @classmethod
    def make(cls, *, as_user: bool = False) -> Namespace:
        flags = "-Urn" if as_user else "-n"
        return cls(subprocess.Popen(["unshare", flags, "sleep", "600"]))

    @property
    def path(self) -> str:
        return f"/proc/{self._holder.pid}/ns/net"

    def run(self, *argv: str, text: str = "") -> str:
        done = subprocess.run(
            ["nsenter", f"--net={self.path}", *argv],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        )
        return " ".join(done.stdout.split())

    def read(self, name: str) -> str:
        return self.run("cat", sysctl(name))

    def write(self, name: str, text: str) -> None:
        self.run("tee", sysctl(name), text=text)

    def end(self) -> None:
        self._holder.kill()
        self._holder.wait()


def sysctl(name: str) -> str:
    """The file of a sysctl."""
    return "/proc/sys/" + name.replace(".", "/")


def _wait(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "timed out"
        time.sleep(0.01)
