"""A run with everything real (plan, guardian, journal, namespace, study) but the window source.

The simulated source reads the kernel's values back through the lease and computes the metric from
them, so a value that was not applied can't score.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ktune.catalog.catalog import load_catalog
from ktune.kernel.values import Value
from ktune.measure.scope import EphemeralScope
from ktune.measure.window import Poll, Validity, WindowResult
from ktune.modes.bench import Bench
from ktune.modes.calibrating import next_sequence
from ktune.modes.calibration import Calibration, calibration_on, candidate_of
from ktune.modes.prepare import host_record
from ktune.modes.settings import Overrides, Settings, guardrails_of, settings_of
from ktune.modes.stage import lease_tunable
from ktune.modes.tuning import Tuning
from ktune.profile.host import host_facts
from ktune.profile.load import parse_profile
from ktune.profile.plan import Plan
from ktune.profile.resolve import resolve
from ktune.proxy.client import Lease, LeaseRequest, open_lease
from ktune.records.paths import StatePaths
from ktune.records.study import Study
from ktune.records.types import StudyManifest
from ktune.report.progress import Progress

FIN = "net.ipv4.tcp_fin_timeout"
PROBES = "net.ipv4.tcp_keepalive_probes"

PROFILE = f"""
ktune: 1
kind: profile
name: simulated
scope: ephemeral
workload:
  command: ["true"]
  renews: [new_socket, new_process]
  metrics:
    speed: {{from: key_value, unit: 1/s, plausible: [0.001, 1000000]}}
knobs:
  sysctl:
    {FIN}: {{range: [10, 110]}}
    {PROBES}: {{range: [1, 20]}}
baseline: {{{FIN}: 60, {PROBES}: 9}}
objectives: [{{metric: speed, direction: maximize}}]
search: {{trials: 12, stop_after: 12, baseline_every: 4, seed: 11}}
promotion: {{pairs: {{min: 5, max: 30, after: 10}}}}
safety: {{max_trips: 3}}
"""

RUNS = 60
"""Simulated proofs a question: enough to tell yes from no."""

Values = dict[str, Value | None]
Speed = Callable[[Values, int], float]
"""Mean speed under the values in force in window number n (from 0)."""


@dataclass
class Simulated:
    """A `WindowSource`: speed(values, n) with log-normal noise from a seeded generator."""

    speed: Speed
    noise: float = 0.01
    seed: int = 1
    lease: Lease | None = None
    windows: int = 0
    seen: list[Values] = field(default_factory=list)
    before: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def run(self, poll: Poll) -> WindowResult:
        assert self.lease is not None
        number = self.windows
        self.windows += 1
        if self.before is not None:
            self.before(number)
        poll()
        values = self.lease.read()
        self.seen.append(values)
        speed = self.speed(values, number)
        if speed <= 0:
            return WindowResult({}, 0.0, Validity.CANDIDATE_FAILED, "simulated crash")
        noisy = speed * self._random.lognormvariate(0.0, self.noise)
        return WindowResult({"speed": noisy}, 0.001, Validity.VALID)


@dataclass
class SimulatedWindows(Simulated):
    """As `Simulated`, for windows of any kind: `window(values, n, random)` makes them whole."""

    window: Callable[[Values, int, random.Random], WindowResult] | None = None

    def run(self, poll: Poll) -> WindowResult:
        assert self.lease is not None and self.window is not None
        number, self.windows = self.windows, self.windows + 1
        poll()
        return self.window(self.lease.read(), number, self._random)


def windows(
    window: Callable[[Values, int, random.Random], WindowResult], seed: int = 1
) -> SimulatedWindows:
    """A source of such windows."""
    return SimulatedWindows(lambda *_: 0.0, seed=seed, window=window)


@dataclass
class Rig:
    """One study that can be run, and what was told meanwhile."""

    plan: Plan
    paths: StatePaths
    study: Study
    scope: EphemeralScope
    told: list[Progress] = field(default_factory=list)

    @contextmanager
    def tuning(
        self, source: Simulated, *, pareto: bool = False, picks: Sequence[int] = ()
    ) -> Iterator[Tuning]:
        settings = settings_of(self.plan.profile, Overrides(pareto=pareto), drawn_seed=0)
        with open_lease(
            [lease_tunable(knob) for knob in (*self.plan.knobs, *self.plan.fixed)],
            LeaseRequest(self.study.id, "test", "tester"),
            paths=self.paths,
            namespace=self.scope.ref,
        ) as lease:
            source.lease = lease
            yield Tuning(
                self.plan,
                self.study,
                settings,
                lease=lease,
                source=source,
                observe=self.told.append,
                picks=picks,
            )

    @contextmanager
    def bench(self, source: Simulated) -> Iterator[Bench]:
        with open_lease(
            [lease_tunable(knob) for knob in (*self.plan.knobs, *self.plan.fixed)],
            LeaseRequest(self.study.id, "test", "tester"),
            paths=self.paths,
            namespace=self.scope.ref,
        ) as lease:
            source.lease = lease
            yield Bench(
                lease=lease,
                source=source,
                study=self.study,
                guardrails=guardrails_of(self.plan.profile),
                baseline=dict(self.plan.baseline),
                settle_s={},
                observe=self.told.append,
                sequence=next_sequence(self.study),
            )

    @property
    def settings(self) -> Settings:
        return settings_of(self.plan.profile, Overrides(), drawn_seed=0)

    @contextmanager
    def calibration(self, source: Simulated) -> Iterator[Calibration]:
        with self.bench(source) as bench:
            yield calibration_on(
                bench,
                self.settings,
                candidate=candidate_of(self.plan),
                observe=self.told.append,
            )


@contextmanager
def rig(tmp_path: Path, text: str = PROFILE) -> Iterator[Rig]:
    """A namespace of its own, a plan for it, a new study."""
    paths = StatePaths(tmp_path / "state", tmp_path / "run").ensure()
    profile = parse_profile(text.encode(), file="simulated.yaml")
    with EphemeralScope() as scope:
        plan = resolve(profile, load_catalog(), host_facts(), namespace=scope.ref)
        study = Study.create(
            paths,
            StudyManifest(
                id="",
                profile_name="simulated",
                created_at="",
                seed=11,
                host=host_record(plan.host),
            ),
        )
        yield Rig(plan, paths, study, scope)
