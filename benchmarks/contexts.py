"""A workload that alternates two phases: the adaptive policy against single settings.

    sudo python -m benchmarks.contexts --state DIR [--blocks 6] [--phase-s 20] [--seed 1]

Real throughout: a bundled file is read at random through mmap(2) for a while, then scanned in
small blocks, and so on, in this process; `ktune watch` switches in its own. First `tune
--contexts` learns the adaptive policy of the shipped profile `two-phase-read`, and a sweep finds
the best single setting by the very figure that the tables show (`--policy`, `--single` name
earlier results). Arms run in blocks, in the order of a coin: the adaptive policy, the best single
setting, each leaf alone, the baseline. Each measured run begins in a phase by coin, and so with a
leaf that may be wrong. Results are kept in `DIR/contexts.jsonl`: an interrupted run goes on.

Writes `read_ahead_kb` of the disk that holds DIR, under leases. Needs root.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ktune.catalog.catalog import load_catalog
from ktune.evidence.student import t_quantile
from ktune.kernel.tunable import Assignment
from ktune.measure.page_cache import drop_page_cache
from ktune.measure.workloads.mmap_read import ensure_file, touch
from ktune.measure.workloads.scan_read import scan, start_of
from ktune.policy.load import LoadedPolicy, load_policy
from ktune.proxy.client import LeaseRequest, open_lease
from ktune.proxy.model import LeaseTunable
from ktune.records.paths import StatePaths
from ktune.records.watches import list_watches

PROFILE = "two-phase-read"
SIZE, PAGES, BYTES, BLOCK = 512 << 20, 1024, 32 << 20, 4 << 10
PHASES = ("random", "scan")
ADAPTIVE, SINGLE, BASELINE = "adaptive", "best single", "baseline"
SWEEPS = 2
READY_S = 60.0

Rates = Mapping[str, float]
"""By phase: units (pages or bytes) a second."""


@dataclass(frozen=True)
class Row:
    """One arm of one block; `first`: the phase that it began with."""

    block: int
    arm: str
    first: str
    rates: Rates


def main() -> None:
    """Prepare, measure what is missing, print the tables."""
    options = _options()
    state = Path(options.state)
    paths = StatePaths.resolve(state).ensure()
    policy = load_policy(str(options.policy or _learned(state)))
    single = json.loads(options.single) if options.single else _single(policy, paths, options)
    arms = arms_of(policy, single)
    for name, assignment in arms.items():
        print(f"{name}: {'switched by the watch' if assignment is None else dict(assignment)}")
    rows_file = state / "contexts.jsonl"
    rows = _rows(rows_file)
    done = max((row.block for row in rows), default=-1) + 1
    for block in range(done, options.blocks):
        coin = random.Random(f"{options.seed}/{block}")
        order = coin.sample(list(arms), len(arms))
        first = coin.choice(PHASES)
        fresh = []
        for arm in order:
            with _in_force(arms[arm], policy, paths):
                rates = alternate(state / "benchmark.bin", first, options.phase_s, options.cycles)
            fresh.append(Row(block, arm, first, rates))
            print(f"block {block} {arm}: {_shown(rates)}", flush=True)
        with rows_file.open("a") as file:  # a block counts as a whole
            file.writelines(json.dumps(asdict(row)) + "\n" for row in fresh)
        rows += fresh
    print(table(rows))


def arms_of(policy: LoadedPolicy, single: Assignment) -> dict[str, Assignment | None]:
    """By name the values of each arm; None: switched. Settings that are the same run once."""
    contexts = policy.document.contexts
    if contexts is None:
        raise SystemExit(f"{policy.path} does not adapt")
    arms: dict[str, Assignment | None] = {ADAPTIVE: None, BASELINE: policy.document.baseline}
    wanted = [(SINGLE, single)]
    wanted += [(f"{name} alone", leaf.assignment) for name, leaf in contexts.leaves.items()]
    for name, assignment in wanted:
        if dict(assignment) not in [dict(other) for other in arms.values() if other is not None]:
            arms[name] = assignment
    return arms


def alternate(file: Path, first: str, phase_s: float, cycles: int) -> dict[str, float]:
    """Both phases for `phase_s` seconds each, `cycles` times: work done a second."""
    ensure_file(str(file), SIZE)
    order = PHASES if first == PHASES[0] else PHASES[::-1]
    work = dict.fromkeys(PHASES, 0.0)
    spent_s = dict.fromkeys(PHASES, 0.0)
    seed = 0
    for _ in range(cycles):
        for phase in order:
            began_s = time.monotonic()
            while time.monotonic() - began_s < phase_s:
                seed += 1
                drop_page_cache([str(file)])
                work[phase] += _UNITS[phase](str(file), seed)
            spent_s[phase] += time.monotonic() - began_s
    return {phase: work[phase] / spent_s[phase] for phase in PHASES}


def _touches(file: str, seed: int) -> int:
    touch(file, PAGES, seed)
    return PAGES


def _scans(file: str, seed: int) -> int:
    return scan(file, start_of(SIZE, BYTES, BLOCK, seed), BYTES, BLOCK)[1]


_UNITS: Mapping[str, Callable[[str, int], int]] = {"random": _touches, "scan": _scans}


@contextlib.contextmanager
def _in_force(
    assignment: Assignment | None, policy: LoadedPolicy, paths: StatePaths
) -> Iterator[None]:
    if assignment is None:
        with _watched(policy, paths):
            yield
        return
    tunables = []
    for key in assignment:
        match = load_catalog().find(key)
        assert match is not None, key
        tunables.append(LeaseTunable(match.to_tunable()))
    request = LeaseRequest("benchmark-contexts", "benchmark", "benchmark")
    with open_lease(tunables, request, paths=paths) as lease:
        report = lease.apply(assignment, deadline_s=3600.0, why="one arm")
        assert report.ok, report.problems
        yield


@contextlib.contextmanager
def _watched(policy: LoadedPolicy, paths: StatePaths) -> Iterator[None]:
    """A real `ktune watch`, ready once it has measured its first pair."""
    for record in list_watches(paths)[0]:
        (paths.watches / record.id / "watch.json").unlink()
    command = [sys.executable, "-m", "ktune", f"--state-dir={paths.state}", "watch", policy.path]
    times = ["--probation-every", "1h", "--holdback-every", "1h", "--quiet", "--yes"]
    with (paths.state / "watch.log").open("a") as log:
        process = subprocess.Popen([*command, *times], stdout=log, stderr=log)
        try:
            _wait_until_ready(process, paths)
            yield
            if process.poll() is not None:
                raise SystemExit(f"the watch ended with {process.returncode}: {log.name}")
            for record in list_watches(paths)[0]:
                print(f"  the watch switched {record.switches} times, in force: {record.leaf}")
        finally:
            process.send_signal(signal.SIGTERM)  # SIGINT: ignored by what runs in the background
            process.wait(READY_S)


def _wait_until_ready(process: subprocess.Popen[bytes], paths: StatePaths) -> None:
    """Its first pair is measured, or the leaf is the baseline and there will be none."""
    deadline_s = time.monotonic() + READY_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            said = (paths.state / "watch.log").read_text()
            raise SystemExit(f"the watch ended with {process.returncode}: {said}")
        if any(record.leaf and record.last_pair_at for record in list_watches(paths)[0]):
            return
        time.sleep(0.2)
    raise SystemExit("the watch was not ready in time")


def _learned(state: Path) -> Path:
    """The adaptive policy of `tune --contexts`."""
    file = state / "policy.yaml"
    if not file.exists():
        _ktune(state, "tune", PROFILE, "--contexts", "--seed", "7", "--quiet")
        study = sorted(path.name for path in (state / "contexts").iterdir())[-1]
        _ktune(state, "freeze", study, "-o", str(file))
    return file


def _single(policy: LoadedPolicy, paths: StatePaths, options: argparse.Namespace) -> Assignment:
    """The best single setting for both phases alike, by the figure that the tables are about: every
    power of two from 4 to 8192, each in short runs of its own. Kept in `single.json`."""
    kept = paths.state / "single.json"
    if kept.exists():
        found: Assignment = json.loads(kept.read_text())
        return found
    (key,) = policy.document.assignment
    values = [1 << power for power in range(2, 14)]
    scores: dict[int, list[float]] = {value: [] for value in values}
    for number in range(SWEEPS):
        coin = random.Random(f"{options.seed}/sweep/{number}")
        for value in coin.sample(values, len(values)):
            with _in_force({key: value}, policy, paths):
                file = paths.state / "benchmark.bin"
                rates = alternate(file, coin.choice(PHASES), options.sweep_s, 1)
            scores[value].append(statistics.fmean(math.log(rate) for rate in rates.values()))
            print(f"single {value}: {_shown(rates)}", flush=True)
    best = max(values, key=lambda value: statistics.fmean(scores[value]))
    kept.write_text(json.dumps({key: best}))
    return {key: best}


def _ktune(state: Path, *words: str) -> None:
    command = [sys.executable, "-m", "ktune", f"--state-dir={state}", *words]
    code = subprocess.run(command, check=False).returncode
    if code != 0:
        raise SystemExit(f"{' '.join(command)} ended with {code}")


def table(rows: Sequence[Row]) -> str:
    """Rates by arm, and the adaptive policy against each other arm by block."""
    by_arm: dict[str, dict[int, Rates]] = {}
    for row in rows:
        by_arm.setdefault(row.arm, {})[row.block] = row.rates
    lines = ["", "### Work a second", ""]
    lines += ["| arm | blocks | random pages/s | scan MB/s |", "|---|---|---|---|"]
    for arm, blocks in by_arm.items():
        pages, moved = ([rates[phase] for rates in blocks.values()] for phase in PHASES)
        lines.append(f"| {arm} | {len(blocks)} | {_cell(pages, 1)} | {_cell(moved, 1e6)} |")
    lines += ["", "### The adaptive policy against each, by block", ""]
    lines += ["| against | random | scan | both (geometric mean) |", "|---|---|---|---|"]
    adaptive = by_arm.pop(ADAPTIVE, {})
    for arm, blocks in by_arm.items():
        logs = [_logs(adaptive, blocks, phase) for phase in PHASES]
        logs.append([statistics.fmean(pair) for pair in zip(*logs, strict=True)])
        lines.append(f"| {arm} | {' | '.join(map(_ratio, logs))} |")
    return "\n".join(lines)


def _logs(adaptive: Mapping[int, Rates], other: Mapping[int, Rates], phase: str) -> list[float]:
    """Log ratios of the blocks that have both."""
    both = sorted(adaptive.keys() & other.keys())
    return [math.log(adaptive[block][phase] / other[block][phase]) for block in both]


def _interval(values: Sequence[float]) -> tuple[float, float, float]:
    """(mean, low, high) at 95 % by Student's t; no interval for a single value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.nan, math.nan
    half = t_quantile(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def _cell(values: Sequence[float], scale: float) -> str:
    mean, low, high = (value / scale for value in _interval(values))
    return f"{mean:,.0f} [{low:,.0f}, {high:,.0f}]" if not math.isnan(low) else f"{mean:,.0f}"


def _ratio(logs: Sequence[float]) -> str:
    mean, low, high = (math.exp(value) for value in _interval(logs))
    return f"x{mean:.2f} [{low:.2f}, {high:.2f}]" if not math.isnan(low) else f"x{mean:.2f}"


def _shown(rates: Rates) -> str:
    return f"{rates['random']:,.0f} pages/s, {rates['scan'] / 1e6:,.0f} MB/s"


def _rows(file: Path) -> list[Row]:
    if not file.exists():
        return []
    return [Row(**json.loads(line)) for line in file.read_text().splitlines()]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--state", required=True, help="folder for data, studies and results")
    parser.add_argument("--policy", help="an adaptive policy (default: learned first)")
    parser.add_argument("--single", help="JSON: the best single setting (default: swept for first)")
    parser.add_argument("--sweep-s", type=float, default=4.0, help="of each phase in the sweep")
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--phase-s", type=float, default=20.0)
    parser.add_argument("--cycles", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
