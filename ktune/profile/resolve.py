"""Profile x catalog x host -> plan. Reads knob files in the scope; changes nothing anywhere.

What the profile may never do (unknown knob, risk `never`, outside its scope, no effect within a
window) is refused, all of it at once; what this host lacks is skipped and said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ktune.catalog.catalog import Catalog
from ktune.catalog.model import Match, Risk
from ktune.kernel.namespaces import NamespaceRef
from ktune.kernel.tunable import Assignment
from ktune.kernel.values import Value
from ktune.profile import bounds, choices, couplings, ranges, tuners
from ktune.profile.attach_notes import attach_notes
from ktune.profile.bounds import Case, Limits, NothingToSearchError, Space, WrongForKnobError
from ktune.profile.energy import without_energy
from ktune.profile.errors import PlanRefusedError, Problem, ProfileError
from ktune.profile.estimate import estimate
from ktune.profile.feasible import impossible
from ktune.profile.fit import misfits
from ktune.profile.gates import Passed, pass_gates
from ktune.profile.host import HostFacts
from ktune.profile.knobs import Relation
from ktune.profile.model import Profile
from ktune.profile.observed import Observed, observe
from ktune.profile.placement import missing_cpus, placement_notes
from ktune.profile.plan import Plan, PlannedKnob, Skipped
from ktune.profile.probation import probation_problems
from ktune.profile.readings import Reader, reader_for
from ktune.profile.sensors import sensor_notes, without_sensors
from ktune.profile.space import compose, point_of
from ktune.profile.tool_checks import missing_tools, tool_notes


def resolve(
    profile: Profile,
    catalog: Catalog,
    host: HostFacts,
    *,
    namespace: NamespaceRef | None = None,
    read: Reader | None = None,
    metric_hosts: Collection[str] = (),
) -> Plan:
    """The plan of a profile on this host.

    `namespace`: the live namespace of an ephemeral run; without it a fresh one stands for it.
    `read`: another way to read knob files. `metric_hosts`: whose metric pages it may name besides
    loopback's.
    Raises PlanRefusedError (exit 4), ProfileError (a value that its knob can't mean) or
    RefusedError (the scope can't be entered).
    """
    passed = pass_gates(profile, catalog, metric_hosts)
    refused = [
        *misfits(profile, host),
        *passed.refused,
        *without_energy(profile),
        *without_sensors(profile),
        *missing_cpus(profile),
        *missing_tools(profile),
    ]
    if refused:
        raise PlanRefusedError(refused)
    observed = observe(
        passed.matches,
        profile.parsed_relations,
        catalog=catalog,
        host=host,
        read=read or reader_for(profile, namespace),
        in_netns=profile.scope != "host",
    )
    return _Planner(profile, host, passed, observed).plan()


@dataclass
class _Planner:
    """Inputs shared by the steps, and what they find wrong or worth saying."""

    profile: Profile
    host: HostFacts
    passed: Passed
    seen: Observed
    wrong: list[Problem] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def plan(self) -> Plan:
        baseline = {**self.seen.values, **self._explicit_baseline()}
        knobs = tuple(self._searched(baseline))
        fixed = tuple(self._fixed(baseline, {knob.key for knob in knobs}))
        plan = self._assemble(knobs, fixed, baseline)
        expert = tuple(self._expert(plan))
        if self.wrong:
            raise ProfileError(self.wrong)
        no_room = impossible(plan.relations, plan.dimensions, plan.baseline)
        if no_room is not None:
            where = self.profile.where("relations")
            raise PlanRefusedError(
                [Problem(where, f"no values within the limits keep the relation {no_room}")],
                hint="widen the ranges or drop the relation",
            )
        broken = [str(item) for item in plan.relations if not item.holds(plan.baseline)]
        if broken:
            self.notes.append(f"the baseline itself breaks: {', '.join(broken)}")
        if not all(knob.writable for knob in (*knobs, *fixed)):
            self.notes.append("you may not write all of these knobs: the run needs root")
        if not knobs:
            self.notes.append("no knob is left to search")
        self.notes.extend(attach_notes(self.profile.workload))
        self.notes.extend(tool_notes(self.profile.workload))
        self.notes.extend(sensor_notes(self.profile))
        self.notes.extend(placement_notes(self.profile))
        self.notes.extend(map(str, probation_problems(self.profile)))
        return replace(plan, expert=expert, notes=tuple(self.notes))

    def _assemble(
        self, knobs: tuple[PlannedKnob, ...], fixed: tuple[PlannedKnob, ...], baseline: Assignment
    ) -> Plan:
        written = (*knobs, *fixed)
        matches = [self.passed.wanted[knob.key].match for knob in knobs]
        dimensions = [dimension for knob in knobs for dimension in knob.dimensions]
        relations = [
            *self._relations({knob.key for knob in knobs}, baseline),
            *couplings.implied(matches, dimensions, baseline),
        ]
        keys = [key for knob in written for key in (knob.key, *knob.coupled)]
        settle_s = max((knob.entry.settle_s for knob in knobs), default=0.0)
        return Plan(
            profile=self.profile,
            host=self.host,
            knobs=knobs,
            fixed=fixed,
            skipped=tuple(Skipped(key, reason) for key, reason in self.skipped.items()),
            relations=tuple(dict.fromkeys(relations)),
            baseline={knob.key: knob.baseline for knob in written},
            expert=(),
            journaled=tuple(dict.fromkeys(keys)),
            estimate=estimate(self.profile, settle_s, len(knobs)),
            tuners=tuners.active_tuners(),
        )

    def _is_wrong(self, at: tuple[str | int, ...], message: str) -> None:
        self.wrong.append(Problem(self.profile.where(*at), message))

    def _explicit_baseline(self) -> dict[str, Value]:
        found: dict[str, Value] = {}
        if self.profile.baseline == "current":
            return found
        for key, match in self.passed.fixed.items():
            entry = match.entry
            try:
                value = bounds.value_of(entry, self.profile.baseline[key], self.host.page_bytes)
            except ValueError as error:
                self._is_wrong(("baseline", key), f"{key}: {error}")
                continue
            if not entry.accepts(value, self.host.numbers):
                allowed = ", ".join(entry.choices or ()) or Limits.of(entry, self.host.numbers)
                self._is_wrong(
                    ("baseline", key),
                    f"{key}: {bounds.say(value)} is outside the catalog's limits ({allowed})",
                )
            else:
                found[key] = value
        return found

    def _searched(self, baseline: Assignment) -> Iterator[PlannedKnob]:
        moved = self.passed.wanted.keys()
        for key, item in self.passed.wanted.items():
            if key not in self.seen.values:
                self.skipped[key] = self.seen.why_not(item.match)
                continue
            limits = Limits.of(item.match.entry, self.host.numbers)
            case = Case(
                key=key,
                knob=item.knob,
                entry=item.match.entry,
                limits=couplings.narrowed(limits, item.match, moved, self.seen.values),
                baseline=baseline[key],
                allowed=self.seen.allowed(item.match),
                page_bytes=self.host.page_bytes,
            )
            try:
                space = choices.build(case) if item.knob.choices is not None else ranges.build(case)
            except NothingToSearchError as error:
                self.skipped[key] = str(error)
            except WrongForKnobError as error:
                self._is_wrong(("knobs", item.kind, key, *error.at), f"{key}: {error}")
            else:
                yield self._knob(item.match, space, baseline[key])

    def _fixed(self, baseline: Assignment, moved: set[str]) -> Iterator[PlannedKnob]:
        """Knobs that an explicit baseline sets and the search doesn't move."""
        for key, match in self.passed.fixed.items():
            if key in moved:
                continue
            value, allowed = baseline.get(key), self.seen.allowed(match)
            if key not in self.seen.values or value is None:
                self.skipped[key] = self.seen.why_not(match)
            elif allowed is not None and value not in allowed:
                self.skipped.setdefault(
                    key,
                    f"the baseline's {bounds.say(value)} is not allowed here (the kernel offers: "
                    f"{', '.join(allowed)})",
                )
            else:
                limit = None if isinstance(value, str) else value
                words = (value,) if isinstance(value, str) else None
                yield self._knob(match, Space((), limit, limit, words), value)

    def _knob(self, match: Match, space: Space, baseline: Value) -> PlannedKnob:
        entry = match.entry
        notes = list(space.notes)
        if entry.risk is Risk.CAUTION:
            notes.append(f"caution: {entry.reason}")
        if entry.needs_capability:
            notes.append(f"needs {entry.needs_capability}")
        return PlannedKnob(
            tunable=match.to_tunable(),
            entry=entry,
            current=self.seen.values[match.key],
            baseline=baseline,
            dimensions=space.dimensions,
            minimum=space.minimum,
            maximum=space.maximum,
            choices=space.choices,
            special=space.special,
            coupled=couplings.coupled_keys(match),
            writable=self.seen.writable(match),
            notes=tuple(notes),
        )

    def _relations(self, moved: set[str], baseline: Assignment) -> Iterator[Relation]:
        """The profile's relations; sides that don't move become their numbers."""
        for relation in self.profile.parsed_relations:
            outcome = couplings.settled(relation, moved, lambda side: side.of(baseline))
            if isinstance(outcome, Relation):
                yield outcome
            elif outcome is None:
                unknown = [key for key in relation.keys if key not in baseline]
                why = (
                    f"{', '.join(unknown)} is not here"
                    if unknown
                    else "it compares something that is no number (name an element: KNOB[2])"
                )
                self.notes.append(f"relation {relation} is left out: {why}")
            elif outcome is False:
                self.notes.append(f"relation {relation} doesn't hold, and nothing in it moves")

    def _expert(self, plan: Plan) -> Iterator[Assignment]:
        """Known-good settings that lie in the search space; the others are noted."""
        knobs = {knob.key: knob for knob in plan.knobs}
        for index, settings in enumerate(self.profile.expert):
            assignment: dict[str, Value] = {}
            for key, setting in settings.items():
                if key in knobs:
                    try:
                        assignment[key] = bounds.value_of(
                            knobs[key].entry, setting, self.host.page_bytes
                        )
                    except ValueError as error:
                        self._is_wrong(("expert", index, key), f"{key}: {error}")
            complete = {**plan.baseline, **assignment}
            outside = [key for key in assignment if not _reachable(knobs[key], complete)]
            if outside:
                reason = f"outside the limits of {', '.join(outside)}"
            elif not plan.feasible(complete):
                reason = "it breaks a relation"
            elif assignment:
                yield complete
                continue
            else:
                reason = "none of its knobs is searched here"
            self.notes.append(f"expert setting {index + 1} is left out: {reason}")


def _reachable(knob: PlannedKnob, assignment: Mapping[str, Value]) -> bool:
    """Whether the search could propose this value (elements that don't move: the baseline's)."""
    point = point_of(knob.dimensions, assignment)
    if point is None:
        return False
    reached = compose(knob.dimensions, {knob.key: knob.baseline}, point)
    return reached[knob.key] == assignment[knob.key]
