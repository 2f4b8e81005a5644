"""What a profile may ask for at all: the catalog's word, the scope, the workload. Pure.

Everything refused is collected, so that a person sees all of it at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from ktune.catalog.catalog import Catalog
from ktune.catalog.model import KnobEntry, Match, Risk, TakesEffect
from ktune.profile import couplings
from ktune.profile.errors import Problem
from ktune.profile.knobs import Knob
from ktune.profile.metrics import PrometheusMetric
from ktune.profile.model import Profile
from ktune.profile.services.checks import renewed
from ktune.profile.urls import parse_metrics_url


@dataclass(frozen=True)
class Wanted:
    """A knob of the profile that passed."""

    kind: str
    knob: Knob
    match: Match


@dataclass
class Passed:
    """What passed, and the reasons why the rest is refused."""

    wanted: dict[str, Wanted] = field(default_factory=dict)
    """Knobs to search, by key, in the profile's order."""
    fixed: dict[str, Match] = field(default_factory=dict)
    """Knobs of an explicit baseline (searched ones among them)."""
    refused: list[Problem] = field(default_factory=list)

    @property
    def matches(self) -> dict[str, Match]:
        """All of them, by key."""
        return {**{key: item.match for key, item in self.wanted.items()}, **self.fixed}


def pass_gates(profile: Profile, catalog: Catalog, metric_hosts: Collection[str] = ()) -> Passed:
    """Every knob that the profile names, held against catalog, scope and workload."""
    passed = Passed()
    for key, (kind, knob) in profile.knobs.all().items():
        match = catalog.find(key)
        reasons = [*_catalog_reasons(key, match, catalog), *_reasons(profile, match, kind)]
        if match is None or reasons:
            mark = profile.where_key("knobs", kind, key)
            passed.refused.extend(Problem(mark, reason) for reason in reasons[:1])
        else:
            passed.wanted[key] = Wanted(kind, knob, match)
    for key in profile.baseline if profile.baseline != "current" else ():
        match = catalog.find(key)
        reasons = [*_catalog_reasons(key, match, catalog), *_reasons(profile, match, None)]
        if match is None or reasons:
            mark = profile.where_key("baseline", key)
            passed.refused.extend(Problem(mark, reason) for reason in reasons[:1])
        else:
            passed.fixed[key] = match
    passed.refused.extend(_twice(profile, passed))
    passed.refused.extend(_unknown_in_relations(profile, catalog))
    passed.refused.extend(_elsewhere(profile, metric_hosts))
    return passed


def _catalog_reasons(key: str, match: Match | None, catalog: Catalog) -> Iterator[str]:
    if match is None:
        near = catalog.nearest(key)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        yield f"{key} is not in the catalog, so nothing may touch it{hint}"
    elif match.entry.risk is Risk.NEVER:
        yield f"{key} is never tuned: {match.entry.reason}"


def _reasons(profile: Profile, match: Match | None, kind: str | None) -> Iterator[str]:
    """`kind`: the heading the knob stands under; None for a baseline's."""
    if match is None:
        return
    entry = match.entry
    if kind is not None and kind != entry.kind.value:
        yield f"{match.key} belongs under {entry.kind.value}:, not under {kind}:"
    if profile.scope != "host" and not entry.namespaced:
        yield (
            f"{match.key} is one for the whole host: a network namespace has none of its own, so "
            "a write from inside would change the host; use `scope: host`"
        )
    if kind is not None and not _takes_effect(profile, entry):
        needs = entry.takes_effect.value
        yield (
            f"{match.key} takes effect with each {needs}, which this workload doesn't renew "
            f"within a window; where it does, say so: renews: [{needs}]"
        )


def _takes_effect(profile: Profile, entry: KnobEntry) -> bool:
    if profile.workload is None or entry.takes_effect is TakesEffect.NOW:
        return True
    return entry.takes_effect.value in renewed(profile.workload)


def _elsewhere(profile: Profile, metric_hosts: Collection[str]) -> Iterator[Problem]:
    """Pages of other hosts: a profile from somebody else must not make this one talk to them."""
    for name, metric in profile.workload.metrics.items() if profile.workload else ():
        if not isinstance(metric, PrometheusMetric):
            continue
        url = parse_metrics_url(metric.url)
        if not url.loopback and url.host not in metric_hosts:
            yield Problem(
                profile.where("workload", "metrics", name, "url"),
                f"{metric.url} is not on this machine's loopback, and no `metric_hosts` of the "
                "local configuration allows that host",
            )


def _unknown_in_relations(profile: Profile, catalog: Catalog) -> Iterator[Problem]:
    """A relation may read any knob that the catalog knows; another name is a mistake."""
    for index, relation in enumerate(profile.parsed_relations):
        for key in relation.keys:
            reasons = _catalog_reasons(key, catalog.find(key), catalog)
            for reason in reasons:
                yield Problem(profile.where("relations", index), f"relation {relation}: {reason}")


def _twice(profile: Profile, passed: Passed) -> Iterator[Problem]:
    wanted: Mapping[str, Wanted] = passed.wanted
    for one, two in couplings.one_setting_twice(passed.matches.values()):
        key = two if two in wanted else one
        at = ("knobs", wanted[key].kind, key) if key in wanted else ("baseline", key)
        yield Problem(
            profile.where_key(*at),
            f"{one} and {two} are one setting in two units (writing one zeroes the other): "
            "keep one of them",
        )
