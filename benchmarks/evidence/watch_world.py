"""A world in which policies are watched: everything is real but what a window measures.

A profile is parsed, a proven study frozen to a policy file, the policy checked and held by a lease
of the real guardian in a network namespace, and watched by the real `Watcher`, which writes its
record. Only the window source is simulated: it reads the knob back from the kernel, by a file of
its own, and lets the policy's value cost what the session says.

State lies on a tmpfs where there is one: thousands of sessions would measure fsync.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.evidence.noise import PAIR_SD, kinds
from benchmarks.evidence.watch_load import load
from ktune.errors import ExitCode
from ktune.kernel.namespaces import CLONE_NEWNET, setns
from ktune.kernel.values import Value
from ktune.measure.guardrails.watch import Guardrails
from ktune.measure.scope import EphemeralScope
from ktune.measure.window import Poll, Validity, WindowResult
from ktune.modes.watch.diary import open_diary
from ktune.modes.watch.holder import LEASE_S, LeasedHolder
from ktune.modes.watch.run import holding
from ktune.modes.watch.spec import WatchSpec
from ktune.modes.watch.subject import Subject, WatchOptions, find_subject
from ktune.modes.watch.watcher import Watcher
from ktune.policy.freeze import FreezeOptions, freeze
from ktune.profile.host import host_facts
from ktune.profile.load import parse_profile
from ktune.proxy.client import LeaseLost
from ktune.proxy.locks import scope_lock
from ktune.proxy.pause import PauseDoor
from ktune.records.paths import StatePaths
from ktune.records.study import Study
from ktune.records.types import (
    GainRecord,
    PairCounts,
    Proof,
    ProofOutcome,
    RuleRecord,
    StudyManifest,
)
from ktune.records.watches import watch_folder

KNOB = "net.ipv4.tcp_fin_timeout"
BASELINE: dict[str, Value] = {KNOB: 60}
POLICY: dict[str, Value] = {KNOB: 30}
METRICS = ("speed", "latency", "cost")
"""To maximise; to minimise; to minimise."""
_FRESH_S = LEASE_S / 3

_PROFILE = f"""
ktune: 1
kind: profile
name: watched
scope: ephemeral
workload:
  command: ["true"]
  renews: [new_socket, new_process]
  metrics:
    speed: {{from: key_value, unit: 1/s, plausible: [0.001, 1000000]}}
    latency: {{from: key_value, unit: ms, plausible: [0.001, 1000000]}}
    cost: {{from: key_value, unit: J, plausible: [0.001, 1000000]}}
    asked: {{from: key_value, unit: 1/s, plausible: [0.001, 1000000]}}
knobs:
  sysctl:
    {KNOB}: {{range: [10, 110]}}
