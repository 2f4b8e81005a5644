"""Opens the search of a study: space or projection, baseline and known-good settings first.

What it decided is kept in the study (`search.json`), and a resumed run goes on with just that.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ktune.kernel.wording import counted
from ktune.modes.settings import Settings
from ktune.profile.goals import SpaceShape
from ktune.profile.plan import Plan
from ktune.records.search import SearchRecord, read_search, write_search
from ktune.records.study import Study
from ktune.report.progress import Note, Observer
from ktune.search.opening import open_search
from ktune.search.projection import ProjectedSpace
from ktune.search.samplers import SamplerName
from ktune.search.space import Space
from ktune.search.study import Search
from ktune.search.trials import Origin
from ktune.search.trust_region import TrustRegion


def new_record(settings: Settings) -> SearchRecord:
    """What a search begins with, without a warm start."""
    projected = settings.space == SpaceShape.PROJECTED
    return SearchRecord(settings.space, settings.dimensions if projected else None)


class SearchSetup:
    """Everything about the search of one study that outlives an interruption."""

    def __init__(self, plan: Plan, study: Study, settings: Settings, observe: Observer) -> None:
        self._plan = plan
        self._study = study
        self._settings = settings
        self._observe = observe
        self.record = read_search(study.folder) or new_record(settings)

    @property
    def text(self) -> str:
        """For people: how it searches."""
        sampler = f"sampler {self._settings.sampler}"
        if self._settings.trust_share < 1:
            sampler += f", steps of at most {self._settings.trust_share:.0%} of a range"
        if self.record.dimensions is None:
            return sampler
        axes = len(self._plan.dimensions)
        used = min(axes, self.record.dimensions)
        return f"{sampler}, {counted(axes, 'knob')} projected to {counted(used, 'dimension')}"

    def open(self, dropped: Collection[str]) -> Search:
        """The search over all knobs but `dropped`, in a study of its own in the same storage."""
        plan, settings = self._plan, self._settings
        dimensions = [item for item in plan.dimensions if item.key not in dropped]
        baseline = {key: value for key, value in plan.baseline.items() if key not in dropped}
        space = Space(dimensions, plan.relations, baseline)
        projected = None
        if self.record.dimensions is not None:
            projected = ProjectedSpace(space, self.record.dimensions, settings.seed)
            self.keep(replace(self.record, projection=projected.recorded))
        search = open_search(
            space,
            name=" without ".join([self._study.id, *sorted(dropped)]),
            journal=self._study.optuna_journal,
            sampler=SamplerName(settings.sampler),
            seed=settings.seed,
            constraints=settings.search_goals.constraint_names,
            objectives=[goal.metric for goal in settings.goals.objectives]
            if settings.pareto
            else [],
            storage_url=settings.storage,
            projected=projected,
            pruning=settings.pruning,
        )
        if settings.trust_share < 1:
            search.stay_near(TrustRegion(settings.trust_share), settings.mei_log)
        held = [axis.name for axis in space.axes if axis.name in self.record.screened]
        if held and len(held) < len(space.axes):
            search.hold(held)
        self._enqueue(search)
        return search

    @property
    def projected(self) -> bool:
        """Whether the sampler sees a few directions instead of knobs."""
        return self.record.dimensions is not None

    def count_pruned(self, more: int) -> None:
        """So many more assignments are not measured any further."""
        if more:
            self.keep(replace(self.record, pruned=self.record.pruned + more))

    def keep(self, record: SearchRecord) -> None:
        """Write down what changed."""
        self.record = record
        write_search(self._study.folder, record)

    def _enqueue(self, search: Search) -> None:
        """Baseline and known-good settings, before anything the sampler draws."""
        space = search.space
        for origin, assignment in (
            (Origin.BASELINE, self._plan.baseline),
            *((Origin.EXPERT, expert) for expert in self._plan.expert),
            *((Origin.WARM, warm.assignment) for warm in self.record.warm),
        ):
            wanted = {key: value for key, value in assignment.items() if key in space.keys}
            problem = space.why_not(wanted, enqueued=True)
            if problem is None:
                search.enqueue(wanted, origin)
            elif origin is not Origin.BASELINE:
                self._observe(Note(f"{origin.value} setting left out: {problem}"))
