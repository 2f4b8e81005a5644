"""Measures surfaces on this machine; interrupted, it goes on where it was.

    python -m benchmarks.surfaces.record --all
    python -m benchmarks.surfaces.record NAME [--points N] [--repeats N] [--window-s S]

Every repeat of every point is a window of its own, all in one shuffled order, with a window of the
reference before each fifth: neither drift nor a noisy minute can pass for an effect of a setting.
Written only through ktune's lease, which restores everything. Host knobs need root, and a machine
that does nothing else.
"""

from __future__ import annotations

import argparse
import platform
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.costs.rig import machine
from benchmarks.surfaces.definitions import (
    DEFINITIONS,
    NAMES,
    Definition,
    definition,
    on_disk,
    without_disk,
)
from benchmarks.surfaces.points import sobol_points, values_of
from benchmarks.surfaces.store import (
    RECORDED,
    REFERENCE,
    Head,
    Recording,
    Window,
    Writer,
    axis_record,
    read,
)
from ktune import __version__
from ktune.catalog.catalog import load_catalog
from ktune.errors import KtuneError
from ktune.evidence.pairs import Arm
from ktune.kernel.values import Value
from ktune.measure.window import Validity
from ktune.modes.bench import Bench, Measured
from ktune.modes.settings import guardrails_of
from ktune.modes.stage import Stage, held_scope, stage
from ktune.profile.host import host_facts
from ktune.profile.plan import Plan
from ktune.profile.resolve import resolve
from ktune.proxy.client import LeaseRequest
from ktune.records.paths import ROOT_RUNTIME, StatePaths
from ktune.records.study import Study
from ktune.records.types import Phase, StudyManifest
from ktune.report.progress import Note, Progress
from ktune.search.space import Space