baseline: {{{KNOB}: 60}}
objectives: [{{metric: speed, direction: maximize}}]
"""


@dataclass(frozen=True)
class Setup:
    """What the profile says: watched metrics, and its `watch:` section."""

    margin: float = 0.02
    metrics: int = 1
    probation_pairs: int = 30
    mean_pairs: int = 8760
    load_factor: float | None = None

    @property
    def profile(self) -> str:
        limit = max(self.margin, 0.001)  # a constraint without any margin could never be shown
        limits = ", ".join(
            f"{{metric: {name}, worse_by_at_most: {limit:.1%}, direction: minimize}}"
            for name in METRICS[1 : self.metrics]
        )
        load = f", load: {{metric: asked, factor: {self.load_factor}}}" if self.load_factor else ""
        return (
            _PROFILE
            + (f"constraints: [{limits}]\n" if limits else "")
            + f"watch: {{margin: {self.margin:.0%}, probation_pairs: {self.probation_pairs}, "
            f"false_rollback_every_pairs: {self.mean_pairs}{load}}}\n"
        )


@dataclass(frozen=True)
class Situation:
    """What is true in a session, and when it ends.

    `worse_by`: the policy's true worsening in the first metric, a share, from window `from_window`
    on. `order_effect`: share by which the second window of a pair is slower. `windows`: so many at
    most. `beyond`: go on beyond the probation.
    """

    noise: str = "Gauss"
    scale: float = 1.0
    worse_by: float = 0.0
    from_window: int = 0
    load: str = "calm"
    order_effect: float = 0.0
    windows: int = 400
    beyond: bool = False

    @property
    def sd(self) -> float:
        """Of a pair of a noise model."""
        return self.scale * PAIR_SD


class SessionOver(KeyboardInterrupt):
    """The session has had its windows: the watch ends as by Ctrl-C."""


@dataclass(frozen=True)
class Outcome:
    """`pairs`: measured in all. `reason`: of the end."""

    rolled_back: bool
    pairs: int
    reason: str


class Stream:
    """Endless windows of one session: `metric = usual x load x noise x the policy's doing`."""

    def __init__(self, situation: Situation, name: str) -> None:
        seed = zlib.crc32(f"noise {name}".encode())
        self._situation = situation
        self._noises = [kinds()[situation.noise](seed + n) for n in range(len(METRICS))]
        self._load = load(situation.load, random.Random(seed + len(METRICS)))
        self.count = 0

    def window(self, *, policy: bool) -> dict[str, float]:
        """The metrics of the next window. Raises SessionOver."""
        if self.count >= self._situation.windows:
            raise SessionOver("the session is over")
        guilty = policy and self.count >= self._situation.from_window
        second = self.count % 2
        self.count += 1
        asked = next(self._load)
        speed, latency, cost = (
            math.exp(self._situation.scale * next(noise)) for noise in self._noises
        )
        speed *= (1 - self._situation.worse_by * guilty) * (
            1 - self._situation.order_effect * second
        )
        return {
            "speed": 100 * asked * speed,
            "latency": 10 * asked / latency,
            "cost": 5 * asked / cost,
            "asked": 1000 * asked,
        }


class KernelSource:
    """The window source: whose window it is, the kernel says."""

    def __init__(self, stream: Stream, knob: int) -> None:
        self._stream = stream
        self._knob = knob

    def run(self, poll: Poll) -> WindowResult:
        """One window under what is in force."""
        poll()
        value = int(os.pread(self._knob, 32, 0))
        if value not in (BASELINE[KNOB], POLICY[KNOB]):
            raise RuntimeError(f"{KNOB} = {value}: neither baseline nor policy")
        metrics = self._stream.window(policy=value == POLICY[KNOB])
        return WindowResult(metrics, 0.001, Validity.VALID)


@dataclass(frozen=True)
class SeededSpec(WatchSpec):
    """A watch whose coin is the session's; a real one's depends on its namespace too."""

    @property
    def seed(self) -> int:
        return coin_seed(self.identity.policy)


def coin_seed(name: str) -> int:
    """Of the session of that name."""
    return zlib.crc32(f"coin {name}".encode())


class World:
    """A namespace and a policy for one setup; sessions one after the other. A context manager."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._stack = ExitStack()
        self._held = ExitStack()
        self._holder: LeasedHolder | None = None
        self._used_s = 0.0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = stack.enter_context(_scratch())
            self.paths = StatePaths(folder / "state", folder / "run").ensure()
            scope = stack.enter_context(EphemeralScope())
            self._knob = stack.enter_context(_opened(scope))
            self._options = WatchOptions(
                netns=scope.ref.netns,
                baseline_on_death=True,
                interval_s=1.0,
                probation_every_s=0.0,
                holdback_every_s=0.0,
            )
            file = folder / "policy.yaml"
            file.write_text(policy_text(self.paths, self.setup))
            self._subject: Subject = find_subject(str(file), self._options, self.paths)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._let_go()
        self._stack.close()

    def watch(self, situation: Situation, name: str) -> Outcome:
        """One watch from its beginning; `name` seeds the coin and the noise."""
        holder = self._holding()
        identity = replace(holder.spec.identity, policy=name)
        known = {item.name: getattr(holder.spec, item.name) for item in fields(WatchSpec)}
        holder.spec = SeededSpec(**{**known, "identity": identity})
        cookie = identity.scope.cookie
        diary, guarding = open_diary(holder.spec, self.paths, on_death="baseline")
        source = KernelSource(Stream(situation, name), self._knob)
        code: ExitCode | None = None
        with PauseDoor(self.paths.runtime, cookie) as door:
            watcher = Watcher(
                holder=holder,
                source=source,
                guardrails=Guardrails([]),
                diary=diary,
                guarding=guarding,
                door=door,
                lock=lambda: scope_lock(
                    self.paths, netns_cookie=cookie, what="watch", ask_watch=False
                ),
                paths=self.paths,
                observe=lambda told: None,
                relearn=lambda: None,
                in_force=False,
                until_settled=not situation.beyond,
            )
            try:
                code = watcher.run()
            except SessionOver:
                code = None
        self._used_s = time.monotonic()
        if code is not ExitCode.OK:
            self._let_go()  # the lease ended with the watch
        shutil.rmtree(watch_folder(self.paths, diary.record.id))
        return Outcome(
            code is ExitCode.ROLLED_BACK,
            diary.record.pairs,
            diary.record.reason,
        )

    def _holding(self) -> LeasedHolder:
        """The holder of the last session, unless its lease may have run out since."""
        if time.monotonic() - self._used_s > _FRESH_S:
            self._let_go()
        if self._holder is None:
            holder, _ = self._held.enter_context(holding(self._subject, self._options, self.paths))
            assert isinstance(holder, LeasedHolder)
            self._holder = holder
        return self._holder

    def _let_go(self) -> None:
        """End the lease; one that has run out is over already."""
        with suppress(LeaseLost):
            self._held.close()
        self._holder = None


