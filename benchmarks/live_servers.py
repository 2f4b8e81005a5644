"""Live tuning of real servers: live_servers.py [redis] [nginx] [--trials N] [--window SECONDS].

`ktune tune` attaches to Debian's redis-server under redis-benchmark, then to nginx under wrk, each
in a network namespace of its own: TCP settings, small steps, a level watched within each window, a
regret budget, a proof in pairs. Prints what was found, what the search cost the server, and that
every knob is back. Nothing to find is an answer too. Needs root; a server that is not installed is
left out and named.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from costs.proofs import claimed_text, gain_text
from costs.rig import KTUNE, can_make_namespaces, machine, note, own_runtime_folder, scratch, table
from live.servers import SERVERS, Running, Server, missing, under_load

from ktune.modes.resume import progress_of
from ktune.modes.settings import Overrides, settings_of
from ktune.profile.load import parse_profile
from ktune.records.paths import StatePaths
from ktune.records.study import Study
from ktune.records.types import Proof
from ktune.search.regret import regret

KNOBS = {
    "net.ipv4.tcp_congestion_control": "{choices: [reno, cubic, bbr]}",
    "net.ipv4.tcp_rmem": "{element: 2, range: [128K, 32M], log: true}",
    "net.ipv4.tcp_wmem": "{element: 2, range: [64K, 32M], log: true}",
    "net.ipv4.tcp_limit_output_bytes": "{range: [64K, 8M], log: true}",
    "net.ipv4.tcp_autocorking": "{choices: [0, 1]}",
}
_LIMIT_S = 2400.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description="Live tuning of real servers.")
    parser.add_argument("servers", nargs="*", default=[], metavar="redis|nginx")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--window", type=float, default=3.0, help="seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=20, help="at most")
    options = parser.parse_args(argv)
    unknown = set(options.servers) - set(SERVERS)
    if unknown:
        parser.error(f"no such server: {', '.join(sorted(unknown))}")
    if not can_make_namespaces():
        note("left out: needs root")
        return 0
    own_runtime_folder()
    print(f"live tuning of real servers: {machine()}")
    done = [_tuned(name, options) for name in options.servers or SERVERS]
    return 0 if all(done) else 1


def _tuned(name: str, options: argparse.Namespace) -> bool:
    """Whether it went as it must, whatever was found."""
    server = SERVERS[name]
    if absent := missing(server):
        note(f"{name} left out: not installed: {', '.join(absent)}")
        return True
    with scratch() as folder, under_load(server, folder) as running:
        profile = folder / "profile.yaml"
        profile.write_text(_profile(name, server, folder, running, options), encoding="utf-8")
        before, started = _knobs(running), _started_at(running.pid)
        begun_s = time.perf_counter()
        done = subprocess.run(
            [*KTUNE, f"--state-dir={folder / 'state'}", "tune", str(profile), "--json", "--quiet"],
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
        took_s = time.perf_counter() - begun_s
        if done.returncode not in (0, 3):
            sys.stderr.write(f"{name}: exit {done.returncode}\n{done.stdout}{done.stderr}")
            return False
        after, alive = _knobs(running), _started_at(running.pid) == started
        _show(name, folder, json.loads(done.stdout), took_s)
    restored = before == after
    print(f"\n{name}: every knob as before: {'yes' if restored else f'NO: {before} {after}'}")
    print(f"{name}: never restarted: {'yes' if alive else 'NO'}")
    return restored and alive


def _profile(
    name: str, server: Server, folder: Path, running: Running, options: argparse.Namespace
) -> str:
    knobs = "\n".join(f"    {key}: {shape}" for key, shape in KNOBS.items())
    return f"""
ktune: 1
kind: profile
name: live-{name}
summary: {name} under load, tuned as it runs
scope: {{netns: {running.scope.ref.netns}}}
workload:
  attach: {{pid: {running.pid}}}
  measure: {{for: {options.window}s, every: 500ms}}
  settle: 1s
  renews: [new_socket]
  metrics:{server.metrics(folder)}
knobs:
  sysctl:
{knobs}
objectives: [{{metric: {server.objective}, direction: maximize}}]
safety:
  {server.safety}
  regret: 10%
search: {{trials: {options.trials}, stop_after: {options.trials}, seed: {options.seed}}}
promotion: {{mei: 5%, pairs: {{min: 5, max: {options.pairs}, after: 10}}}}
"""


def _knobs(running: Running) -> dict[str, str]:
    enter = ["nsenter", f"--net={running.scope.ref.netns}", "cat"]
    return {
        key: " ".join(
            subprocess.check_output(
                [*enter, "/proc/sys/" + key.replace(".", "/")], text=True
            ).split()
        )
        for key in KNOBS
    }


def _started_at(pid: int) -> str:
    """Start time of a process; empty where it is gone."""
    if not os.path.exists(f"/proc/{pid}/stat"):
        return ""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def _show(name: str, folder: Path, outcome: dict[str, object], took_s: float) -> None:
    study = Study.open(StatePaths.resolve(folder / "state"), str(outcome["study"]))
    profile = parse_profile(study.manifest.profile_text.encode(), file="study")
    settings = settings_of(profile, Overrides(), drawn_seed=0)
    records = study.windows().records
    proof = study.proof()
    changed = {} if proof is None else _changed(proof)
    cost = regret(progress_of(records, settings).tried, settings.search_s)
    voids = [record.reason for record in records if record.validity == "void"]
    table(
        f"{name}: live tuning",
        ("", ""),
        [
            ("outcome", "no proof" if proof is None else f"{proof.outcome.value}: {proof.reason}"),
            ("finalist", ", ".join(f"{key}: {text}" for key, text in changed.items()) or "-"),
            ("gain (pairs after the decision)", gain_text(proof)),
            ("the search claimed", claimed_text(proof)),
            ("the search cost", f"{cost:.2%} of the baseline's work (below 0: it gained)"),
            ("windows", f"{len(records)} in {took_s:.0f} s, {len(voids)} void"),
        ],
    )
    for reason in sorted(set(voids)):
        note(f"void: {reason} ({voids.count(reason)})")


def _changed(proof: Proof) -> dict[str, str]:
    return {
        key: f"{proof.baseline[key]} -> {value}"
        for key, value in proof.assignment.items()
        if proof.baseline[key] != value
    }


if __name__ == "__main__":
    sys.exit(main())
