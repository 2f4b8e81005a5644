"""Holds every profile that can be found against what runs, and says what is missing for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ktune.catalog.catalog import Catalog
from ktune.errors import KtuneError
from ktune.measure.recommend.judge import judge
from ktune.measure.recommend.seen import Seen, look
from ktune.measure.services.from_profile import survey
from ktune.profile.errors import PlanRefusedError
from ktune.profile.fit import misfits
from ktune.profile.host import HostFacts
from ktune.profile.load import load_profile
from ktune.profile.model import Profile
from ktune.profile.resolve import resolve
from ktune.profile.tool_checks import missing_tools


@dataclass(frozen=True)
class Recommendation:
    """A profile that fits. `missing`: why it can't be tuned here as things are; empty: it can."""

    name: str
    path: str
    summary: str
    fits: str
    score: int
    reasons: tuple[str, ...]
    against: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Recommended:
    """Best first. `bases`: profiles to extend; `broken`: files that can't be loaded, and why."""

    seen: Seen
    found: tuple[Recommendation, ...]
    bases: Mapping[str, str]
    broken: Mapping[str, str]


def recommend(
    paths: Mapping[str, Path],
    *,
    facts: HostFacts,
    catalog: Catalog,
    state_dir: str,
    wait: Callable[[], None],
) -> Recommended:
    """Of the profiles at `paths` (by name). `wait` returns when enough was sampled; it is called
    after the profiles were loaded, which takes part of the time."""
    profiles: dict[str, Profile] = {}
    broken: dict[str, str] = {}

    def load() -> None:
        for name, path in paths.items():
            try:
                profiles[name] = load_profile(path, facts=facts, state_dir=state_dir)
            except KtuneError as error:
                broken[name] = error.message
        wait()

    seen = look(load)
    found = []
    for name, profile in profiles.items():
        match = None if profile.fits is None else judge(profile.fits, seen)
        if match is not None and profile.fits is not None:
            found.append(
                Recommendation(
                    name=name,
                    path=str(paths[name]),
                    summary=profile.summary,
                    fits=profile.fits.to,
                    score=match.score,
                    reasons=match.reasons,
                    against=match.against,
                    missing=tuple(_missing(profile, facts, catalog)),
                )
            )
    found.sort(key=lambda item: (-item.score, len(item.missing), item.name))
    bases = {name: item.summary for name, item in profiles.items() if item.workload is None}
    return Recommended(seen, tuple(found), bases, broken)


def _missing(profile: Profile, facts: HostFacts, catalog: Catalog) -> Iterator[str]:
    if profile.workload is None:
        yield "a workload: it is for others to extend"
    if profile.scope == "host" and os.geteuid() != 0:
        yield "root: its knobs are the host's"
    for service in survey(profile):
        if not service.works:
            yield service.reason
    if profile.scope != "host":  # a plan would make a namespace to look into
        yield from (item.message for item in (*misfits(profile, facts), *missing_tools(profile)))
        return
    try:
        resolve(profile, catalog, facts)
    except PlanRefusedError as error:
        yield from (problem.message for problem in error.problems)
    except KtuneError as error:
        yield error.message
