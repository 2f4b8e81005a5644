"""A proven study as `tune` leaves it, and policies frozen from it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ktune.evidence.pairs import Arm, Direction
from ktune.kernel.values import Value
from ktune.policy import digest, emit
from ktune.policy.freeze import FreezeOptions, freeze
from ktune.profile.host import host_facts
from ktune.profile.yaml12 import load_yaml
from ktune.records.paths import StatePaths
from ktune.records.study import Study
from ktune.records.types import (
    ConstraintRecord,
    GainRecord,
    PairCounts,
    Phase,
    Proof,
    ProofOutcome,
    RuleRecord,
    StudyManifest,
    WindowRecord,
)

NET_BASELINE: Mapping[str, Value] = {
    "net.ipv4.tcp_rmem": (4096, 131072, 6291456),
    "net.ipv4.tcp_notsent_lowat": 4294967295,
    "net.ipv4.tcp_slow_start_after_idle": 1,
    "net.ipv4.tcp_congestion_control": "cubic",
}
NET_ASSIGNMENT: Mapping[str, Value] = {
    "net.ipv4.tcp_rmem": (4096, 131072, 33554432),
    "net.ipv4.tcp_notsent_lowat": 131072,
    "net.ipv4.tcp_slow_start_after_idle": 0,
    "net.ipv4.tcp_congestion_control": "reno",
}
FACTS = {"kernel": "6.1.0-28-amd64", "arch": "x86_64", "cpus": 8, "mem": 32 << 30, "virt": "kvm"}


def here() -> dict[str, object]:
    """The facts of this machine, as `tune` records them."""
    host = host_facts()
    return {
        "kernel": host.kernel,
        "arch": host.arch,
        "cpus": host.cpus,
        "mem": host.mem_bytes,
        "virt": host.virt,
    }


GAIN = GainRecord("throughput", 0.0613, (0.04, 0.083))
UNCERTAIN_GAIN = GainRecord("throughput", 0.001, (-0.21, 0.27))
"""The decision stands, and the pairs after it can't tell the gain from none."""


def study(
    paths: StatePaths,
    *,
    scope: str = "ephemeral",
    assignment: Mapping[str, Value] = NET_ASSIGNMENT,
    baseline: Mapping[str, Value] = NET_BASELINE,
    host: Mapping[str, object] | None = None,
    outcome: ProofOutcome | None = ProofOutcome.IMPROVED,
    study_id: str = "",
    better: Direction | None = None,
    promotion: Mapping[str, object] | None = None,
    gain: GainRecord = GAIN,
) -> Study:
    """A study with one window and, unless `outcome` is None, a proof; with `better`, its profile
    says which way the objective runs."""
    goals: dict[str, object] = {} if promotion is None else {"promotion": dict(promotion)}
    if better:
        goals["objectives"] = [{"metric": "throughput", "direction": better}]
    made = Study.create(
        paths,
        StudyManifest(
            study_id,
            "quickstart",
            "2026-11-21T10:00:00Z",
            profile_text=json.dumps(goals) if goals else "",
            profile_digest="sha256:" + "1f" * 32,
            scope=scope,
            seed=7,
            host=here() if host is None else host,
            baseline=baseline,
        ),
    )
    made.append_window(
        WindowRecord(
            1,
            Phase.DECISION,
            Arm.CANDIDATE,
            1,
            None,
            assignment,
            {"throughput": 1e9},
            "valid",
            "",
            "2026-11-21T10:01:00Z",
            2.0,
        )
    )
    if outcome is not None:
        made.write_proof(proof(assignment, baseline, outcome, gain))
    return made


def proof(
    assignment: Mapping[str, Value] = NET_ASSIGNMENT,
    baseline: Mapping[str, Value] = NET_BASELINE,
    outcome: ProofOutcome = ProofOutcome.IMPROVED,
    gain: GainRecord = GAIN,
) -> Proof:
    """The proof of an improvement by 6.1 %, or by another `gain`."""
    return Proof(
        outcome=outcome,
        assignment=assignment,
        baseline=baseline,
        rule=RuleRecord(("symmetric-e",), 0.05, "gain <= 0", "symmetric-e", 57.23, 20.0),
        pairs=PairCounts(14, 10, 1, 0),
        gain=gain if outcome is ProofOutcome.IMPROVED else None,
        constraints=(ConstraintRecord("p99", -0.012, 0.029, 0.05, True),),
        claimed_by_search=0.098,
        decided_at="2026-11-21T10:15:00Z",
        reason="" if outcome is ProofOutcome.IMPROVED else "30 pairs, E = 1.2",
    )


def policy_text(paths: StatePaths, **options: object) -> str:
    """A policy of this host that is valid for a long time."""
    made = study(paths, **options)  # type: ignore[arg-type]
    return freeze(made, paths, FreezeOptions(valid_days=36500))


def edited(text: str, **changes: object) -> str:
    """A policy with other top-level fields and a digest that belongs to them: what somebody
    who can write policies may come up with."""
    tree = dict(load_yaml(text.encode(), file="p").plain())  # type: ignore[call-overload]
    tree.update(changes)
    tree[digest.FIELD] = digest.digest_of(tree)
    return emit.document(tree, block=frozenset({"baseline", "assignment"}), header="edited")
