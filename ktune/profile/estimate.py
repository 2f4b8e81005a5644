"""How long a run takes, from the profile alone. Pure arithmetic, stated so that it can be doubted.

The proof of an effect that is there usually ends near its fewest pairs, a search near its last
trial: the expected figure takes all trials, and pairs half way between fewest and most.
"""

from __future__ import annotations

import math

from ktune.evidence.readiness import MINIMUM_PAIRS
from ktune.profile.model import Profile
from ktune.profile.plan import Estimate

_OVERHEAD_S = 0.1
"""Writes, read-back, reset and bookkeeping of one window."""
_RE_MEASURED = 30
"""Windows in which the best few are measured again, with the baselines between them, at most
(`ktune.search.finalists`)."""

WINDOWS_PER_KNOB = 4
"""Windows that it takes to see whether a finalist needs a knob (`ktune.modes.simplify`); by halves
it takes fewer where most knobs have no effect, and at most twice as many where all have one."""

FEWEST_PAIRS = 5
TRIALS_OF_A_PAIR = 10


SPARE_PAIRS = 3
"""More than the fewest that a decision takes: one pair that is lost to noise must not decide it."""
_LEAST_SEARCH = 18
"""Windows that are a search: a few candidates, the best again, baselines between them."""


def least_windows(min_pairs: int, after_pairs: int, finalists: int) -> int:
    """Fewer hold no search and no proof.

    >>> least_windows(min_pairs=5, after_pairs=10, finalists=1)
    54
    """
    return 2 * ((min_pairs + SPARE_PAIRS) * finalists + after_pairs) + _LEAST_SEARCH


def pairs_before(trials: int) -> int:
    """With how many pairs a `tune` calibrates before its search: one for TRIALS_OF_A_PAIR trials,
    at least FEWEST_PAIRS, at most MINIMUM_PAIRS (`ktune.modes.short_calibration`)."""
    return min(MINIMUM_PAIRS, max(FEWEST_PAIRS, trials // TRIALS_OF_A_PAIR))


def estimate(profile: Profile, settle_s: float, knobs: int) -> Estimate:
    """`settle_s`: the longest settling time that the catalog gives a searched knob; `knobs`: how
    many knobs are searched."""
    search, pairs = profile.search, profile.promotion.pairs
    workload = profile.workload
    searching = search.trials + 1 + math.ceil(search.trials / search.baseline_every)
    calibrating = 2 * pairs_before(search.trials)
    before = _RE_MEASURED + (WINDOWS_PER_KNOB * knobs if search.simplify else 0)
    proof = 2 * (math.ceil((pairs.min + pairs.max) / 2) + pairs.after) + before
    longest_proof = 2 * (pairs.max + pairs.after) * profile.promotion.finalists + before
    if search.simplify:
        longest_proof += WINDOWS_PER_KNOB * knobs
    if workload is None:
        return Estimate(calibrating, searching, proof, 0.0, 0.0, 0.0, False)
    settle = max(workload.settle, settle_s) + _OVERHEAD_S
    usual = workload.usual_time
    longest = settle + workload.timeout
    if workload.attach is not None:
        usual = workload.watch_time.lasting
        longest = settle + usual
    known = usual is not None
    window = settle + (usual if usual is not None else workload.timeout / 2)
    return Estimate(
        calibration_windows=calibrating,
        search_windows=searching,
        proof_windows=proof,
        window_s=window,
        expected_s=min(searching * window, search.time) + (calibrating + proof) * window,
        longest_s=min(searching * longest, search.time + longest)
        + (2 * MINIMUM_PAIRS + longest_proof) * longest,
        window_is_known=known,
    )
