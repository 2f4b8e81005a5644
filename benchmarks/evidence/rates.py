"""Observed rates against nominal ones: exact limits, and how many sessions a question needs."""

from __future__ import annotations

from functools import cache

from ktune.evidence.binomial import at_least, lower_limit

CONFIDENCE = 0.99


def upper_limit(successes: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """The exact one-sided upper limit for a rate."""
    return 1.0 - lower_limit(trials - successes, trials, confidence)


@cache
def alarm_from(sessions: int, nominal: float) -> int:
    """The fewest successes whose exact lower 99 % limit is above `nominal`: those that the nominal
    rate reaches with a chance under 1 %."""
    successes = int(nominal * sessions)
    while at_least(successes, sessions, nominal) >= 1 - CONFIDENCE:
        successes += 1
    return successes


def power_against(sessions: int, nominal: float, true: float) -> float:
    """The chance that so many sessions show a true rate to be above the nominal one."""
    return at_least(alarm_from(sessions, nominal), sessions, true)


def sessions_needed(nominal: float, true: float, power: float = 0.9) -> int:
    """The fewest sessions (in steps of ten) from which on that chance is at least `power`."""
    sessions = 10
    while power_against(sessions, nominal, true) < power:
        sessions += 10
    return sessions


def share(part: int, whole: int, digits: int = 1) -> str:
    """`12.3 %`."""
    return f"{100 * part / whole:.{digits}f} %" if whole else "-"


def percent(value: float, digits: int = 1) -> str:
    """`12.3 %` of a fraction."""
    return f"{100 * value:.{digits}f} %"
