"""`ktune plan`: what a profile would do on this host. Touches nothing."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ktune.cli.common import SubParsers, print_json, say, show, state_paths, table, warn
from ktune.errors import ExitCode
from ktune.kernel.wording import counted

if TYPE_CHECKING:
    from ktune.measure.fairness.from_profile import Recorded
    from ktune.measure.guardrails.watch import Watchability
    from ktune.measure.services.from_profile import ServiceSurvey
    from ktune.profile.plan import Plan, PlannedKnob
    from ktune.profile.run_rules import RunRules
    from ktune.profile.space import Dimension
    from ktune.proxy.backends import Standing


def add_parser(subparsers: SubParsers) -> ArgumentParser:
    """Its arguments."""
    parser = subparsers.add_parser(
        "plan",
        help="what a profile would do here; touches nothing",
        description="Shows per knob its file, the value in force, the limits after the "
        "catalog's, what is coupled with it, what is skipped and why, what would be journaled, "
        "and about how long the run takes. Reads only.",
    )
    parser.add_argument("profile", metavar="PROFILE", help="a file, or the name of a profile")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def run(args: Namespace) -> int:
    """Show it."""
    from ktune.catalog.catalog import load_catalog
    from ktune.measure.fairness.from_profile import windows_survey
    from ktune.measure.guardrails.from_profile import guardrails_of
    from ktune.measure.services.from_profile import survey
    from ktune.profile import locate
    from ktune.profile.configuration import configuration
    from ktune.profile.host import host_facts
    from ktune.profile.load import load_profile
    from ktune.profile.resolve import resolve
    from ktune.profile.run_rules import run_rules
    from ktune.proxy.expected import expected_standing
    from ktune.proxy.recover import pending

    facts = host_facts()
    paths = state_paths(args)
    profile = load_profile(
        locate.profile_argument(args.profile), facts=facts, state_dir=str(paths.state)
    )
    here = configuration()
    plan = resolve(profile, load_catalog(), facts, metric_hosts=here.metric_hosts)
    left_behind = [item for item in pending(paths) if item.condition.value == "pending"]
    guardrails = guardrails_of(profile.safety, workload=profile.workload).survey()
    services = list(survey(profile))
    windows = list(windows_survey(profile, here.fairness, virtual=facts.virt != "none"))
    rules = run_rules(profile, datetime.now(UTC), approval_here=here.approval == "required")
    writes = expected_standing(
        (knob.tunable.path for knob in (*plan.knobs, *plan.fixed)), on_host=plan.scope == "host"
    )
    if args.json:
        print_json(
            {
                **plan.to_json(),
                "guardrails": [asdict(item) for item in guardrails],
                "services": [asdict(item) for item in services],
                "fairness": [asdict(item) for item in windows],
                "rules": rules.to_json(),
                "decided_by": _decided_by(plan, writes),
                "switching": _switching_json(plan, writes),
                "writes": writes.to_json(),
                "pending": [str(item.path) for item in left_behind],
            }
        )
        return ExitCode.OK
    say(*plan_lines(plan, guardrails, services, rules, writes, windows=windows))
    for item in left_behind:
        warn(f"pending: a run that died left values in force ({item.path}): {item.reason}")
    if left_behind:
        warn(f"  what is shown as now may be its values; restore first: {paths.command('recover')}")
    return ExitCode.OK


def plan_lines(
    plan: Plan,
    guardrails: Iterable[Watchability],
    services: Iterable[ServiceSurvey],
    rules: RunRules,
    writes: Standing,
    *,
    windows: Iterable[Recorded],
) -> Iterator[str]:
    """The plan for people."""
    from ktune.profile.run_rules import rule_lines
    from ktune.profile.units import format_duration

    profile, host = plan.profile, plan.host
    scope = plan.scope if isinstance(plan.scope, str) else f"namespace {plan.scope.netns}"
    yield f"{profile.name}: {profile.summary}" if profile.summary else profile.name
    yield (
        f"scope {scope}; Linux {host.kernel} {host.arch}, {host.cpus} CPUs, "
        f"{host.mem_bytes >> 20} MiB, virtualisation: {host.virt}"
    )
    yield from _knobs("Searched", plan.knobs)
    yield from _knobs("Set to the baseline in every window", plan.fixed)
    yield from _section("Skipped", (f"{item.key}: {item.reason}" for item in plan.skipped))
    yield from _section("Relations kept", map(str, plan.relations))
    yield from _section("Tried first", (_settings(plan, item) for item in plan.expert))
    yield from _section("Journaled before the first write", plan.journaled)
    yield from _section(
        "Running tuners that would interfere (tune refuses without --coexist)",
        (f"{tuner.name} (pid {tuner.pid})" for tuner in plan.tuners),
    )
    yield from _section("Services that the run starts and stops", map(service_line, services))
    yield from _section("Guardrails", map(guardrail_line, guardrails))
    yield from _section(
        "Recorded around each window, which is void beyond the limit", (i.text for i in windows)
    )
    if profile.workload is not None:
        yield from _section("Kept to", rule_lines(rules))
    notes = (*plan.notes, *_polled(plan), f"writes go by {writes.text}")
    yield from _section("Notes", (*notes, *_deciding(plan, writes), *_switching(plan, writes)))
    yield ""
    if profile.workload is None:
        yield "No workload: this profile is for others to extend, it can't be tuned by itself."
        return
    estimate = plan.estimate
    guessed = "" if estimate.window_is_known else " (a guess: the workload has no usual_time)"
    yield (
        f"About {format_duration(estimate.expected_s)}, at most "
        f"{format_duration(estimate.longest_s)}: "
        f"{counted(estimate.calibration_windows, 'window')} of calibration, up to "
        f"{estimate.search_windows} of search and about {estimate.proof_windows} of proof, "
        f"{format_duration(estimate.window_s)} each{guessed}."
    )
    yield "Nothing was changed."


def _deciding(plan: Plan, writes: Standing) -> Iterator[str]:
    who = _decided_by(plan, writes)
    if who is not None:
        yield f"a policy that adapts (tune --contexts) would be decided by: {who}"


def _decided_by(plan: Plan, writes: Standing) -> str | None:
    """Who would decide in a policy that adapts; None: the profile makes none."""
    from ktune.policy.deciding import by_any_tree

    workload = plan.profile.workload
    return by_any_tree(writes) if workload is not None and workload.phases else None


def _switching(plan: Plan, writes: Standing) -> Iterator[str]:
    """Who would switch between the sides of the proof's pairs."""
    from ktune.modes.kernel_pairs import switched_by

    if plan.profile.workload is not None:
        yield f"pairs of the proof: {switched_by(_not_by_kernel(plan, writes))}"


