"""A watch with everything real (policy, stack, guardian, namespace, record) but the window source.

The simulated source reads the kernel's values back in the namespace, so what was not applied can't
show.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ktune.errors import ExitCode
from ktune.kernel.values import Value
from ktune.measure.guardrails.watch import Guardrails
from ktune.measure.scope import EphemeralScope
from ktune.measure.window import Poll, Validity, WindowResult
from ktune.modes.watch.adaptive import Adaptive
from ktune.modes.watch.clocks import Clocks, TimeKeeper
from ktune.modes.watch.diary import Diary, open_diary
from ktune.modes.watch.holder import Holder
from ktune.modes.watch.run import holding
from ktune.modes.watch.subject import Subject, WatchOptions, find_subject
from ktune.modes.watch.watcher import Watcher
from ktune.policy import stack
from ktune.policy.apply import apply, plan_apply
from ktune.policy.freeze import FreezeOptions, freeze
from ktune.policy.live import read_live
from ktune.policy.load import load_policy
from ktune.profile.load import parse_profile
from ktune.proxy.locks import scope_lock
from ktune.proxy.pause import PauseDoor
from ktune.records.paths import StatePaths
from ktune.records.study import Study
from ktune.records.types import StudyManifest
from ktune.records.watches import WatchRecord, read_watch
from ktune.report.progress import Note, Progress
from tests.policy.support import here, proof

from .rig import FIN, PROBES, PROFILE

BASELINE: dict[str, Value] = {FIN: 60, PROBES: 9}
POLICY: dict[str, Value] = {FIN: 30, PROBES: 9}
QUICK = WatchOptions(interval_s=0.1, probation_every_s=0.0, holdback_every_s=0.0)
Values = dict[str, Value | None]
Speed = Callable[[Values, int], float]
"""Mean speed under the values in force in window number n (from 0); 0: the window gives nothing."""


def no_guardrails() -> Guardrails:
    return Guardrails([])


@dataclass
class Simulated:
    """speed(values, n) with log-normal noise from a seeded generator."""

    speed: Speed
    read: Callable[[], Values]
    noise: float = 0.01
    seed: int = 1
    windows: int = 0
    at_most: int = 400
    before: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def run(self, poll: Poll) -> WindowResult:
        number = self.windows
        self.windows += 1
        if number >= self.at_most:
            raise KeyboardInterrupt("enough windows")
        if self.before is not None:
            self.before(number)
        poll()
        speed = self.speed(self.read(), number)
        if speed <= 0:
            return WindowResult({}, 0.0, Validity.VOID, "the source does not answer")
        noisy = speed * self._random.lognormvariate(0.0, self.noise)
        return WindowResult({"speed": noisy}, 0.001, Validity.VALID)


@dataclass
class Watching:
    """A policy frozen from a study, ready to be watched in a namespace of its own."""

    paths: StatePaths
    scope: EphemeralScope
    file: Path
    guardrails: Guardrails = field(default_factory=no_guardrails)
    told: list[Progress] = field(default_factory=list)
    code: ExitCode | None = None
    diary: Diary | None = None
    relearned: int = 0
    read_clocks: Callable[[], Clocks] = Clocks.read
    adapt: Callable[[Subject], Adaptive] | None = None
    """Of an adaptive policy: what switches it."""
    adaptive: Adaptive | None = None

    def live(self) -> Values:
        """The two knobs as the namespace has them."""
        return read_live(self.tunables, self.scope.ref)

    def subject(self, options: WatchOptions) -> Subject:
        return find_subject(str(self.file), options, self.paths)

    def apply(self) -> None:
        apply(plan_apply(load_policy(str(self.file)), netns=self.scope.ref.netns), paths=self.paths)

    @property
    def tunables(self):  # type: ignore[no-untyped-def]
        plan = plan_apply(load_policy(str(self.file)), netns=self.scope.ref.netns)
        return [knob.tunable for knob in plan.checked.knobs]

    @property
    def in_force(self) -> bool:
        return bool(stack.readable(self.paths))

    @property
    def notes(self) -> list[str]:
        return [item.text for item in self.told if isinstance(item, Note)]

    @property
    def record(self) -> WatchRecord:
        assert self.diary is not None
        found = read_watch(self.paths, self.diary.record.id)
        assert found is not None
        return found

    def source(self, speed: Speed, **kinds: object) -> Simulated:
        tunables = self.tunables
        return Simulated(speed, lambda: read_live(tunables, self.scope.ref), **kinds)  # type: ignore[arg-type]

    def watch(self, source: Simulated, options: WatchOptions = QUICK) -> Watcher:
        """Run it to its end; `code` is None when it was interrupted."""
        from dataclasses import replace

        options = replace(options, netns=self.scope.ref.netns)
        subject = self.subject(options)
        cookie = subject.plan.scope.cookie
        self.adaptive = self.adapt(subject) if self.adapt else None
        with holding(subject, options, self.paths) as (holder, in_force):
            return self._watch(source, holder, cookie, in_force, options)

    def _watch(
        self,
        source: Simulated,
        holder: Holder,
        cookie: int,
        in_force: bool,
        options: WatchOptions,
    ) -> Watcher:
        self.diary, guarding = open_diary(holder.spec, self.paths, on_death="stay")
        self.guardrails.start_window()
        with PauseDoor(self.paths.runtime, cookie) as door:
            watcher = Watcher(
                holder=holder,
                source=source,
                guardrails=self.guardrails,
                diary=self.diary,
                guarding=guarding,
                door=door,
                lock=lambda: scope_lock(
                    self.paths, netns_cookie=cookie, what="watch", ask_watch=False
                ),
                paths=self.paths,
                observe=self.told.append,
                relearn=self._relearn,
                adaptive=self.adaptive,
                in_force=in_force,
                until_settled=options.until_settled,
                time_keeper=TimeKeeper(self.read_clocks),
            )
            try:
                self.code = watcher.run()
            except KeyboardInterrupt:
                self.code = None
        return watcher

    def _relearn(self) -> None:
        self.relearned += 1


@contextmanager
def watching(tmp_path: Path, watch: str = "") -> Iterator[Watching]:
    """`watch`: the profile's `watch:` section in flow style."""
    paths = StatePaths(tmp_path / "state", tmp_path / "run").ensure()
    text = PROFILE + (f"watch: {watch}\n" if watch else "")
    profile = parse_profile(text.encode(), file="simulated.yaml")
    study = Study.create(
        paths,
        StudyManifest(
            id="",
            profile_name="simulated",
            created_at="",
            profile_text=json.dumps(profile.source.flattened),
            profile_digest=profile.digest,
            scope="ephemeral",
            seed=7,
            host=here(),
            baseline=BASELINE,
        ),
    )
    study.write_proof(proof(POLICY, BASELINE))
    file = tmp_path / "policy.yaml"
    file.write_text(freeze(Study.open(paths, study.id), paths, FreezeOptions(valid_days=36500)))
    with EphemeralScope() as scope:
        yield Watching(paths, scope, file)