WINDOW_S = 0.6
REPEATS = 3
SEED = 20261121
REFERENCE_EVERY = 5
_FITTING = 3
"""Windows of the reference by whose length the work of a window is fitted, the last of ..."""
_FITTING_S = 10.0
"""... so many seconds of windows, ..."""
_FITTING_ROUNDS = 4
"""... at most so often, ..."""
_CLOSE = 1.2
"""... until the length is within this factor."""
_VOID_IN_A_ROW = 100
_PAUSE_AFTER = 5
_PAUSE_S = 5.0
"""After so many void windows in a row: whatever disturbs them may end."""


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for; a recording that is there already goes on as it began."""

    points: int
    repeats: int
    window_s: float
    seed: int
    any_load: bool = False


def main(argv: Sequence[str] | None = None) -> int:
    """Record one surface, or all in the order of importance."""
    options = _parser().parse_args(argv)
    names = NAMES if options.all else options.name
    if not names:
        _parser().error("name a surface, or say --all")
    if unknown := set(names) - set(NAMES):
        _parser().error(f"no surface {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # restores, tidies up
    try:
        _record_all(names, options)
    except KeyboardInterrupt:
        print("interrupted, every knob is restored; the same command goes on", flush=True)
        return 130
    except KtuneError as error:
        print(error.message + (f" ({error.hint})" if error.hint else ""), file=sys.stderr)
        return 1
    return 0


def _record_all(names: Sequence[str], options: argparse.Namespace) -> None:
    for name in names:
        item = definition(name)
        wanted = Wanted(
            points=options.points or item.points,
            repeats=options.repeats,
            window_s=options.window_s,
            seed=options.seed,
            any_load=options.any_load,
        )
        record(item, wanted, options.output / f"{name}.jsonl", options.scratch)


def record(item: Definition, wanted: Wanted, path: Path, scratch: str | None) -> Recording:
    """Measure what is missing of one surface."""
    earlier = read(path) if path.exists() else None
    if earlier is not None and earlier.complete:
        print(f"{item.name}: {earlier.text}", flush=True)
        return earlier
    with tempfile.TemporaryDirectory(prefix="ktune-surface-", dir=scratch) as folder:
        Path(folder).chmod(0o755)
        paths = StatePaths(Path(folder) / "state", ROOT_RUNTIME).ensure()
        amount = earlier.head.amount if earlier else fitted(item, wanted, paths)
        with open_rig(item, amount, paths, any_load=wanted.any_load) as rig:
            head = earlier.head if earlier else _head(rig, item, wanted, amount)
            writer = Writer(path, head, machine())
            try:
                _measure(rig, head, earlier, writer, item.name)
            finally:
                writer.close()
    return read(path)


@dataclass
class Rig:
    """Everything stands: measure."""

    bench: Bench
    standing: Stage
    plan: Plan
    space: Space
    disk: str

    def window(self, assignment: Mapping[str, Value]) -> Measured:
        """One window that somebody from outside did not spoil."""
        for number in range(1, _VOID_IN_A_ROW + 1):
            measured = self.bench.measure(assignment, phase=Phase.LEARNING, arm=Arm.CANDIDATE)
            if self.bench.dropped:
                raise SystemExit(f"somebody else writes {', '.join(sorted(self.bench.dropped))}")
            if measured.validity is not Validity.VOID:
                return measured
            if number % _PAUSE_AFTER == 0:
                self.bench.poll_lease()
                time.sleep(_PAUSE_S)
        raise SystemExit(f"{_VOID_IN_A_ROW} windows in a row are void: {measured.reason}")

    def reference_window(self, reference: Mapping[str, Value]) -> Measured:
        """One of the reference: where it fails, the workload itself does."""
        measured = self.window(reference)
        if not measured.valid:
            raise SystemExit(f"the workload fails under the reference: {measured.reason}")
        return measured

    @property
    def metric(self) -> str:
        return self.plan.profile.objectives[0].metric


@contextmanager
def open_rig(
    item: Definition, amount: int, paths: StatePaths, *, any_load: bool = False, more: str = ""
) -> Iterator[Rig]:
    """The workload under a lease; everything is restored in the end."""
    profile = item.profile(amount, str(paths.state), any_load=any_load, more=more)
    with ExitStack() as stack:
        stack.enter_context(held_scope(profile, paths, command="record"))
        plan = resolve(profile, load_catalog(), host_facts())
        if plan.skipped:
            raise SystemExit(
                f"{item.name}: " + "; ".join(f"{s.key}: {s.reason}" for s in plan.skipped)
            )
        study = Study.create(paths, StudyManifest(id="", profile_name=item.name, created_at=""))
        request = LeaseRequest(study.id, f"record {item.name}", "benchmark")
        standing = stack.enter_context(stage(plan, paths, request, command="record"))
        guardrails = guardrails_of(profile, standing.namespace)
        stack.callback(guardrails.close)
        bench = Bench(
            lease=standing.lease,
            source=standing.source,
            study=study,
            guardrails=guardrails,
            baseline=dict(plan.baseline),
            settle_s={knob.key: item.settle_s for knob in plan.knobs},
            observe=_tell,
        )
        disk = next(
            (k.key.split("/")[3] for k in plan.knobs if k.key.startswith("/sys/block/")), ""
        )
        yield Rig(
            bench, standing, plan, Space(plan.dimensions, plan.relations, plan.baseline), disk
        )


def _tell(progress: Progress) -> None:
    if isinstance(progress, Note):
        print(f"  {progress.text}", flush=True)


def fitted(item: Definition, wanted: Wanted, paths: StatePaths) -> int:
    """The work that takes the reference so long, process and all, when windows have followed each
    other for a while: some become slower by what the ones before have left (a file system does not
    give out again at once what was just removed)."""
    amount = item.amount
    for _ in range(_FITTING_ROUNDS):
        scale = wanted.window_s / _reference_s(item, amount, wanted, paths)
        if 1 / _CLOSE <= scale <= _CLOSE:
            break
        digits = 10 ** max(0, len(str(item.amount)) - 3)
        amount = max(digits, round(amount * scale / digits) * digits)
    return amount


def _reference_s(item: Definition, amount: int, wanted: Wanted, paths: StatePaths) -> float:
    """How long a window of the reference takes, at last."""
    with open_rig(item, amount, paths, any_load=wanted.any_load) as rig:
        reference = on_disk(item.reference, rig.disk)
        rig.reference_window(reference)  # makes files, warms up
        took: list[float] = []
        while len(took) < _FITTING or sum(took) < _FITTING_S:
            started_s = time.monotonic()
            rig.reference_window(reference)
            took.append(time.monotonic() - started_s)
    return statistics.median(took[-_FITTING:])


def _head(rig: Rig, item: Definition, wanted: Wanted, amount: int) -> Head:
    space, objective = rig.space, rig.plan.profile.objectives[0]
    probes = [on_disk(probe, rig.disk) for probe in item.probes]
    points = [*probes, *sobol_points(space, wanted.points, wanted.seed)]
    axes = [axis_record(axis) for axis in space.axes]
    for axis in axes:
        axis["key"] = without_disk(axis["key"], rig.disk)
    assert rig.plan.profile.workload is not None
    return Head(
        surface=item.name,
        metric=objective.metric,
        unit=str(rig.plan.profile.workload.metrics[objective.metric].unit),
        direction=objective.direction.value,
        amount=amount,
        window_s=wanted.window_s,
        repeats=wanted.repeats,
        reference_every=REFERENCE_EVERY,
        seed=wanted.seed,
        axes=tuple(axes),
        relations=tuple(str(relation) for relation in rig.plan.profile.relations),
        reference=tuple(values_of(space, on_disk(item.reference, rig.disk))),
        points=tuple(tuple(values_of(space, point)) for point in points),
        probes=len(probes),
        kernel=".".join(platform.release().split(".")[:2]),
        ktune=__version__,
    )


def order_of(head: Head) -> list[tuple[int, int]]:
    """(point, repeat) of every window, shuffled, the reference before each fifth and at the end."""
    slots = [(point, repeat) for repeat in range(head.repeats) for point in range(len(head.points))]
    random.Random(f"order {head.seed}").shuffle(slots)
    found: list[tuple[int, int]] = []
    for number, slot in enumerate(slots):
        if number % head.reference_every == 0:
            found.append((REFERENCE, number // head.reference_every))
        found.append(slot)
    return [*found, (REFERENCE, -(-len(slots) // head.reference_every))]


def _measure(rig: Rig, head: Head, earlier: Recording | None, writer: Writer, name: str) -> None:
    windows = earlier.windows if earlier else ()
    done = {(window.point, window.repeat) for window in windows}
    todo = [slot for slot in order_of(head) if slot not in done]
    before_s = max((window.at_s for window in windows), default=0.0)
    values = {REFERENCE: head.reference, **dict(enumerate(head.points))}
    rig.reference_window(assignment_of(rig, head.reference))  # a sitting's first window warms up
    started_s = time.monotonic()
    for number, (point, repeat) in enumerate(todo, start=1):
        measured = rig.window(assignment_of(rig, values[point]))
        at_s = before_s + time.monotonic() - started_s
        value = measured.metrics[rig.metric] if measured.valid else None
        writer.add(Window(point, repeat, at_s, value, measured.reason))
        if number % 50 == 0 or number == len(todo):
            each_s = (time.monotonic() - started_s) / number
            left_s = each_s * (len(todo) - number)
            print(
                f"{name}: {number} of {len(todo)}, {each_s:.2f} s each, {left_s:.0f} s left",
                flush=True,
            )


def assignment_of(rig: Rig, values: Sequence[Value]) -> dict[str, Value]:
    """One value for each axis as an assignment."""
    named = zip((axis.name for axis in rig.space.axes), values, strict=True)
    return rig.space.assembled(dict(named))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Record surfaces of real workloads.")
    parser.add_argument("name", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--all", action="store_true", help="all, in the order of importance")
    sizes = ", ".join(f"{item.name} {item.points}" for item in DEFINITIONS)
    parser.add_argument("--points", type=int, help=f"Sobol points (default: {sizes})")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--window-s", type=float, default=WINDOW_S, help="at the reference")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument(
        "--any-load", action="store_true", help="also beside other work (to try things out)"
    )
    parser.add_argument("--output", type=Path, default=RECORDED, help="folder of the surfaces")
    parser.add_argument(
        "--scratch", default="/var/tmp", help="a folder on the disk that is measured"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
