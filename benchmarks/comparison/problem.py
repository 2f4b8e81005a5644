"""What every method is given: a space, a reference, and so many windows; and what it answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.surfaces.model import Surface
from benchmarks.surfaces.simulate import windows
from ktune.kernel.values import Value
from ktune.search.space import Axis, Space

Setting = tuple[Value, ...]
"""One value for each axis."""


@dataclass(frozen=True)
class Asked:
    """One window: the setting and the metric's value; None where it failed."""

    setting: Setting
    value: float | None


@dataclass
class Problem:
    """One run of one method: measures at most `budget` windows, and keeps what it measured."""

    axes: Sequence[Axis]
    space: Space
    """The same axes, for distributions; its baseline is the reference."""
    reference: Setting
    maximize: bool
    budget: int
    seed: int
    window: Callable[[Setting], float | None]
    idle: Callable[[], None] = lambda: None
    """Called while nothing is measured: it keeps a lease alive."""
    asked: list[Asked] = field(default_factory=list)

    def measure(self, setting: Setting) -> float | None:
        """One more window. Raises IndexError when there is none left."""
        if not self.left:
            raise IndexError(f"all {self.budget} windows are used")
        value = self.window(setting)
        self.asked.append(Asked(setting, value))
        return value

    @property
    def left(self) -> int:
        return self.budget - len(self.asked)

    def best(self) -> Asked | None:
        """The best single window: what a tuner reports that knows no noise."""
        valued = [item for item in self.asked if item.value is not None]
        sign = 1 if self.maximize else -1
        return max(valued, key=lambda item: sign * (item.value or 0.0), default=None)

    def claim(self, best: Asked) -> float:
        """Log ratio of the best window to the first of the reference."""
        first = next((a.value for a in self.asked if a.setting == self.reference and a.value), None)
        if first is None or not best.value:
            return math.nan
        change = math.log(best.value / first)
        return change if self.maximize else -change


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `deployed` is the reference where nothing is to be changed.

    `claimed`: the gain that it reports for it (log ratio); None where it reports none.
    `left`: knobs that are not as they were when it has ended and nothing was deployed yet.
    """

    deployed: Setting
    claimed: float | None
    windows: int
    wall_s: float
    left: int = 0
    found: Setting | None = None
    """What ktune would have tried to prove, proven or not."""
    why: str = ""


def best_of_search(problem: Problem, wall_s: float) -> Outcome:
    """The outcome of methods that deploy their best window and restore nothing by themselves."""
    best = problem.best()
    last = problem.asked[-1].setting if problem.asked else problem.reference
    left = sum(a != b for a, b in zip(last, problem.reference, strict=True))
    if best is None:
        return Outcome(problem.reference, None, len(problem.asked), wall_s, left)
    return Outcome(best.setting, problem.claim(best), len(problem.asked), wall_s, left)


def simulated(surface: Surface, space: Space, seed: int, budget: int) -> Problem:
    """A run on a recorded surface."""
    replay = windows(surface, seed)
    next(replay)

    def window(setting: Setting) -> float | None:
        found = replay.send(setting)
        return None if isinstance(found, str) else found

    head = surface.recording.head
    return Problem(surface.axes, space, head.reference, surface.maximize, budget, seed, window)
