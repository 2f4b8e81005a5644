"""Drops knobs without a visible effect from a search that runs, and says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ktune.kernel.wording import counted
from ktune.modes.search_setup import SearchSetup
from ktune.modes.settings import Settings
from ktune.records.search import Screening
from ktune.report.progress import Note, Observer
from ktune.search.screening import LEAST_AXES, looks_due, screen
from ktune.search.study import Search


class Screener:
    """Looks when a look is due; `poll` keeps the lease alive meanwhile."""

    def __init__(
        self,
        setup: SearchSetup,
        settings: Settings,
        observe: Observer,
        poll: Callable[[], None],
    ) -> None:
        self._setup = setup
        self._seed = settings.seed
        self._observe = observe
        self._poll = poll
        # a projected dimension is no knob, and a front has no single score
        self._off = not settings.screening or settings.pareto or setup.projected
        self._looks = max(
            (looks_due(item.assignments) for item in setup.record.screenings), default=0
        )

    def look(self, search: Search) -> None:
        """Judge the knobs that are still searched, where a look is due."""
        ranked = search.ranked()
        due = looks_due(len(ranked))
        if self._off or due <= self._looks or len(search.active.axes) < LEAST_AXES:
            return
        self._looks = due
        screening = screen(search.active, ranked, self._seed, self._poll)
        record = self._setup.record
        self._setup.keep(replace(record, screenings=(*record.screenings, screening)))
        if screening.dropped:
            search.hold([item.name for item in screening.dropped])
        self._observe(Note(text_of(screening)))


def text_of(screening: Screening) -> str:
    """For people: what a look found."""
    start = f"screening after {counted(screening.assignments, 'setting')}: "
    if not screening.clear:
        return start + "no knob stands out of the noise, none is dropped"
    kept = ", ".join(item.name for item in screening.kept)
    if not screening.dropped:
        return start + f"every knob is kept ({kept})"
    dropped = ", ".join(item.name for item in screening.dropped)
    return start + f"no effect seen of {dropped}: left at the baseline; searched on: {kept}"
