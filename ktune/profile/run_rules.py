"""What a run of a profile keeps to besides its guardrails, for the reader of a plan. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from ktune.kernel.wording import counted
from ktune.profile.change_windows import next_opening, open_until
from ktune.profile.model import Profile
from ktune.profile.slo import ServiceLevel
from ktune.profile.units import format_duration

LIVE_TRUST_SHARE = 0.2
"""Of each knob's range, where people use what is tuned."""


@dataclass(frozen=True)
class Level:
    """A level that an attached service must keep in each window."""

    metric: str
    at_most: float | None
    at_least: float | None
    for_s: float

    @property
    def text(self) -> str:
        """`p99 at most 50, for 2s`."""
        bounds = [("at least", self.at_least), ("at most", self.at_most)]
        said = " and ".join(f"{word} {value:g}" for word, value in bounds if value is not None)
        lasting = f"; crossed when outside for {format_duration(self.for_s)}" if self.for_s else ""
        return f"{self.metric} {said}{lasting}"


@dataclass(frozen=True)
class Opening:
    """When tuning is allowed. `closes` is None where no window is open now, `opens` else."""

    windows: tuple[str, ...]
    time_zone: str | None
    closes: str | None
    opens: str | None


@dataclass(frozen=True)
class RunRules:
    """Shares are fractions. `trust_region`: 1 is none. `approval`: who wants one; empty: nobody."""

    slo: tuple[Level, ...]
    regret: float | None
    max_trips: int
    trust_region: float
    change_windows: Opening | None
    approval: str
    probation_pairs: int
    probation_alpha: float
    margin: float
    on_rollback: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def trust_share(profile: Profile) -> float:
    """How far a candidate may lie from the last known good setting; 1 is anywhere."""
    if profile.search.trust_region is not None:
        return profile.search.trust_region
    attached = profile.workload is not None and profile.workload.attach is not None
    return LIVE_TRUST_SHARE if attached else 1.0


def run_rules(profile: Profile, now: datetime, *, approval_here: bool) -> RunRules:
    """`now` is aware; `approval_here`: this machine's configuration wants every policy approved."""
    safety, watch = profile.safety, profile.watch
    by_profile = profile.promotion.approval == "required"
    here = "this machine's configuration" if approval_here else ""
    return RunRules(
        slo=tuple(map(_level, safety.slo)),
        regret=safety.regret,
        max_trips=safety.max_trips,
        trust_region=trust_share(profile),
        change_windows=_opening(profile, now),
        approval="the profile" if by_profile else here,
        probation_pairs=watch.probation_pairs,
        probation_alpha=watch.alpha,
        margin=watch.margin,
        on_rollback=watch.on_rollback,
    )


def rule_lines(rules: RunRules) -> Iterator[str]:
    """For people."""
    yield from (f"service level (safety.slo): {level.text}" for level in rules.slo)
    if rules.regret is not None:
        yield (
            "regret budget (safety.regret): the search stops once candidates have cost "
            f"{rules.regret:.1%} of the work that the baseline would have done"
        )
    if rules.trust_region < 1:
        yield (
            f"trust region (search.trust_region): candidates stay within {rules.trust_region:.0%} "
            "of each knob's range around the last known good setting"
        )
    if rules.change_windows is not None:
        yield f"change windows (safety.change_windows): {_opening_text(rules.change_windows)}"
    yield (f"guardrails crossed before it is an emergency (safety.max_trips): {rules.max_trips}")
    wanted = f"required by {rules.approval}: `ktune approve` before `ktune apply`"
    yield f"approval: {wanted if rules.approval else 'not required'}"
    yield (
        f"after `apply`, by `ktune watch`: probation of "
        f"{counted(rules.probation_pairs, 'pair')}, rolled back when worse by more than "
        f"{rules.margin:.1%} (false rollbacks: "
        f"{rules.probation_alpha:.2%} in total), then {rules.on_rollback}"
    )


def _level(level: ServiceLevel) -> Level:
    return Level(level.metric, level.at_most, level.at_least, level.lasting)


def _opening(profile: Profile, now: datetime) -> Opening | None:
    safety = profile.safety
    if not safety.change_windows:
        return None
    zone = safety.time_zone
    closes = open_until(safety.change_windows, now, zone)
    opens = None if closes else next_opening(safety.change_windows, now, zone)
    return Opening(
        windows=tuple(item.text for item in safety.change_windows),
        time_zone=None if zone is None else zone.key,
        closes=None if closes is None else closes.astimezone(zone).isoformat(timespec="minutes"),
        opens=None if opens is None else opens.astimezone(zone).isoformat(timespec="minutes"),
    )


def _opening_text(opening: Opening) -> str:
    zone = opening.time_zone or "the machine's time zone"
    now = (
        f"open now, until {opening.closes}"
        if opening.closes
        else f"CLOSED now: tune refuses (exit 4) until {opening.opens}"
    )
    return f"{', '.join(opening.windows)} ({zone}); {now}"
