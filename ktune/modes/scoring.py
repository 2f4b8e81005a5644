"""From two windows' metrics to the numbers that evidence and search work on. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ktune.evidence.pairs import Direction, log_ratio, weighted_gain
from ktune.search.baseline import BaselineWindow, Goal, reference
from ktune.search.baseline import gains as gains_against
from ktune.search.baseline import score as score_against


@dataclass(frozen=True)
class Limit:
    """One constraint: a non-inferiority margin (log ratio) and absolute bounds."""

    metric: str
    direction: Direction
    margin: float | None = None
    at_most: float | None = None
    at_least: float | None = None
    of_objective: bool = False
    """An objective among several: winning on the weighted goal, the candidate must not lose
    on it. A Pareto search is about such trades and leaves these out."""


@dataclass(frozen=True)
class Goals:
    """What a profile wants and what it demands. With several objectives each of them has a limit
    with a margin (its own, or a constraint's)."""

    objectives: tuple[Goal, ...]
    limits: tuple[Limit, ...] = ()

    def gain(self, baseline: Mapping[str, float], candidate: Mapping[str, float]) -> float:
        """Weighted log ratio over the objectives, above 0 when the candidate is better.

        Raises ValueError for values that have no log ratio."""
        gains = {
            goal.metric: log_ratio(baseline[goal.metric], candidate[goal.metric], goal.direction)
            for goal in self.objectives
        }
        return weighted_gain(gains, {goal.metric: goal.weight for goal in self.objectives})

    @property
    def several(self) -> bool:
        """Whether there is more than one objective."""
        return len(self.objectives) > 1

    @property
    def direction(self) -> Direction | None:
        """Which way the one objective is better; None for several."""
        return None if self.several else self.objectives[0].direction

    def margin_of(self, metric: str) -> float | None:
        """The log ratio that a metric may be worse by."""
        margins = (item.margin for item in self.limits if item.metric == metric)
        return next((margin for margin in margins if margin is not None), None)

    def trading(self) -> Goals:
        """The same without the limits that several objectives bring with them."""
        return replace(self, limits=tuple(limit for limit in self.limits if not limit.of_objective))

    def worsening(
        self, baseline: Mapping[str, float], candidate: Mapping[str, float]
    ) -> dict[str, float]:
        """By constrained metric the log ratio that is above 0 when the candidate is worse."""
        return {
            limit.metric: -log_ratio(
                baseline[limit.metric], candidate[limit.metric], limit.direction
            )
            for limit in self.limits
            if limit.margin is not None
        }

    def score(
        self, metrics: Mapping[str, float], at_s: float, baselines: Sequence[BaselineWindow]
    ) -> float:
        """Log ratio against the neighbouring baselines. Raises ValueError."""
        return score_against(metrics, at_s, baselines, self.objectives)

    def gains(
        self, metrics: Mapping[str, float], at_s: float, baselines: Sequence[BaselineWindow]
    ) -> dict[str, float]:
        """Each objective's log ratio against the neighbouring baselines. Raises ValueError."""
        return gains_against(metrics, at_s, baselines, self.objectives)

    def constraints(
        self, metrics: Mapping[str, float], at_s: float, baselines: Sequence[BaselineWindow]
    ) -> dict[str, float]:
        """By name a number that is feasible at or below 0 (log ratios), for the search."""
        found = {}
        for limit in self.limits:
            value = metrics[limit.metric]
            if limit.margin is not None:
                base = reference(baselines, at_s, limit.metric)
                worse = -log_ratio(base, value, limit.direction)
                found[f"{limit.metric} worse"] = worse - limit.margin
            if limit.at_most is not None:
                found[f"{limit.metric} at most"] = _excess(value, limit.at_most)
            if limit.at_least is not None:
                found[f"{limit.metric} at least"] = _excess(limit.at_least, value)
        return found

    @property
    def constraint_names(self) -> tuple[str, ...]:
        """The names that `constraints` gives, known beforehand."""
        names = []
        for limit in self.limits:
            given = (
                ("worse", limit.margin),
                ("at most", limit.at_most),
                ("at least", limit.at_least),
            )
            names += [f"{limit.metric} {word}" for word, value in given if value is not None]
        return tuple(names)

    def violations(self, metrics: Mapping[str, float]) -> tuple[str, ...]:
        """Absolute bounds that one window breaks, in words."""
        found = []
        for limit in self.limits:
            value = metrics[limit.metric]
            if limit.at_most is not None and value > limit.at_most:
                found.append(f"{limit.metric} {value:g} is above {limit.at_most:g}")
            if limit.at_least is not None and value < limit.at_least:
                found.append(f"{limit.metric} {value:g} is below {limit.at_least:g}")
        return tuple(found)

    @property
    def metrics(self) -> Sequence[str]:
        """Every metric that must be there and positive."""
        return tuple(
            dict.fromkeys(
                [goal.metric for goal in self.objectives] + [limit.metric for limit in self.limits]
            )
        )


def _excess(value: float, bound: float) -> float:
    """How far above its bound, as a log ratio like all other constraints (the sampler adds them
    up); where there is no ratio, 1 for broken and -1 for kept."""
    if value > 0 and bound > 0:
        return math.log(value / bound)
    return 1.0 if value > bound else -1.0
