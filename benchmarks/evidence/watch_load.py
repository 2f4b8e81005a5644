"""The load that a service is under, in steps."""

from __future__ import annotations

import random
from collections.abc import Iterator

SCHEMES = {
    "calm": (0, 0),
    "every 10 windows": (10, 10),
    "every 7 windows": (7, 7),
    "within every pair": (2, 1),
}
"""Windows from step to step, and the window of the first. Steps every 10 windows fall between
pairs, of those every 7 every other one within a pair."""


def load(scheme: str, rng: random.Random) -> Iterator[float]:
    """What is asked of the service in each window, 1 = the usual: half of it more or less for one
    period, the usual for the next."""
    every, first = SCHEMES[scheme]
    now, index = 1.0, 0
    while True:
        if every and index >= first and (index - first) % every == 0:
            now = 1.0 if now != 1.0 else rng.choice((0.5, 1.5))
        yield now
        index += 1
