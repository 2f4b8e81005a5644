"""The Pareto front of a search: what no other measured assignment beats in every objective. Pure.

Unconfirmed, like everything of a search: each point is the best of many in its direction, so its
numbers read too high.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ktune.search.trials import Ranked, Row, ScoredTrial, ranking


def dominates(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """At least as good in every objective and better in one.

    >>> dominates({"a": 0.2, "b": 0.0}, {"a": 0.1, "b": 0.0})
    True
    >>> dominates({"a": 0.2, "b": -0.1}, {"a": 0.1, "b": 0.0})
    False
    """
    return all(one[name] >= other[name] for name in other) and any(
        one[name] > other[name] for name in other
    )


def front(ranked: Sequence[Ranked]) -> tuple[Ranked, ...]:
    """The assignments that neither another one nor the baseline dominates, by mean log ratios.

    The baseline gains 0 in every objective by definition; what equals it is left out. Best
    weighted score first, ties to the earlier trial; of equal points the earliest stays.
    """
    baseline = dict.fromkeys(ranked[0].objectives, 0.0) if ranked else {}
    kept: list[Ranked] = []
    for item in sorted(ranked, key=lambda entry: entry.first):
        rivals = [baseline, *(other.objectives for other in ranked if other is not item)]
        equal = [baseline, *(other.objectives for other in kept)]
        if not any(dominates(rival, item.objectives) for rival in rivals) and not any(
            dict(item.objectives) == dict(same) for same in equal
        ):
            kept.append(item)
    return tuple(sorted(kept, key=lambda entry: (-entry.score, entry.first)))


def enters_front(rows: Sequence[Row]) -> bool:
    """Whether the last trial came into the front with a single measurement: luck brings many
    there, and measured once more at once they fall back before anybody believes them."""
    if not rows or not isinstance(rows[-1].told, ScoredTrial):
        return False
    return any(
        item.first == rows[-1].number and item.measured == 1 for item in front(ranking(rows))
    )
