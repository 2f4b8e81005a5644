"""What disks say about themselves: `smartctl --json -H` (smartmontools), at long intervals.

A child process at a time, never waited for; asleep disks are left asleep (`-n standby`). SMART and
NVMe health both come as `smart_status.passed`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ktune.measure.guardrails.counters import chosen
from ktune.measure.guardrails.source import Guardrail, Unwatchable

_TIMEOUT_S = 30.0
_LONGEST_ANSWER = 1 << 20
_WHERE = os.pathsep.join(("/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin"))


@dataclass(frozen=True)
class Health:
    """What smartctl said about one disk: `passed` is None where it could not say, and `why`."""

    passed: bool | None
    why: str = ""

    @property
    def asleep(self) -> bool:
        """It was left asleep, and may answer another time."""
        return self.passed is None and ("STANDBY" in self.why or "SLEEP" in self.why)


def health_of(text: str, status: int) -> Health:
    """Read smartctl's JSON. Never raises."""
    try:
        data = json.loads(text[:_LONGEST_ANSWER])
    except (ValueError, RecursionError):
        return Health(None, f"smartctl gave no JSON (exit status {status})")
    if not isinstance(data, dict):
        return Health(None, "smartctl gave no object")
    smart = data.get("smart_status")
    passed = smart.get("passed") if isinstance(smart, dict) else None
    if isinstance(passed, bool):
        return Health(passed, "" if passed else "health check failed")
    return Health(None, _said(data) or f"no health reported (exit status {status})")


def _said(data: dict[str, object]) -> str:
    about = data.get("smartctl")
    messages = about.get("messages") if isinstance(about, dict) else None
    for item in messages if isinstance(messages, list) else []:
        if isinstance(item, dict) and isinstance(item.get("string"), str):
            return str(item["string"])[:200]
    return ""


def disks(devices: Sequence[str] = (), *, sys: str = "/sys") -> list[str]:
    """Names of the disks with hardware behind them (`device`), as chosen."""
    blocks = sorted(Path(sys, "block").glob("*/device"))
    return [path.parent.name for path in blocks if chosen(path.parent.name, devices)]


class _Run:
    """One smartctl at work; its answer goes to memory: it may be longer than a pipe holds."""

    def __init__(self, program: str, device: str, until_s: float) -> None:
        self.device = device
        self.until_s = until_s
        self._answer = os.memfd_create("smartctl", os.MFD_CLOEXEC)
        self.process = subprocess.Popen(
            [program, "--json=c", "-n", "standby", "-H", f"/dev/{device}"],
            stdin=subprocess.DEVNULL,
            stdout=self._answer,
            stderr=subprocess.DEVNULL,
        )

    def answer(self) -> str:
        """What it wrote; it has ended."""
        return os.pread(self._answer, _LONGEST_ANSWER, 0).decode("utf-8", "replace")

    def close(self) -> None:
        """End it if need be."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._answer)


class DiskHealth(Guardrail):
    """A disk that passed fails now. One that failed before is named, and no reason to act: the
    setting in force did not do it."""

    name = "disk_health"
    every_s = 1.0

    def __init__(
        self,
        interval_s: float,
        devices: Sequence[str] = (),
        *,
        program: str | None = None,
        sys: str = "/sys",
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._interval_s = interval_s
        self._devices = tuple(devices)
        self._program = program
        self._sys = sys
        self._timeout_s = timeout_s
        self._passed: dict[str, bool | None] = {}
        self._queue: list[str] = []
        self._run: _Run | None = None
        self._next_s: float | None = None

    def open(self) -> str:
        """Asks every disk once, and waits for it: which can be watched? See Guardrail."""
        program = self._program or shutil.which("smartctl", path=_WHERE)
        if program is None:
            raise Unwatchable("smartctl is not installed (smartmontools)")
        self._program = program
        silent = []
        for device in disks(self._devices, sys=self._sys):
            health = self._ask(device)
            if health.passed is None and not health.asleep:
                silent.append(f"{device}: {health.why}")
            else:
                self._passed[device] = health.passed
        if not self._passed:
            raise Unwatchable("; ".join(silent) or "there is no disk")
        failing = [name for name, passed in self._passed.items() if passed is False]
        return "; ".join(
            [*silent, *([f"failing already: {', '.join(failing)}"] if failing else [])]
        )

    @property
    def running(self) -> int | None:
        """The process that asks a disk just now."""
        return self._run.process.pid if self._run else None

    @property
    def idle(self) -> bool:
        """No disk is asked, and none waits to be."""
        return self._run is None and not self._queue

    def crossed(self, now_s: float) -> str | None:
        """See Guardrail. Starts what is due, collects what has ended."""
        if self._next_s is None:
            self._next_s = now_s + self._interval_s
        if self._run is not None:
            return self._collect(self._run, now_s)
        if not self._queue and now_s >= self._next_s:
            self._next_s = now_s + self._interval_s
            self._queue = list(self._passed)
        if self._queue:
            self._run = self._started(self._queue.pop(0), now_s)
        return None

    def forget(self) -> None:
        """See Guardrail: nothing is counted."""

    def close(self) -> None:
        """See Guardrail."""
        if self._run is not None:
            self._run.close()
            self._run = None

    def _collect(self, run: _Run, now_s: float) -> str | None:
        status = run.process.poll()
        if status is None and now_s < run.until_s:
            return None
        health = Health(None) if status is None else health_of(run.answer(), status)
        self._run = None
        run.close()
        if health.passed is None:  # asleep, hung or gone: nothing is known, and that is no failure
            return None
        before, self._passed[run.device] = self._passed[run.device], health.passed
        return f"{run.device}: health check failed" if before and not health.passed else None

    def _started(self, device: str, now_s: float) -> _Run:
        assert self._program is not None
        return _Run(self._program, device, now_s + self._timeout_s)

    def _ask(self, device: str) -> Health:
        run = self._started(device, 0.0)
        try:
            status = run.process.wait(self._timeout_s)
        except subprocess.TimeoutExpired:
            return Health(None, "no answer")
        else:
            return health_of(run.answer(), status)
        finally:
            run.close()
