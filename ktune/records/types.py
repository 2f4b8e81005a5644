"""The shapes of what a study keeps: manifest, windows, proof. Standard library only.

Shares, gains and limits are fractions (0.061 is 6.1 %), durations seconds, times UTC in
RFC 3339.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ktune.evidence.pairs import Arm
from ktune.kernel.values import Value


class StudyStatus(StrEnum):
    """Where a study stands."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    """Ended before its budget; `tune --resume` goes on."""
    FINISHED = "finished"
    """The search is over and nothing was confirmed yet."""
    PROVEN = "proven"
    NO_IMPROVEMENT = "no_improvement"
    FAILED = "failed"


class Phase(StrEnum):
    """What a window was measured for; only `decision` and `after` count as evidence."""

    CALIBRATION = "calibration"
    """The baseline against itself, in coin-ordered pairs."""
    SWITCHING = "switching"
    """Blocks B-B-A between the pairs: what a switch leaves behind."""
    LEARNING = "learning"
    FINALISTS = "finalists"
    DECISION = "decision"
    AFTER = "after"
    CONTEXTS = "contexts"
    """To know a phase of the workload by."""


class ProofOutcome(StrEnum):
    """How the confirmation ended."""

    IMPROVED = "improved"
    NO_IMPROVEMENT_FOUND = "no_improvement_found"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Runner:
    """The process that works on a study: a pid alone is reused, with its start it is not."""

    pid: int
    started_ticks: int
    """Start time in clock ticks after boot (/proc/PID/stat field 22)."""
    boot_id: str


@dataclass(frozen=True)
class StudyManifest:
    """`study.json`: everything about a study that is known before its first window."""

    id: str
    profile_name: str
    created_at: str
    profile_text: str = ""
    """The profile after inheritance, as run."""
    profile_digest: str = ""
    profile_path: str = ""
    scope: str = "host"
    """`host`, `ephemeral` or `netns:PATH`."""
    seed: int = 0
    sampler: str = "tpe"
    storage: str = ""
    """An Optuna storage URL; empty: the journal file in the study's folder."""
    plan: Mapping[str, Any] = field(default_factory=dict)
    host: Mapping[str, Any] = field(default_factory=dict)
    """Facts a policy carries along: kernel, arch, cpus, mem (bytes), virt."""
    baseline: Mapping[str, Value] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the run that a resume must repeat."""
    version: str = ""
    status: StudyStatus = StudyStatus.RUNNING
    reason: str = ""
    """Why it ended, for people."""
    ended_at: str = ""
    runner: Runner | None = None


@dataclass(frozen=True)
class StampRecord:
    """What the kernel stamped on the slot of a window, in seconds."""

    switch_s: float
    """How long the switch to its side took."""
    slot_s: float
    """How long its side was in force."""
    asked_slot_s: float
    before_s: float
    """From the side being in force to the window's beginning."""
    after_s: float
    """From the window's end to the next switch."""


@dataclass(frozen=True)
class WindowRecord:
    """One line of `windows.jsonl`."""

    seq: int
    phase: Phase
    arm: Arm
    pair: int | None
    """Number of the pair within its phase; None outside pairs."""
    trial: int | None
    assignment: Mapping[str, Value]
    metrics: Mapping[str, float]
    validity: str
    """`valid`, `candidate_failed` or `void` (ktune.measure.Validity)."""
    reason: str
    started_at: str
    duration_s: float
    stamp: StampRecord | None = None
    """Of a valid window whose side the kernel put in force; None where ktune did."""
    environment: Mapping[str, float] = field(default_factory=dict)
    """What the host did meanwhile, as shares: `steal_share`, `others_share`..."""
    others: Mapping[str, float] = field(default_factory=dict)
    """Programs outside the run: their share of all CPU time, by name."""
    cause: str = ""
    """By which limit on the surroundings it is void (ktune.measure.fairness.limits.Cause)."""


@dataclass(frozen=True)
class WindowLog:
    """All windows of a study that could be read."""

    records: tuple[WindowRecord, ...]
    torn: bool = False
    """The last line was cut off: its writer died while writing."""


@dataclass(frozen=True)
class RuleRecord:
    """The decision rule and what it saw when it stopped."""

    tests: tuple[str, ...]
    alpha: float
    hypothesis: str
    fired: str | None
    e_value: float | None
    threshold: float | None


@dataclass(frozen=True)
class PairCounts:
    """Pairs behind a proof; `void` ones were redrawn, `lost` ones counted against, `outliers`
    counted like all others."""

    decision: int
    after: int
    void: int = 0
    lost: int = 0
    outliers: int = 0


@dataclass(frozen=True)
class SwitchingRecord:
    """Who switched between the sides of the pairs, and how exactly, in seconds.

    `by`: `kernel`, `ktune`, or `kernel and ktune`; `why`: why not the kernel throughout.
    `kernel_windows`: valid windows within the kernel's stamps. `worst_skew_s`: by how much the
    kernel held the two sides of one pair for different times; `worst_late_s`: by how much it held
    one longer than asked.
    """

    by: str
    why: str = ""
    kernel_windows: int = 0
    worst_switch_s: float = 0.0
    worst_late_s: float = 0.0
    worst_skew_s: float = 0.0


@dataclass(frozen=True)
class GainRecord:
    """The reported gain; from pairs measured after the decision only."""

    metric: str
    estimate: float
    interval: tuple[float, float]
    level: float = 0.95


@dataclass(frozen=True)
class ObjectiveRecord:
    """One of several objectives, by the pairs after the decision: its gain, and the worsening that
    can't be excluded (`worst`, negative: surely better), which stayed within `margin` if `held`."""

    metric: str
    estimate: float
    interval: tuple[float, float]
    level: float
    worst: float
    margin: float
    held: bool


@dataclass(frozen=True)
class ConstraintRecord:
    """A non-inferiority constraint: held while `upper` stays under `margin`."""

    metric: str
    change: float
    upper: float
    margin: float
    held: bool


@dataclass(frozen=True)
class Proof:
    """`proof.json`: how the confirmation ended. `digest` is filled in when it is written."""

    outcome: ProofOutcome
    assignment: Mapping[str, Value]
    baseline: Mapping[str, Value]
    rule: RuleRecord
    pairs: PairCounts
    gain: GainRecord | None = None
    constraints: tuple[ConstraintRecord, ...] = ()
    objectives: tuple[ObjectiveRecord, ...] = ()
    """Each by itself, where there are several: `gain` is then the weighted one."""
    switching: SwitchingRecord | None = None
    """None in proofs of earlier versions."""
    others_wrote: Mapping[str, Value] = field(default_factory=dict)
    """Knobs that somebody else changed during the run, with the values then in force: the proof
    holds beside these."""
    claimed_by_search: float | None = None
    """What the search alone would have reported: never the gain."""
    decided_at: str = ""
    reason: str = ""
    windows_digest: str = ""
    """sha256 of `windows.jsonl` at the time of the proof."""
    digest: str = ""
    """sha256 of the other fields."""
