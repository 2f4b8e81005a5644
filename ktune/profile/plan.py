"""The plan: profile x catalog x host. Data only; `resolve.py` makes it, nothing here acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ktune.catalog.model import KnobEntry
from ktune.kernel.tunable import Assignment, Tunable
from ktune.kernel.values import Value
from ktune.profile.host import HostFacts
from ktune.profile.knobs import Relation
from ktune.profile.model import NetnsScope, Profile
from ktune.profile.space import Dimension, Point, compose, point_of

FORMAT = 1
"""Version of the plan's JSON form."""


@dataclass(frozen=True)
class PlannedKnob:
    """A knob that the run writes: searched (it has dimensions) or held at the baseline."""

    tunable: Tunable
    entry: KnobEntry
    current: Value | None
    """What is in force now in the scope."""
    baseline: Value
    """What candidates are compared with: `current`, or the profile's explicit value."""
    dimensions: tuple[Dimension, ...]
    """What the search varies: one, several for a vector, none for a knob held fixed."""
    minimum: Value | None
    """Lowest value that the run may write (profile and baseline within the catalog)."""
    maximum: Value | None
    """Highest value that the run may write."""
    choices: tuple[str, ...] | None
    """Words that the run may write; None for numbers."""
    special: tuple[Value, ...] = ()
    """Values allowed beside minimum and maximum."""
    coupled: tuple[str, ...] = ()
    """Keys that the kernel ties to this one; their originals are journaled too."""
    writable: bool = True
    """Whether the caller may write the file as things are (False: needs root)."""
    notes: tuple[str, ...] = ()
    """What a reader should know: limits cut, choices dropped, baseline outside the limits."""

    @property
    def key(self) -> str:
        """The knob's name."""
        return self.tunable.key


@dataclass(frozen=True)
class Skipped:
    """A knob of the profile that this plan leaves alone."""

    key: str
    reason: str


@dataclass(frozen=True)
class ActiveTuner:
    """A running program that writes knobs by itself."""

    name: str
    pid: int


@dataclass(frozen=True)
class Estimate:
    """How long the run takes: windows and seconds."""

    calibration_windows: int
    """Of the baseline against itself, before the search."""
    search_windows: int
    proof_windows: int
    window_s: float
    """About how long a window takes, with settling."""
    expected_s: float
    longest_s: float
    """When every window runs into its timeout and every budget is used up."""
    window_is_known: bool
    """False: the profile doesn't say `usual_time`; half the timeout was taken."""


@dataclass(frozen=True)
class Plan:
    """What a run would do. Making it touched nothing."""

    profile: Profile
    host: HostFacts
    knobs: tuple[PlannedKnob, ...]
    """Searched, in the order of the profile."""
    fixed: tuple[PlannedKnob, ...]
    """Set by an explicit baseline and not searched: the same in every window."""
    skipped: tuple[Skipped, ...]
    relations: tuple[Relation, ...]
    """The profile's, and those that couplings and the order within vectors imply."""
    baseline: Assignment
    """Baseline values of `knobs` and `fixed`."""
    expert: tuple[Assignment, ...]
    """Known-good settings, complete: what they don't name is the baseline's."""
    journaled: tuple[str, ...]
    """Keys whose originals go to the journal: what is written and everything coupled."""
    estimate: Estimate
    tuners: tuple[ActiveTuner, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def scope(self) -> str | NetnsScope:
        """`host`, `ephemeral`, or a namespace by path."""
        return self.profile.scope

    @property
    def profile_digest(self) -> str:
        """Digest of the profile's canonical form."""
        return self.profile.digest

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The search space."""
        return tuple(dimension for knob in self.knobs for dimension in knob.dimensions)

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dump`."""
        from ktune.profile.plan_json import plan_as_json  # it needs this module

        return plan_as_json(self)

    def assignment(self, point: Point) -> dict[str, Value]:
        """All values of a point of the search space."""
        return compose(self.dimensions, self.baseline, point)

    def point(self, assignment: Assignment) -> dict[str, Value] | None:
        """The point of an assignment; None when it lies outside the search space."""
        return point_of(self.dimensions, {**self.baseline, **assignment})

    def feasible(self, assignment: Assignment) -> bool:
        """Whether every relation holds."""
        complete: Mapping[str, Value] = {**self.baseline, **assignment}
        return all(relation.holds(complete) for relation in self.relations)
