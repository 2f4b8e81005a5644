"""Which pairs lie far out. They are named, never left out: the test sees every pair.

What one pair can do to the evidence is bounded, however far out it is (`eprocess.STAKE`). Leaving
pairs out because they look bad would void the error rate.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ktune.evidence.pairs import PairResult

FAR = 3.5
"""Modified z-score from which a value is called an outlier (Iglewicz and Hoaglin, How to Detect and
Handle Outliers, 1993)."""

_GAUSS_MEDIAN_DEVIATION = 0.6745
"""The median absolute deviation of a standard normal."""
_GAUSS_MEAN_DEVIATION = 0.7979
"""Its mean absolute deviation: the scale where over half of the values are equal."""


def outliers(values: Sequence[float]) -> tuple[int, ...]:
    """Positions of the values whose distance from the median is over 3.5 robust sds.

    Assumptions: the bulk is about Gaussian. Of ten Gaussian values 1.4 % are called outliers, of
    thirty 0.4 % (heavy tails: more, that is the point). Fewer than five values: none.

    >>> outliers([0.01, 0.02, 0.0, 0.03, -0.01, 0.9])
    (5,)
    """
    if len(values) < 5:
        return ()
    middle = statistics.median(values)
    distances = [abs(value - middle) for value in values]
    scale = statistics.median(distances) / _GAUSS_MEDIAN_DEVIATION
    if scale == 0:
        scale = statistics.fmean(distances) / _GAUSS_MEAN_DEVIATION
    return tuple(
        index for index, distance in enumerate(distances) if scale and distance > FAR * scale
    )


def far_pairs(pairs: Sequence[PairResult]) -> tuple[int, ...]:
    """The draws of the measured pairs whose log ratio is an outlier among theirs."""
    measured = [(pair.draw, pair.gain) for pair in pairs if pair.gain is not None]
    return tuple(measured[index][0] for index in outliers([gain for _, gain in measured]))
