"""Runs the `ktune` command as a person does, with a workload that a test can bend."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.proxy.rig import PATIENCE, alive, wait_until
from tests.warm import run_ktune

FIN = "net.ipv4.tcp_fin_timeout"
RATE = "net.ipv4.icmp_ratelimit"
DONE = (0, 3)
"""A run that went to its end: improved, or no improvement found."""

WORKLOAD = """
folder=$1
echo . >> "$folder/windows"
window=$(wc -l < "$folder/windows")
value=$(cat /proc/sys/net/ipv4/tcp_fin_timeout)
here() { : > "$folder/reached"; }
if [ -e "$folder/hook" ]; then . "$folder/hook"; fi
echo "ops_per_s=$((1000 + value))"
"""
"""The score is what the knob says, so that a good run always finds an improvement."""

HOLD = 'if [ "$value" -ge 70 ]; then here; sleep 300; fi'
"""A hook: the first window of a candidate (see `net_bench`) does not end."""
PAUSE = 'if [ "$value" -ge 70 ] && [ ! -e "$folder/reached" ]; then here; sleep 1; fi'
"""A hook: the first window of a candidate gives the test a second to do something."""


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What `--json` printed."""
        return json.loads(self.out)


@dataclass
class Bench:
    """A folder with a state directory, a profile and the workload."""

    folder: Path
    state: Path
    scope: object = "host"
    knobs: dict[str, Any] = field(default_factory=lambda: {"sysctl": {}})
    timeout: str = "100s"
    extra: dict[str, Any] = field(default_factory=dict)
    started: list[Running] = field(default_factory=list)

    def hook(self, script: str) -> None:
        """Shell that every window from now on runs; `here` says that the test may go on."""
        for name in ("windows", "reached"):
            (self.folder / name).unlink(missing_ok=True)
        (self.folder / "hook").write_text(script)

    @property
    def profile(self) -> Path:
        """The profile, written anew."""
        (self.folder / "workload.sh").write_text(WORKLOAD)
        path = self.folder / "profile.yaml"
        path.write_text(yaml.safe_dump(self._document(), sort_keys=False))
        return path

    def run(self, *words: str, joins: Sequence[Path] = (), before: Sequence[str] = ()) -> Ended:
        """Run one command to its end."""
        if joins or before:
            return self.start(*words, joins=joins, before=before).end()
        given = [f"--state-dir={self.state}", *words]
        done = run_ktune(given, os.environ, timeout_s=100 * PATIENCE, new_session=True)
        _check_errors(done.stderr)
        return Ended(done.returncode, done.stdout, done.stderr)

    def tune(self, *words: str, **options: Any) -> Ended:
        """Run a whole `tune`."""
        return self.run("tune", str(self.profile), "--seed", "1", "--quiet", *words, **options)

    def tune_until_hooked(self, *, proxy: str = "auto", **options: Any) -> Running:
        """Start a `tune` and wait until a window has called `here`."""
        words = ("--seed", "1", "--quiet", "--search-only", "--proxy", proxy)
        running = self.start("tune", str(self.profile), *words, **options)
        wait_until(lambda: (self.folder / "reached").exists() or not running.alive, 60)
        assert running.alive, running.end().err
        return running

    def calibrate_until_hooked(self) -> Running:
        """The same for a `calibrate`."""
        running = self.start("calibrate", str(self.profile), "--seed", "1", "--quiet")
        wait_until(lambda: (self.folder / "reached").exists() or not running.alive, 60)
        assert running.alive, running.end().err
        return running

    def start(self, *words: str, joins: Sequence[Path] = (), before: Sequence[str] = ()) -> Running:
        """Start one command."""
        entering = "".join(f"echo $$ > {folder}/cgroup.procs && " for folder in joins)
        command = [sys.executable, "-m", "ktune", f"--state-dir={self.state}", *words]
        running = Running([*before, "sh", "-c", f'{entering}exec "$@"', "sh", *command])
        self.started.append(running)
        return running

    def close(self) -> None:
        """End what a failed test left running: a killed tuner's guardian restores."""
        for running in self.started:
            running.kill()

    def _document(self) -> dict[str, Any]:
        return {
            "ktune": 1,
            "kind": "profile",
            "name": "faults",
            "summary": "A run that a test breaks",
            "scope": self.scope,
            "workload": {
                "command": ["sh", str(self.folder / "workload.sh"), str(self.folder)],
                "user": "root",
                "renews": ["new_socket", "new_open", "new_process"],
                "measure": {"count": 1, "unit": "runs"},
                "usual_time": "10ms",
                "timeout": self.timeout,
                "metrics": {
                    "ops_per_s": {"from": "key_value", "unit": "1/s", "plausible": [1, 1000000]}
                },
            },
            "knobs": self.knobs,
            "baseline": "current",
            "objectives": [{"metric": "ops_per_s", "direction": "maximize"}],
            "search": {
                **{"sampler": "random", "trials": 5, "time": "2m"},
                **{"stop_after": 5, "baseline_every": 4},
            },
            "promotion": {
                **{"alpha": 0.05, "mei": "0.1%", "against": "zero", "finalists": 1},
                "pairs": {"min": 5, "max": 8, "after": 10},
            },
            **self.extra,
        }


class Running:
    """A command under way."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def guardian(self) -> int:
        """Its guardian's pid."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _is_guardian_of(entry, self.pid):
                return int(entry.name)
        raise AssertionError("it has no guardian")

    def signal(self, name: signal.Signals) -> None:
        os.kill(self.pid, name)

    def kill(self) -> None:
        """SIGKILL; nobody reads its output any more."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()

    def kill_with_guardian(self) -> None:
        """Kill both so that neither can restore."""
        guardian = self.guardian
        os.kill(guardian, signal.SIGSTOP)
        self.kill()
        os.kill(guardian, signal.SIGKILL)
        wait_until(lambda: not alive(guardian) and not _has_threads(guardian))

    def end(self) -> Ended:
        """Wait for its end; a traceback is never acceptable."""
        out, err = self.process.communicate(timeout=100 * PATIENCE)
        _check_errors(err)
        return Ended(self.process.returncode, out, err)


def _check_errors(text: str) -> None:
    assert "Traceback" not in text, text
    assert "bug in ktune" not in text, text


def _is_guardian_of(entry: Path, parent: int) -> bool:
    try:
        command = (entry / "cmdline").read_bytes()
        above = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return False
    return above == parent and b"ktune.proxy.guardian.main" in command


def _has_threads(pid: int) -> bool:
    """A killed process keeps its locks until its last thread has ended."""
    try:
        return len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
    except OSError:
        return False