def policy_text(paths: StatePaths, setup: Setup) -> str:
    """A policy frozen from a proven study."""
    profile = parse_profile(setup.profile.encode(), file="watched.yaml")
    host = host_facts()
    study = Study.create(
        paths,
        StudyManifest(
            id="",
            profile_name="watched",
            created_at="",
            profile_text=json.dumps(profile.source.flattened),
            profile_digest=profile.digest,
            scope="ephemeral",
            seed=7,
            host={
                "kernel": host.kernel,
                "arch": host.arch,
                "cpus": host.cpus,
                "mem": host.mem_bytes,
                "virt": host.virt,
            },
            baseline=BASELINE,
        ),
    )
    study.write_proof(
        Proof(
            outcome=ProofOutcome.IMPROVED,
            assignment=POLICY,
            baseline=BASELINE,
            rule=RuleRecord(("symmetric-e",), 0.05, "gain <= 0", "symmetric-e", 57.23, 20.0),
            pairs=PairCounts(14, 10, 1, 0),
            gain=GainRecord("speed", 0.06, (0.04, 0.08)),
            constraints=(),
            claimed_by_search=0.1,
            decided_at="2026-11-21T10:15:00Z",
            reason="",
        )
    )
    return freeze(Study.open(paths, study.id), paths, FreezeOptions(valid_days=36500))


@contextmanager
def _scratch() -> Iterator[Path]:
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="ktune-watched-", dir=memory if memory.is_dir() else None))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextmanager
def _opened(scope: EphemeralScope) -> Iterator[int]:
    """The knob's file as the namespace has it: a sysctl is looked up when it is opened."""
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(scope.ref.netns, CLONE_NEWNET)
        try:
            fd = os.open("/proc/sys/" + KNOB.replace(".", "/"), os.O_RDONLY | os.O_CLOEXEC)
        finally:
            setns(f"/proc/self/fd/{back}", CLONE_NEWNET)
    finally:
        os.close(back)
    try:
        yield fd
    finally:
        os.close(fd)
