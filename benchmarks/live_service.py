"""Live tuning of a service that runs: live_service.py [--trials N] [--window SECONDS] [--seed N].

A mirror fetches files over the emulated long link in a network namespace of its own, without end,
and shows its metrics as a Prometheus page. `ktune tune` attaches to it: small steps around
the last known good setting, levels watched within each window, a regret budget, a proof in pairs.
Prints what the search tried, what it cost the service, the verdict, and that every knob is back.
Needs root and /dev/net/tun.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from costs.rig import KTUNE, machine, note, own_runtime_folder, scratch, table

from ktune.evidence.pairs import Arm
from ktune.measure.link.link import LongLink
from ktune.measure.scope import EphemeralScope
from ktune.measure.specs import LinkSpec
from ktune.modes.resume import progress_of
from ktune.modes.settings import Overrides, settings_of
from ktune.profile.load import parse_profile
from ktune.records.paths import StatePaths
from ktune.records.study import Study
from ktune.records.types import Phase
from ktune.search.regret import regret

MIRROR = Path(__file__).with_name("live") / "mirror.py"
RMEM = "net.ipv4.tcp_rmem"
NOTSENT = "net.ipv4.tcp_notsent_lowat"
_FILE_BYTES = 8 << 20
_OLD_RMEM = "4096 131072 1048576"
"""As many a guide of old has it: far too little for 20 ms, and what the benchmark begins with."""
_LIMIT_S = 1800.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description="Live tuning of a real service.")
    parser.add_argument("--trials", type=int, default=14)
    parser.add_argument("--window", type=float, default=4.0, help="seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=20, help="at most")
    options = parser.parse_args(argv)
    own_runtime_folder()
    print(f"live tuning of a mirror over a 20 ms link: {machine()}")
    with scratch() as folder, _mirror() as (scope, pid, port):
        profile = folder / "mirror.yaml"
        profile.write_text(_profile(scope.ref.netns, pid, port, options), encoding="utf-8")
        before = _knobs(scope)
        started_s = time.perf_counter()
        done = subprocess.run(
            [*KTUNE, f"--state-dir={folder / 'state'}", "tune", str(profile), "--json", "--quiet"],
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
        took_s = time.perf_counter() - started_s
        if done.returncode not in (0, 3):
            sys.stderr.write(done.stdout + done.stderr)
            return 1
        after = _knobs(scope)
        alive = _alive(pid)
        _show(folder, json.loads(done.stdout), took_s)
    restored = before == after
    print(f"\nevery knob as before: {'yes' if restored else f'NO: {before} {after}'}")
    print(f"the service was never restarted: {'yes' if alive else 'NO'}")
    return 0 if restored and alive else 1


@contextmanager
def _mirror() -> Iterator[tuple[EphemeralScope, int, int]]:
    """The service in its namespace: (scope, its pid, the port of its page)."""
    with EphemeralScope() as scope, LongLink(LinkSpec(rtt_s=0.02), scope.ref):
        path = "/proc/sys/" + RMEM.replace(".", "/")
        enter = ["nsenter", f"--net={scope.ref.netns}", "tee", path]
        subprocess.run(enter, input=_OLD_RMEM, text=True, check=True, stdout=subprocess.DEVNULL)
        process = subprocess.Popen(
            [
                *("nsenter", f"--net={scope.ref.netns}"),
                *(sys.executable, str(MIRROR), str(_FILE_BYTES)),
            ],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(MIRROR.parents[2])},
        )
        assert process.stdout is not None
        try:
            yield scope, process.pid, int(process.stdout.readline())
        finally:
            process.kill()
            process.wait()


def _profile(netns: str, pid: int, port: int, options: argparse.Namespace) -> str:
    page = f'from: prometheus, url: "http://127.0.0.1:{port}/metrics"'
    return f"""
ktune: 1
kind: profile
name: mirror
summary: A mirror over a long link, tuned as it runs
scope: {{netns: {netns}}}
workload:
  attach: {{pid: {pid}}}
  measure: {{for: {options.window}s, every: 500ms}}
  settle: 500ms
  renews: [new_socket]
  metrics:
    goodput: {{{page}, name: mirror_fetched_bytes_total, unit: B/s, plausible: [1000, 1e11]}}
    median: {{{page}, name: mirror_fetch_seconds, quantile: 0.5, unit: s, plausible: [0.001, 60]}}
    failed: {{{page}, name: mirror_failed_total, unit: 1/s, plausible: [0, 1000]}}
knobs:
  sysctl:
    {RMEM}: {{element: 2, range: [1M, 64M], log: true}}
    {NOTSENT}: {{range: [64K, 64M], log: true, special: [4294967295]}}
objectives: [{{metric: goodput, direction: maximize}}]
safety:
  slo: [{{metric: failed, at_most: 1, for: 1s}}]
  regret: 10%
search: {{trials: {options.trials}, stop_after: {options.trials}, seed: {options.seed}}}
promotion: {{mei: 5%, pairs: {{min: 5, max: {options.pairs}, after: 10}}}}
"""


def _knobs(scope: EphemeralScope) -> dict[str, str]:
    names = {key: "/proc/sys/" + key.replace(".", "/") for key in (RMEM, NOTSENT)}
    enter = ["nsenter", f"--net={scope.ref.netns}", "cat"]
    return {
        key: " ".join(subprocess.check_output([*enter, path], text=True).split())
        for key, path in names.items()
    }


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").read_bytes().count(b"mirror.py") == 1


def _show(folder: Path, outcome: dict[str, object], took_s: float) -> None:
    paths = StatePaths.resolve(folder / "state")
    study = Study.open(paths, str(outcome["study"]))
    profile = parse_profile(study.manifest.profile_text.encode(), file="study")
    settings = settings_of(profile, Overrides(), drawn_seed=0)
    records = study.windows().records
    rows = []
    largest = 0
    for record in records:
        if record.phase is Phase.LEARNING:
            rmem = record.assignment[RMEM]
            assert isinstance(rmem, tuple)
            largest = max(largest, rmem[2]) if record.arm is Arm.CANDIDATE else largest
            rate = record.metrics.get("goodput")
            rows.append(
                (
                    record.arm.value,
                    f"{rmem[2] / 2**20:.1f} MiB",
                    str(record.assignment[NOTSENT]),
                    f"{rate * 8 / 1e6:.0f}" if rate else f"{record.validity}: {record.reason}",
                )
            )
    title = "What was in force, window after window"
    table(title, ("arm", "tcp_rmem, most", "tcp_notsent_lowat", "Mbit/s"), rows)
    cost = regret(progress_of(records, settings).tried, settings.search_s)
    note(f"The search cost {cost:.2%} of the baseline's work (below 0: it gained); budget 10 %.")
    voids = sum(record.validity == "void" for record in records)
    note(f"{len(records)} windows in {took_s:.0f} s, {voids} void.")
    proof = study.proof()
    if proof is None:
        note(f"No proof: {outcome}")
    elif proof.gain is None:
        note(f"{proof.outcome.value}: {proof.reason}")
    else:
        low, high = proof.gain.interval
        changed = {k: v for k, v in proof.assignment.items() if proof.baseline[k] != v}
        note(
            f"{proof.outcome.value}: goodput {proof.gain.estimate:+.1%} [{low:+.1%}, {high:+.1%}] "
            f"after {proof.pairs.decision} pairs, with {changed}"
        )


if __name__ == "__main__":
    sys.exit(main())
