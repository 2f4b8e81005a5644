"""What must hold across the parts of a profile: names that refer to each other, and scope."""

from __future__ import annotations

from collections.abc import Iterator

from ktune.kernel.wording import counted
from ktune.profile.errors import Problem, ProfileError, did_you_mean, shown
from ktune.profile.estimate import least_windows
from ktune.profile.model import NetnsScope, Profile
from ktune.profile.services.checks import check_services
from ktune.profile.tool_checks import tool_problems


def check(profile: Profile) -> None:
    """Raises ProfileError with everything that doesn't fit together."""
    problems = [
        *_metrics(profile),
        *tool_problems(profile),
        *_margins_of_objectives(profile),
        *_explicit_baseline(profile),
        *_links(profile),
        *check_services(profile),
        *_attach(profile),
        *_service_levels(profile),
        *_expert(profile),
        *_windows(profile),
    ]
    if problems:
        raise ProfileError(problems)


def _metrics(profile: Profile) -> Iterator[Problem]:
    if profile.workload is None:
        for part in ("objectives", "constraints"):
            if getattr(profile, part):
                yield Problem(profile.where(part), f"{part}: there is no workload to measure")
        return
    known = profile.workload.metrics
    for part in ("objectives", "constraints"):
        for index, goal in enumerate(getattr(profile, part)):
            mark = profile.where(part, index, "metric")
            if goal.metric not in known:
                yield Problem(
                    mark,
                    f"{part}: unknown metric {shown(goal.metric)}"
                    f"{did_you_mean(goal.metric, known)} (the workload has: {', '.join(known)})",
                )
            elif part == "objectives" and known[goal.metric].plausible[0] <= 0:
                yield Problem(
                    profile.where("workload", "metrics", goal.metric, "plausible"),
                    f"{goal.metric} is an objective, compared by ratios: its smallest plausible "
                    "value must be above 0",
                )
            elif (
                part == "constraints"
                and goal.worse_by_at_most is not None
                and known[goal.metric].plausible[0] <= 0
            ):
                yield Problem(
                    profile.where("workload", "metrics", goal.metric, "plausible"),
                    f"{goal.metric} may be worse by a share of the baseline: its smallest "
                    "plausible value must be above 0 (or use at_most, at_least)",
                )
            elif (
                part == "constraints"
                and goal.worse_by_at_most is not None
                and profile.better(goal.metric) is None
            ):
                yield Problem(
                    mark,
                    f"which way is {goal.metric} better? add `direction: minimize` or "
                    "`direction: maximize`",
                )
    seen: set[str] = set()
    for index, objective in enumerate(profile.objectives):
        if objective.metric in seen:
            yield Problem(
                profile.where("objectives", index, "metric"),
                f"objectives: {objective.metric} stands twice",
            )
        seen.add(objective.metric)


def _margins_of_objectives(profile: Profile) -> Iterator[Problem]:
    """Among several objectives each has exactly one margin; a single one has none."""
    several = len(profile.objectives) > 1
    for index, objective in enumerate(profile.objectives):
        own = [
            (place, item)
            for place, item in enumerate(profile.constraints)
            if item.metric == objective.metric
        ]
        twice = any(item.worse_by_at_most is not None for _, item in own)
        if objective.worse_by_at_most is not None:
            mark = profile.where("objectives", index, "worse_by_at_most")
            if not several:
                yield Problem(
                    mark,
                    "objectives: worse_by_at_most is for several objectives; a single one must "
                    "gain anyway",
                )
            elif twice:
                yield Problem(
                    mark,
                    f"objectives: worse_by_at_most of {objective.metric} stands in `constraints:` "
                    "as well",
                )
        elif several and not twice and profile.promotion.mei == 0:
            yield Problem(
                profile.where("objectives", index),
                f"objectives: {objective.metric} needs a `worse_by_at_most`: it is the mei where "
                "not given, and that is 0",
            )
        for place, item in own:
            if item.direction not in (None, objective.direction):
                yield Problem(
                    profile.where("constraints", place, "direction"),
                    f"constraints: {objective.metric} is an objective to "
                    f"{objective.direction.value}",
                )


def _explicit_baseline(profile: Profile) -> Iterator[Problem]:
    if profile.baseline != "current" and profile.scope != "ephemeral":
        yield Problem(
            profile.where("baseline"),
            "baseline: explicit values are for `scope: ephemeral` only; elsewhere they would "
            "change what is in force before anything is measured; write `baseline: current`",
        )


def _links(profile: Profile) -> Iterator[Problem]:
    for index, service in enumerate(profile.services):
        if service.kind == "link" and profile.scope != "ephemeral":
            scope = "netns" if isinstance(profile.scope, NetnsScope) else profile.scope
            yield Problem(
                profile.where("services", index),
                f"services: a link joins the namespaces of `scope: ephemeral`, not {scope}",
            )


def _attach(profile: Profile) -> Iterator[Problem]:
    if profile.workload is None or profile.workload.attach is None:
        return
    if profile.scope == "ephemeral":
        yield Problem(
            profile.where("workload", "attach"),
            "attach: nothing runs in a namespace that the run makes itself; use `scope: host`, or "
            "the service's own: `scope: {netns: PATH}`",
        )
    if profile.services:
        yield Problem(
            profile.where("services"), "services: an attached service has everything it needs"
        )


def _service_levels(profile: Profile) -> Iterator[Problem]:
    workload = profile.workload
    if profile.safety.time_zone is not None and not profile.safety.change_windows:
        yield Problem(profile.where("safety", "time_zone"), "time_zone is of change_windows")
    if not profile.safety.slo:
        return
    if workload is None or workload.attach is None:
        yield Problem(
            profile.where("safety", "slo"),
            "safety.slo: the numbers of a command are known when it has ended; levels are watched "
            "on an attached service",
        )
        return
    for index, level in enumerate(profile.safety.slo):
        if level.metric not in workload.metrics:
            yield Problem(
                profile.where("safety", "slo", index, "metric"),
                f"safety.slo: unknown metric {shown(level.metric)}"
                f"{did_you_mean(level.metric, workload.metrics)} (the workload has: "
                f"{', '.join(workload.metrics)})",
            )
        if level.lasting >= workload.watch_time.lasting:
            yield Problem(
                profile.where("safety", "slo", index, "for"),
                f"safety.slo: {level.lasting:g} s never pass within a window of "
                f"{workload.watch_time.lasting:g} s",
            )


def _expert(profile: Profile) -> Iterator[Problem]:
    known = profile.knobs.all()
    for index, assignment in enumerate(profile.expert):
        for key in assignment:
            if key not in known:
                yield Problem(
                    profile.where_key("expert", index, key),
                    f"expert: {shown(key)} is no knob of this profile{did_you_mean(key, known)}",
                )


def _windows(profile: Profile) -> Iterator[Problem]:
    windows, promotion = profile.search.windows, profile.promotion
    least = least_windows(promotion.pairs.min, promotion.pairs.after, promotion.finalists)
    if windows is not None and windows < least:
        yield Problem(
            profile.where("search", "windows"),
            f"a search and a proof take at least {counted(least, 'window')}, not {windows} (a "
            f"decision takes {counted(promotion.pairs.min, 'pair')} or more, and its gain "
            f"{promotion.pairs.after})",
        )
