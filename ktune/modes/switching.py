"""What a switch leaves behind, from the windows of a calibration. Pure.

Around each switch the windows run s1 s2 | B B A | s1 s2: a pair of the baseline, a block (two
windows of a candidate, one of the baseline), the next pair. A baseline window is compared with the
line through the s1 before and the s2 after it, in the logarithm: drift that is linear over these
few windows cancels exactly, whatever it is, and no windows are spent on a control. Each line has
its own two windows: lines that shared one would make neighbouring blocks alike, and find an effect
that is not there in two or three calibrations of a hundred instead of one.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ktune.evidence.pairs import Arm
from ktune.evidence.readiness import AVERAGING_PAIRS, Averaging, Effect, averaging, mean_effect
from ktune.modes.scoring import Goals
from ktune.modes.settings import Settings
from ktune.records.readiness import Waiting
from ktune.records.types import Phase, WindowRecord

BLOCK = (Arm.CANDIDATE, Arm.CANDIDATE, Arm.BASELINE)
"""The windows of a block, between two pairs."""

_REMAINDER = 0.1
"""What may be left of a transient, as a share of the MEI."""
_LEAST_BLOCKS = 3


@dataclass(frozen=True)
class Switching:
    """Mean log ratios; each None where too few blocks could be measured."""

    carry_over: Effect | None
    """First baseline window after a candidate, against the baseline."""
    lasting: Effect | None
    """Second one."""
    warm_up: Effect | None
    """First window of the candidate against its second."""


def switching(records: Sequence[WindowRecord], goals: Goals) -> Switching:
    """The three effects over all whole blocks.

    Hypothesis: a switch leaves nothing behind. Assumptions: blocks independent of each other,
    about Gaussian. Formula: Student's t interval of the mean contrast. What breaks it: what fades
    so slowly that it is still there at the next block is in all windows, and unseen.
    """
    first, second, candidate = [], [], []
    for run in _surrounded(records):
        level = [goals.gain(run[0].metrics, record.metrics) for record in run]
        # places in time: s1 at 0, s2 at 1, B at 2 and 3, A at 4, s1 at 5, s2 at 6
        drift = (level[6] - level[0]) / 6
        first.append(level[4] - (level[0] + 4 * drift))
        second.append(level[5] - (level[0] + 5 * drift))
        candidate.append(level[2] - (level[3] - drift))
    if len(first) < _LEAST_BLOCKS:
        return Switching(None, None, None)
    return Switching(mean_effect(first), mean_effect(second), mean_effect(candidate))


def averaging_of(records: Sequence[WindowRecord], goals: Goals) -> Averaging | None:
    """Whether longer windows would help, from the pairs of the baseline; None: too few."""
    pairs: dict[int, list[WindowRecord]] = {}
    for record in records:
        if record.phase is Phase.CALIBRATION and record.validity == "valid":
            pairs.setdefault(record.pair or 0, []).append(record)
    whole = [pair for pair in pairs.values() if len(pair) == 2]
    if len(whole) < AVERAGING_PAIRS:
        return None
    start = whole[0][0].metrics
    levels = [
        (goals.gain(start, first.metrics), goals.gain(start, second.metrics))
        for first, second in whole
    ]
    return averaging(levels)


def waiting(found: Switching, settings: Settings, window_s: float) -> Waiting:
    """How long to wait after a switch.

    Waits and work can only be told apart by trying: the time is given as a `settle:` and, where the
    profile counts its work, as a `warm_up:` of as many windows' worth.
    Nothing found: what is now in force. Else one window's time, if the second window shows nothing
    any more; else as long as an exponential through the two takes to fall to a tenth of the MEI.
    """
    extra_s, enough = 0.0, True
    suspects = [item for item in (found.carry_over, found.warm_up) if item is not None]
    if any(item.found for item in suspects):
        extra_s, enough = window_s, found.lasting is not None and not found.lasting.found
        if found.carry_over and found.lasting and found.carry_over.found and found.lasting.found:
            extra_s, enough = _fading(found.carry_over, found.lasting, settings.mei_log, window_s)
    settle_s, work = settings.window.settle_s, settings.window.measure
    warm_up = None
    if work is not None:
        warm_up = settings.window.warm_up + math.ceil(extra_s / window_s * work.count)
    return Waiting(
        settle_now_s=settle_s,
        settle_s=settle_s + _round_up(extra_s),
        warm_up=warm_up,
        unit=work.unit if work else "",
        enough=enough,
    )


def window_s_of(records: Sequence[WindowRecord]) -> float:
    """Median length of a valid window, switching and settling included."""
    return statistics.median([r.duration_s for r in records if r.validity == "valid"])


def _fading(first: Effect, second: Effect, mei_log: float, window_s: float) -> tuple[float, bool]:
    """(seconds until a tenth of the MEI is left, whether the windows tell that).

    With c r^k left in the k-th window, k = 1 and 2 at the ends of the line,
    first = c (1 - r) (1 + 2r/3) and second = c r (1 - r) 5/6, so r = 6q / (5 - 4q) with
    q = second / first.
    """
    target, share = _REMAINDER * mei_log, second.mean / first.mean
    if not 0 < share < 0.5 or target <= 0:
        return 2 * window_s, False
    ratio = 6 * share / (5 - 4 * share)
    start = abs(first.mean) / ((1 - ratio) * (1 + 2 * ratio / 3))
    return window_s * max(1.0, math.log(start / target) / -math.log(ratio)), True


def _round_up(seconds: float) -> float:
    """Two figures are all that such an estimate carries."""
    if seconds <= 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(seconds)) - 1)
    return round(math.ceil(seconds / unit - 1e-9) * unit, 9)


def _surrounded(records: Sequence[WindowRecord]) -> Iterator[list[WindowRecord]]:
    """Each whole block with the pair before it and the pair after it, all valid and adjacent."""
    rows = sorted(records, key=lambda record: record.seq)
    pair = [Phase.CALIBRATION] * 2
    phases = [*pair, *[Phase.SWITCHING] * len(BLOCK), *pair]
    for start in range(len(rows) - len(phases) + 1):
        run = rows[start : start + len(phases)]
        if (
            [row.phase for row in run] == phases
            and tuple(row.arm for row in run[2:5]) == BLOCK
            and run[0].pair == run[1].pair
            and run[5].pair == run[6].pair
            and all(row.validity == "valid" for row in run)
            and all(later.seq == earlier.seq + 1 for earlier, later in pairwise(run))
        ):
            yield run
