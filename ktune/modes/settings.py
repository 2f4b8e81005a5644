"""What one run wants, out of the profile's model and the command line: plain numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ktune.errors import UsageError
from ktune.evidence.decide import Rule
from ktune.evidence.pairs import Direction, log_gain_of, log_margin_of
from ktune.kernel.namespaces import NamespaceRef
from ktune.measure.guardrails import from_profile
from ktune.measure.guardrails.watch import Guardrails
from ktune.modes.scoring import Goals, Limit
from ktune.profile.goals import Pruning, SpaceShape
from ktune.profile.model import Profile
from ktune.profile.run_rules import trust_share
from ktune.profile.workload import Amount
from ktune.search.allotment import Allotment
from ktune.search.baseline import Goal


@dataclass(frozen=True)
class Overrides:
    """Options of `ktune tune` that replace the profile's settings for this run."""

    sampler: str | None = None
    storage: str | None = None
    trials: int | None = None
    time_s: float | None = None
    seed: int | None = None
    pareto: bool = False
    space: str | None = None
    dimensions: int | None = None
    windows: int | None = None


@dataclass(frozen=True)
class Work:
    """How much a window measures, in whole units."""

    count: int
    unit: str


@dataclass(frozen=True)
class WindowSettings:
    """What a window is, as far as advice about it goes; `warm_up` is in units of `measure`."""

    settle_s: float = 0.0
    warm_up: int = 0
    measure: Work | None = None


@dataclass(frozen=True)
class Settings:
    """Everything that the drivers need to know."""

    sampler: str
    storage: str | None
    trials: int
    time_s: float
    stop_after: int
    baseline_every: int
    simplify: bool
    seed: int
    space: str
    dimensions: int
    screening: bool
    pruning: bool
    goals: Goals
    rule: Rule
    after_pairs: int
    mei_log: float
    max_trips: int
    window: WindowSettings = WindowSettings()
    trust_share: float = 1.0
    """How far from the last known good candidates may lie, as a share of a range; 1: anywhere."""
    regret: float | None = None
    """The search stops when it has cost so much, as a share of the baseline's work."""
    search_s: float = 0.0
    """How long the search may take: what the regret is a share of."""
    allotment: Allotment | None = None
    """How search and proof share a limited number of windows; None: each has limits of its own."""
    pareto: bool = False
    """Search for the front of several objectives instead of the best weighted one."""

    @property
    def search_goals(self) -> Goals:
        """What the search is judged by."""
        return self.goals.trading() if self.pareto else self.goals


def settings_of(profile: Profile, overrides: Overrides, *, drawn_seed: int) -> Settings:
    """Settings of a run; `drawn_seed` counts where neither side gives one."""
    search, promotion = profile.search, profile.promotion
    goals = goals_of(profile)
    space = overrides.space or search.space.value
    if overrides.dimensions is not None and space != SpaceShape.PROJECTED:
        raise UsageError("--dimensions is for a projected space", hint="add --space projected")
    seed = next(item for item in (overrides.seed, search.seed, drawn_seed) if item is not None)
    mei_log = log_gain_of(promotion.mei, _mei_direction(goals))
    return Settings(
        sampler=overrides.sampler or search.sampler.value,
        storage=overrides.storage,
        trials=overrides.trials or search.trials,
        time_s=overrides.time_s or search.time,
        stop_after=search.stop_after,
        baseline_every=search.baseline_every,
        simplify=search.simplify,
        seed=seed,
        space=space,
        dimensions=overrides.dimensions or search.dimensions,
        screening=search.screening,
        pruning=search.pruning is Pruning.WILCOXON,
        goals=goals,
        rule=Rule(
            alpha=promotion.alpha,
            min_pairs=promotion.pairs.min,
            max_pairs=promotion.pairs.max,
            minimum_gain=mei_log if promotion.against == "mei" else 0.0,
            finalists=promotion.finalists,
            margins={
                limit.metric: limit.margin for limit in goals.limits if limit.margin is not None
            },
        ),
        after_pairs=promotion.pairs.after,
        mei_log=mei_log,
        max_trips=profile.safety.max_trips,
        trust_share=trust_share(profile),
        regret=profile.safety.regret,
        search_s=_search_s(profile, overrides),
        allotment=_allotment_of(profile, overrides),
        pareto=overrides.pareto,
        window=_window_of(profile),
    )


def _allotment_of(profile: Profile, overrides: Overrides) -> Allotment | None:
    windows = overrides.windows or profile.search.windows
    if windows is None or overrides.pareto:
        return None
    pairs, finalists = profile.promotion.pairs, profile.promotion.finalists
    found = Allotment(windows, pairs.min, pairs.max, pairs.after, finalists)
    if windows < found.least:
        raise UsageError(
            f"--windows: a search and a proof take at least {found.least}, not {windows}"
        )
    return found


def _window_of(profile: Profile) -> WindowSettings:
    workload = profile.workload
    if workload is None:
        return WindowSettings()
    amount = workload.measure
    return WindowSettings(
        settle_s=workload.settle,
        warm_up=workload.warm_up.count if workload.warm_up else 0,
        measure=(
            Work(amount.count, amount.unit) if isinstance(amount, Amount) and amount.count else None
        ),
    )


def _search_s(profile: Profile, overrides: Overrides) -> float:
    """The time budget, or less where the trials at the length of a window need less."""
    time_s = overrides.time_s or profile.search.time
    if profile.workload is None or profile.workload.attach is None:
        return time_s
    window_s = profile.workload.settle + profile.workload.watch_time.lasting
    return min(time_s, (overrides.trials or profile.search.trials) * window_s)


def goals_of(profile: Profile) -> Goals:
    """Objectives and constraints with their directions."""
    limits = []
    for item in profile.constraints:
        better = item.direction or profile.better(item.metric)
        direction = better or Direction.MINIMIZE
        margin = item.worse_by_at_most
        limits.append(
            Limit(
                metric=item.metric,
                direction=direction,
                margin=None if margin is None else log_margin_of(margin, direction),
                at_most=item.at_most,
                at_least=item.at_least,
            )
        )
    return Goals(
        objectives=tuple(
            Goal(item.metric, item.direction, item.weight) for item in profile.objectives
        ),
        limits=(*limits, *_limits_of_objectives(profile)),
    )


def _limits_of_objectives(profile: Profile) -> Iterator[Limit]:
    """Several objectives: a candidate must not be worse in any by its margin, else the MEI.

    With the MEI as margin, a proof that can resolve the MEI can also clear an objective that does
    not move.
    """
    if len(profile.objectives) < 2:
        return
    constrained = {item.metric for item in profile.constraints if item.worse_by_at_most is not None}
    for item in profile.objectives:
        if item.metric not in constrained:
            direction = item.direction
            share = item.worse_by_at_most or profile.promotion.mei
            yield Limit(
                item.metric, direction, margin=log_margin_of(share, direction), of_objective=True
            )


def guardrails_of(profile: Profile, namespace: NamespaceRef | None = None) -> Guardrails:
    """The profile's `safety:`, opened at the first use; `namespace`: where the workload is."""
    return from_profile.guardrails_of(
        profile.safety, workload=profile.workload, namespace=namespace
    )


def _mei_direction(goals: Goals) -> Direction:
    """Several objectives combined read as something to maximise."""
    return goals.objectives[0].direction if len(goals.objectives) == 1 else Direction.MAXIMIZE
