"""Whether the probation that `watch:` asks for could find anything."""

from __future__ import annotations

from collections.abc import Iterator

from ktune.evidence.guard import GuardRule, too_few
from ktune.profile.errors import Problem
from ktune.profile.model import Profile


def probation_problems(profile: Profile) -> Iterator[Problem]:
    """At most one. Not an error of the profile: a policy of it may be watched, not persisted."""
    metrics = {goal.metric for goal in profile.objectives}
    metrics |= {item.metric for item in profile.constraints if item.worse_by_at_most is not None}
    if not metrics:
        return
    why = too_few(
        profile.watch.probation_pairs, GuardRule(dict.fromkeys(metrics, 0.0), profile.watch.alpha)
    )
    if why:
        yield Problem(
            profile.where("watch", "probation_pairs"),
            f"watch.probation_pairs: {why}; `apply --persist` refuses a policy of this profile",
        )
