"""`ktune watch` as people run it, on a policy of a namespace and a workload that a test bends."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ktune.kernel.values import Value
from ktune.records.paths import StatePaths
from tests.faults.commands import FIN, RATE, Bench, Ended, Running
from tests.policy.support import edited, policy_text
from tests.proxy.rig import HostNet, Net, wait_until

POLICY: dict[str, Value] = {FIN: 170, RATE: 1700}
IN_BASELINE = 'if [ "$value" -lt 170 ]; then here; sleep 300; fi'
IN_POLICY = 'if [ "$value" -ge 170 ]; then here; sleep 300; fi'
NOISE = "value=$((value + window % 7 - ops))"
"""A hook: numbers that do not stand still; `ops` is what the knob adds."""
GUILTY = "value=$((value < 170 ? 900 - window % 7 : window % 7))"
INNOCENT = f"ops=$value; {NOISE}"
QUICK = ("--interval", "100ms", "--probation-every", "0s", "--holdback-every", "0s", "--quiet")
IDLE = ("--interval", "100ms", "--probation-every", "1h", "--holdback-every", "1h", "--quiet")


@dataclass
class Watched:
    """A policy and the commands about it."""

    bench: Bench
    net: Net | HostNet

    def __post_init__(self) -> None:
        self.baseline = self.live
        self.file = self.bench.folder / "policy.yaml"
        self.write_policy()
        self.bench.hook(INNOCENT)

    def write_policy(self, **watch: object) -> None:
        text = policy_text(
            StatePaths.resolve(self.bench.state).ensure(),
            scope="host" if self.net.ref is None else f"netns:{self.net.ref.netns}",
            assignment=POLICY,
            baseline=self.baseline,
        )
        self.file.write_text(edited(text, watch=watch) if watch else text)

    @property
    def live(self) -> dict[str, Value]:
        return {key: self.net.read(key) for key in POLICY}

    @property
    def reached(self) -> bool:
        return (self.bench.folder / "reached").exists()

    def words(self, *more: str) -> tuple[str, ...]:
        return ("watch", str(self.file), "--yes", "--profile", str(self.bench.profile), *more)

    def start(self, *more: str) -> Running:
        return self.bench.start(*self.words(*(more or QUICK)))

    def run(self, *more: str) -> Ended:
        return self.start(*more).end()

    def until_held(self, hook: str, *more: str) -> Running:
        """A watch whose window hangs where the hook says."""
        self.bench.hook(hook)
        running = self.start(*(more or QUICK))
        wait_until(lambda: self.reached or not running.alive, 60)
        assert running.alive, running.end().err
        return running

    def until_idle(self, *more: str) -> Running:
        """A watch that has begun and measures no pair for an hour: the first one is past."""
        running = self.start(*(more or IDLE))
        wait_until(lambda: self.pairs >= 1 or not running.alive, 60)
        assert running.alive, running.end().err
        wait_until(lambda: self.live == POLICY)
        return running

    def until_told(self, event: str) -> Running:
        """A watch whose machine has heard of the event."""
        running = self.start(*QUICK)
        wait_until(lambda: event in self.events_so_far() or not running.alive, 60)
        assert running.alive, running.end().err
        return running

    @property
    def status(self) -> Any:
        return self.bench.run("status", "--json").json

    @property
    def record(self) -> Any:
        """The watch as its file says; None before its first change."""
        found = list((self.bench.state / "watches").glob("*/watch.json"))
        return json.loads(found[0].read_text()) if found else None

    @property
    def pairs(self) -> int:
        record = self.record
        return record["pairs"] if record else 0

    @property
    def guarded(self) -> bool:
        (policy,) = self.status["policies"]
        return bool(policy["guarded"])

    def events(self) -> list[str]:
        """Names of the events that the mode machine was told."""
        (file,) = (self.bench.state / "watches").glob("*/modes.jsonl")
        return [json.loads(line)["event"] for line in file.read_text().splitlines()]

    def events_so_far(self) -> list[str]:
        try:
            return self.events()
        except (ValueError, OSError):
            return []  # not there yet

    def folder(self) -> Path:
        (found,) = (self.bench.state / "watches").iterdir()
        return found
