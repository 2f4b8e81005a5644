"""Levels of a service's metrics: one that is crossed in the middle of a window ends it.

Looks at what the source sampled last; a metric that could not be had crosses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ktune.errors import RefusedError
from ktune.measure.attach.source import AttachSource, Readings
from ktune.measure.guardrails.source import Guardrail
from ktune.measure.guardrails.watch import Guardrails
from ktune.measure.window import WindowSource
from ktune.profile.model import Profile
from ktune.profile.slo import ServiceLevel


@dataclass(frozen=True)
class LevelLimit:
    """Crossed when the metric has been outside for `lasting_s`."""

    metric: str
    at_most: float | None = None
    at_least: float | None = None
    lasting_s: float = 0.0

    def broken(self, value: float) -> str | None:
        """In words what is wrong with a value; None when it is within."""
        if self.at_most is not None and value > self.at_most:
            return f"{self.metric} = {value:g} is above {self.at_most:g}"
        if self.at_least is not None and value < self.at_least:
            return f"{self.metric} = {value:g} is below {self.at_least:g}"
        return None


class LevelGuard(Guardrail):
    """Watches what `readings` gives; `crossed()` is cheap enough for every poll.

    Time counts from sample to sample: it stands still while no new sample comes, and begins anew
    when a sample is within the limit.
    """

    name = "slo"

    def __init__(self, limits: Sequence[LevelLimit], readings: Callable[[], Readings]) -> None:
        self._limits = limits
        self._readings = readings
        self._outside_since_s: dict[LevelLimit, float] = {}

    def open(self) -> str:
        """See Guardrail: what there is to see comes from the source."""
        return ""

    def close(self) -> None:
        """See Guardrail."""

    def forget(self) -> None:
        """See Guardrail."""
        self._outside_since_s.clear()

    def crossed(self, now_s: float) -> str | None:
        """Which level is crossed by the latest sample."""
        latest = self._readings()
        for limit in self._limits:
            value = latest.metrics.get(limit.metric)
            said = None if value is None else limit.broken(value)
            if said is None:
                self._outside_since_s.pop(limit, None)
                continue
            since_s = self._outside_since_s.setdefault(limit, latest.at_s)
            if latest.at_s - since_s >= limit.lasting_s:
                return f"service level: {said}"
        return None


def with_levels(
    guardrails: Guardrails, profile: Profile, source: WindowSource, *, always: bool = False
) -> Guardrails:
    """The same guardrails, those on metrics of an attached service included; with `always` these
    take samples outside of windows too.

    Raises RefusedError: there are such, and the source is none of a service.
    """
    if profile.safety.slo:
        if not isinstance(source, AttachSource):
            raise RefusedError(
                f"the levels of profile {profile.name} (safety.slo) can't be watched beside an "
                "adaptive policy: nobody samples the service all the time",
                hint="--profile names one without `safety: slo:`",
            )
        limits = [_limit(level) for level in profile.safety.slo]
        readings = source.look if always else lambda: source.latest
        guardrails.also(LevelGuard(limits, readings))
    return guardrails


def _limit(level: ServiceLevel) -> LevelLimit:
    return LevelLimit(level.metric, level.at_most, level.at_least, level.lasting)
