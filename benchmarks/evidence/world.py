"""Tuning sessions through the real code path, with simulated windows.

Plan, network namespace, guardian, lease, journal, Optuna search, halving, simplification,
collaboration, verdict and study on disk are those of `ktune tune`. Only the window source is
simulated: it reads the values in force back through the lease and draws from a noise stream.
Sessions of a batch share the namespace and the guardian; each has a study, a search, a seed and a
noise stream of its own.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.evidence.noise import Stream
from ktune.catalog.catalog import load_catalog
from ktune.kernel.values import Value
from ktune.measure.scope import EphemeralScope
from ktune.measure.window import Poll, Validity, WindowResult, WindowSource
from ktune.modes.settings import Overrides, Settings, settings_of
from ktune.modes.stage import lease_tunable
from ktune.modes.tuning import Tuning
from ktune.profile.host import host_facts
from ktune.profile.load import parse_profile
from ktune.profile.plan import Plan
from ktune.profile.resolve import resolve
from ktune.proxy.client import Lease, LeaseRequest, open_lease
from ktune.records.paths import StatePaths
from ktune.records.study import Study
from ktune.records.types import Proof, StudyManifest, WindowRecord
from ktune.report.progress import Progress

MATTERS = "net.ipv4.tcp_fin_timeout"
"""The knob that has an effect where there is one: below 50."""
NEVER = "net.ipv4.tcp_keepalive_probes"

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
    {MATTERS}: {{range: [10, 110]}}
    {NEVER}: {{range: [1, 20]}}
baseline: {{{MATTERS}: 60, {NEVER}: 9}}
objectives: [{{metric: speed, direction: maximize}}]
search: {{trials: 16, stop_after: 16, baseline_every: 4}}
promotion: {{alpha: 0.05, mei: 2%, against: zero, pairs: {{min: 5, max: 30, after: 10}}}}
safety: {{oom_kills: null}}
"""

BATCH = 40
"""Sessions between two openings of the lease: its journal grows with every window."""

Effect = Callable[[Mapping[str, Value | None]], float]
"""From the values in force to the log factor of a metric."""
Effects = Mapping[str, Effect]
"""By metric."""


@dataclass(frozen=True)
class Below50:
    """Where the knob that matters is below 50, the metric is so much larger (0.10 = 10 %)."""

    gain: float

    def __call__(self, values: Mapping[str, Value | None]) -> float:
        value = values[MATTERS]
        assert isinstance(value, int)
        return math.log1p(self.gain) if value < 50 else 0.0


NO_EFFECT: Effects = {"speed": Below50(0.0)}
"""The null hypothesis: identical settings."""


class NoisySource:
    """A `WindowSource`: each metric is 100 times the effect of what is in force, times the noise.

    `order_effect`: log factor of the second of two windows, counted from `begin_pairs` on (an order
    effect; 0 during the search).
    """

    def __init__(self, lease: Lease, stream: Stream, effects: Effects, order_effect: float) -> None:
        self._lease = lease
        self._stream = stream
        self._effects = effects
        self._order_effect = order_effect
        self._in_pairs: int | None = None

    def begin_pairs(self) -> None:
        """From now on every second window feels the order effect."""
        self._in_pairs = 0

    def run(self, poll: Poll) -> WindowResult:
        poll()
        values = self._lease.read()
        order = 0.0
        if self._in_pairs is not None:
            order = self._order_effect * (self._in_pairs % 2)
            self._in_pairs += 1
        metrics = {
            name: 100 * math.exp(effect(values) + order + next(self._stream))
            for name, effect in self._effects.items()
        }
        return WindowResult(metrics, 0.001, Validity.VALID)


@dataclass
class Session:
    """One session that can run: its tuning, its study, its source."""

    tuning: Tuning
    study: Study
    source: NoisySource
    settings: Settings

    def windows(self) -> tuple[WindowRecord, ...]:
        return self.study.windows().records


class World:
    """Where sessions run; a context manager."""

    def __init__(self, folder: Path, profile: str) -> None:
        self._paths = StatePaths(folder / "state", folder / "run").ensure()
        self._profile = parse_profile(profile.encode(), file="simulated.yaml")
        self._stack = ExitStack()
        self._leases = ExitStack()
        self._lease: Lease | None = None
        self._opened_for = 0

    def __enter__(self) -> Self:
        self._scope = self._stack.enter_context(EphemeralScope())
        self.plan: Plan = resolve(
            self._profile, load_catalog(), host_facts(), namespace=self._scope.ref
        )
        self._stack.push(self._leases)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def session(
        self,
        seed: int,
        stream: Stream,
        effects: Effects = NO_EFFECT,
        order_effect: float = 0.0,
        *,
        search_only: bool = False,
    ) -> Session:
        """A new study; its seed drives sampler and coin."""
        lease = self.lease()
        source = NoisySource(lease, stream, effects, order_effect)
        tuning, study, settings = self.tuning(
            Overrides(seed=seed), lease, source, search_only=search_only
        )
        return Session(tuning, study, source, settings)

    def tuning(
        self, overrides: Overrides, lease: Lease, source: WindowSource, *, search_only: bool = False
    ) -> tuple[Tuning, Study, Settings]:
        """A tuning of the world's profile with windows of any source, ready to run."""
        settings = settings_of(self.plan.profile, overrides, drawn_seed=0)
        study = Study.create(
            self._paths,
            StudyManifest(id="", profile_name="simulated", created_at="", seed=settings.seed),
        )
        tuning = Tuning(
            self.plan,
            study,
            settings,
            lease=lease,
            source=source,
            observe=_quiet,
            search_only=search_only,
        )
        return tuning, study, settings

    def forget(self, session: Session) -> None:
        """Its study is not kept: the result is in the benchmark's own file."""
        self.drop(session.study)

    def drop(self, study: Study) -> None:
        """The same, of a study by itself."""
        shutil.rmtree(study.folder)

    def proof(
        self, seed: int, stream: Stream, effects: Effects = NO_EFFECT
    ) -> tuple[Proof, tuple[WindowRecord, ...]]:
        """A whole run: search, finalists, proof; with its windows."""
        session = self.session(seed, stream, effects)
        proof = session.tuning.run().proof
        assert proof is not None
        windows = session.windows()
        self.forget(session)
        return proof, windows

    def lease(self, batch: int = BATCH) -> Lease:
        """The one that is open; a new one where it has served for `batch` sessions."""
        if self._lease is None or self._opened_for >= batch:
            self._leases.close()
            self._lease = self._leases.enter_context(
                open_lease(
                    [lease_tunable(knob) for knob in (*self.plan.knobs, *self.plan.fixed)],
                    LeaseRequest("benchmark", "simulated sessions", "benchmark"),
                    paths=self._paths,
                    namespace=self._scope.ref,
                )
            )
            self._opened_for = 0
        self._opened_for += 1
        return self._lease


def _quiet(_: Progress) -> None:
    """Nobody looks on."""