def _switching_json(plan: Plan, writes: Standing) -> dict[str, str] | None:
    if plan.profile.workload is None:
        return None
    why = _not_by_kernel(plan, writes)
    return {"by": "ktune" if why else "kernel", "why": why}


def _not_by_kernel(plan: Plan, writes: Standing) -> str:
    from ktune.modes.kernel_pairs import fixed_window_s, why_not

    return why_not(writes, fixed_window_s(plan.profile.workload))


def _polled(plan: Plan) -> Iterator[str]:
    """The BPF guard sees sysctls only."""
    from ktune.proxy.guard.rules import guarded_name

    outside = [
        knob.key for knob in (*plan.knobs, *plan.fixed) if guarded_name(knob.tunable.path) is None
    ]
    if outside:
        yield (
            f"{', '.join(outside)}: not below /proc/sys, so no BPF guard; others' writes are found "
            "by polling"
        )


def _knobs(title: str, knobs: Iterable[PlannedKnob]) -> Iterator[str]:
    knobs = list(knobs)
    if not knobs:
        return
    yield ""
    yield f"{title}:"
    for knob in knobs:
        unit = f" {knob.entry.unit}" if knob.entry.unit else ""
        path = str(knob.tunable.path)
        yield f"  {knob.key}" + (f"  ({path})" if path != knob.key else "")
        yield f"    {knob.entry.meaning}"
        rows = [("now", show(knob.current) + unit)]
        if knob.baseline != knob.current:
            rows.append(("baseline", show(knob.baseline) + unit))
        rows += [("search", _dimension(dimension)) for dimension in knob.dimensions]
        rows += [("coupled", ", ".join(knob.coupled))] if knob.coupled else []
        rows += [("note", note) for note in knob.notes]
        yield from table(rows, indent="    ")


def _dimension(dimension: Dimension) -> str:
    if dimension.choices:
        return " | ".join(show(value) for value in dimension.choices)
    element = "" if dimension.element is None else f"element {dimension.element}: "
    step = f", step {dimension.step}" if dimension.step > 1 else ""
    log = ", logarithmic" if dimension.log else ""
    special = "".join(f", or {show(value)}" for value in dimension.special)
    return f"{element}{dimension.low}..{dimension.high}{step}{log}{special}"


def _settings(plan: Plan, assignment: object) -> str:
    assert isinstance(assignment, dict)
    changed = [
        f"{key}={show(value)}"
        for key, value in assignment.items()
        if value != plan.baseline.get(key)
    ]
    return ", ".join(changed) or "the baseline"


def guardrail_line(found: Watchability) -> str:
    """Whether it is watched here, and what follows if not."""
    if found.works:
        return found.text
    return found.text + ("; goes on without it" if found.optional else "; tune refuses (exit 4)")


def service_line(found: ServiceSurvey) -> str:
    """What is started, or what is missing for it."""
    if found.works:
        return f"{found.name}: {found.text}"
    return f"{found.name}: {found.reason}; tune refuses (exit 4)"


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    lines = list(lines)
    if lines:
        yield ""
        yield f"{title}:"
        yield from (f"  {line}" for line in lines)
