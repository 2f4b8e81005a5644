"""Replays a recorded surface as the window source of a real `ktune tune`.

Only the windows are simulated: plan, namespace, guardian, lease, journal, search, proof and study
are ktune's own. Knobs of the host would be written for real a thousand times, so each is stood for
by an integer knob of an idle network namespace with room for the same numbers (words are counted
from 0). The source reads what is in force back through the lease and answers with the surface's
value there, and a window's noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.surfaces.model import Surface
from ktune.catalog.catalog import load_catalog
from ktune.errors import KtuneError
from ktune.kernel.limits import within
from ktune.kernel.values import Value
from ktune.measure.window import Poll, Validity, WindowResult
from ktune.proxy.client import Lease
from ktune.search.space import Axis

METRIC = "value"
_NUMBERS = (
    "net.ipv4.tcp_comp_sack_delay_ns",
    "net.ipv4.tcp_comp_sack_slack_ns",
    "net.ipv4.tcp_limit_output_bytes",
    "net.ipv4.tcp_notsent_lowat",
    "net.ipv4.tcp_min_rtt_wlen",
    "net.ipv4.tcp_fastopen_blackhole_timeout_sec",
    "net.ipv4.tcp_invalid_ratelimit",
)
_WORDS = (
    "net.ipv4.tcp_tso_rtt_log",
    "net.ipv4.tcp_app_win",
    "net.ipv4.tcp_plb_idle_rehash_rounds",
    "net.ipv4.tcp_plb_rehash_rounds",
    "net.ipv4.tcp_comp_sack_nr",
    "net.ipv4.tcp_tso_win_divisor",
)


class BudgetSpent(KtuneError):
    """The run asks for more windows than it was given."""


@dataclass(frozen=True)
class Budget:
    """How a run spends its windows: settings of a profile."""

    trials: int
    stop_after: int
    baseline_every: int
    max_pairs: int
    after_pairs: int = 10
    mei: float = 0.02
    simplify: bool = False
    windows: int | None = None
    """Divided by ktune itself."""


class StandIns:
    """The knobs of a namespace that stand for a surface's."""

    def __init__(self, surface: Surface) -> None:
        """Raises SystemExit where no knob has room for an axis."""
        self.surface = surface
        left = [*_NUMBERS, *_WORDS]
        self.keys: list[str] = []
        for axis in surface.axes:
            key = next((key for key in left if _fits(key, axis)), None)
            if key is None:
                raise SystemExit(f"no knob of a namespace can stand for {axis.name}")
            left.remove(key)
            self.keys.append(key)

    def setting(self, values: Mapping[str, Value | None]) -> list[Value]:
        """The surface's setting that values of the stand-ins mean."""
        found: list[Value] = []
        for axis, key in zip(self.surface.axes, self.keys, strict=True):
            value = values[key]
            assert isinstance(value, int)
            found.append(value if axis.number is not None else axis.choices[value])
        return found

    def values(self, setting: Sequence[Value]) -> dict[str, int]:
        """And back."""
        found = {}
        for axis, key, value in zip(self.surface.axes, self.keys, setting, strict=True):
            number = axis.choices.index(value) if axis.number is None else value
            assert isinstance(number, int)
            found[key] = number
        return found

    def profile(self, budget: Budget, expert: Sequence[Sequence[Value]] = ()) -> str:
        """What `ktune tune` is given; `expert`: settings to measure first."""
        head = self.surface.recording.head
        rules = rules_text(budget)
        knobs = "\n".join(
            f"    {key}: {_range(axis)}"
            for axis, key in zip(self.surface.axes, self.keys, strict=True)
        )
        baseline = ", ".join(f"{key}: {n}" for key, n in self.values(head.reference).items())
        first = [self.values(setting) for setting in expert]
        relations = [self._renamed(relation) for relation in head.relations]
        return f"""
ktune: 1
kind: profile
name: {head.surface}
scope: ephemeral
workload:
  command: ["true"]
  renews: [new_socket, new_process]
  metrics:
    {METRIC}: {{from: key_value, unit: 1/s, plausible: [1e-9, 1e15]}}
knobs:
  sysctl:
{knobs}
relations: {relations}
baseline: {{{baseline}}}
expert: {first}
objectives: [{{metric: {METRIC}, direction: {head.direction}}}]
{rules}safety: {{oom_kills: null, kernel_warnings: null}}
"""

    def _renamed(self, relation: str) -> str:
        for axis, key in zip(self.surface.axes, self.keys, strict=True):
            relation = relation.replace(axis.name, key)
        return relation


class SimulatedSource:
    """A `WindowSource`: the surface at what is in force, times the noise there.

    `budget`: windows that may be measured; the one after raises BudgetSpent.
    """

    def __init__(self, lease: Lease, stand_ins: StandIns, seed: int, budget: int) -> None:
        self._lease = lease
        self._stand_ins = stand_ins
        self._windows = windows(stand_ins.surface, seed)
        next(self._windows)
        self._budget = budget
        self.measured = 0

    def run(self, poll: Poll) -> WindowResult:
        poll()
        if self.measured >= self._budget:
            raise BudgetSpent(f"the budget of {self._budget} windows is used up")
        self.measured += 1
        found = self._windows.send(self._stand_ins.setting(self._lease.read()))
        if isinstance(found, str):
            return WindowResult({}, 0.001, Validity.CANDIDATE_FAILED, found)
        return WindowResult({METRIC: found}, 0.001, Validity.VALID)


def rules_text(budget: Budget) -> str:
    """The sections of a profile that say how windows are spent."""
    windows = "" if budget.windows is None else f", windows: {budget.windows}"
    return f"""search: {{trials: {budget.trials}, stop_after: {budget.stop_after}, time: 3h,
  baseline_every: {budget.baseline_every}, simplify: {str(budget.simplify).lower()}{windows}}}
promotion: {{alpha: 0.05, mei: {budget.mei:.1%}, against: zero,
  pairs: {{min: 5, max: {budget.max_pairs}, after: {budget.after_pairs}}}}}
"""


def windows(surface: Surface, seed: int) -> Iterator[float | str]:
    """A coroutine: send a setting, get a window's value, or why it failed. Prime it with `next`."""
    stream = surface.stream(seed)
    found: float | str = math.nan
    while True:
        setting = yield found
        found = surface.fails(setting)
        if not found:
            noise = surface.sd(setting) * next(stream)
            found = math.exp(surface.log_value(setting) + noise)


def _fits(key: str, axis: Axis) -> bool:
    entry = load_catalog().entry(key)
    if entry is None:
        return False
    if axis.number is None:
        wanted: tuple[Value, ...] = (0, len(axis.choices) - 1)
    else:
        wanted = (axis.number.low, axis.number.high, *axis.choices)
    return all(
        value in entry.special or within(value, entry.minimum, entry.maximum) for value in wanted
    )


def _range(axis: Axis) -> str:
    number = axis.number
    if number is None:
        return f"{{choices: {list(range(len(axis.choices)))}}}"
    special = f", special: {list(axis.choices)}" if axis.choices else ""
    step = f", step: {number.step}" if number.step > 1 else ""
    log = ", log: true" if number.log else ""
    return f"{{range: [{number.low}, {number.high}]{step}{log}{special}}}"
