"""What `ktune doctor` says of the local configuration: there, valid, and what it asks for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ktune.errors import KtuneError
from ktune.policy.probes import Answer, Finding
from ktune.profile.configuration import Configuration, configuration_files, load
from ktune.profile.units import format_duration

_USED_FOR = (
    "approvals, hooks, hosts of metric pages, limits on windows; while it is broken, what asks it "
    "is refused"
)


def configuration_findings() -> Iterator[Finding]:
    """One for each file that counts for this user."""
    for path in configuration_files():
        yield _finding(path)


def _finding(path: Path) -> Finding:
    name = f"configuration {path}"
    try:
        found = load(path)
    except KtuneError as error:
        detail = "; ".join(error.message.splitlines())
        hint = f" ({error.hint})" if error.hint else ""
        return Finding(name, Answer.BROKEN, f"{detail}{hint}", _USED_FOR)
    if found is None:
        return Finding(name, Answer.WORKS, "not there: nothing beyond the defaults", _USED_FOR)
    problems = list(_programs_missing(found))
    said = "; ".join([*problems, *_asks_for(found)]) or "valid; asks for nothing"
    return Finding(name, Answer.PARTLY if problems else Answer.WORKS, said, _USED_FOR)


def _asks_for(found: Configuration) -> Iterator[str]:
    if found.approval == "required":
        yield "every policy needs an approval"
    for event, programs in found.hooks.items():
        yield f"on {event.value} runs {', '.join(' '.join(argv) for argv in programs)}"
    if found.hooks:
        yield f"hooks are killed after {format_duration(found.hook_timeout)}"
    if found.metric_hosts:
        yield f"metric pages of {', '.join(found.metric_hosts)} allowed"
    limits = found.fairness.model_dump(exclude={"part_of_it"}, exclude_none=True)
    if limits:
        named = (f"{name} {share:.0%}" for name, share in limits.items())
        yield f"limits on what disturbs a window: {', '.join(named)}"
    if found.fairness.part_of_it:
        yield f"part of every workload: {', '.join(found.fairness.part_of_it)}"


def _programs_missing(found: Configuration) -> Iterator[str]:
    """A hook that can't run is found out when it is needed, unless somebody looks."""
    for event, programs in found.hooks.items():
        for argv in programs:
            if not os.path.isfile(argv[0]):
                yield f"hook of {event.value}: there is no program {argv[0]}"
            elif not os.access(argv[0], os.X_OK):
                yield f"hook of {event.value}: {argv[0]} can't be executed"
