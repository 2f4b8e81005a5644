"""Noise of windows that have no true difference: what the null hypothesis looks like.

Each kind yields endless log factors of one unchanged system, seeded; `sd` is that of a *pair's*
log ratio, as everywhere (each window has sd/sqrt(2)). Traces are replayed as they were recorded,
whatever their sd.
"""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

TRACES = Path(__file__).resolve().parent / "traces"
PAIR_SD = 0.05
BLOCK = 60
"""Windows of a trace replayed in a row: longer than most proofs' pairs, so that what lasts in the
recording lasts in the replay."""

Stream = Iterator[float]
Kind = Callable[[int], Stream]
"""From a seed to a stream."""


def gauss(seed: int, sd: float = PAIR_SD) -> Stream:
    """Independent and Gaussian."""
    rng = random.Random(seed)
    while True:
        yield rng.gauss(0, sd / math.sqrt(2))


def student3(seed: int, sd: float = PAIR_SD) -> Stream:
    """Heavy tails: Student t with 3 degrees of freedom, scaled to the sd."""
    rng = random.Random(seed)
    while True:
        chi = math.fsum(rng.gauss(0, 1) ** 2 for _ in range(3))
        yield sd / math.sqrt(2) * rng.gauss(0, 1) / math.sqrt(chi / 3) / math.sqrt(3)


def spiky(seed: int, sd: float = PAIR_SD) -> Stream:
    """One window in twenty is slowed down by up to a half, on top of Gaussian noise."""
    rng = random.Random(seed)
    while True:
        spike = -rng.uniform(0.1, 0.7) if rng.random() < 0.05 else 0.0
        yield rng.gauss(0, sd / math.sqrt(2)) + spike


def ar1_season_drift(seed: int, sd: float = PAIR_SD) -> Stream:
    """AR(1) with phi = 0.9, a season of +-10 % over 80 windows, and a drift of 20 % per 1000."""
    rng = random.Random(seed)
    phi, state = 0.9, 0.0
    start = rng.uniform(0, 2 * math.pi)
    slope = rng.choice((-1, 1)) * 0.2 / 1000
    number = 0
    while True:
        state = phi * state + math.sqrt(1 - phi * phi) * rng.gauss(0, sd / math.sqrt(2))
        yield state + 0.1 * math.sin(start + 2 * math.pi * number / 80) + slope * number
        number += 1


def replay(name: str, seed: int) -> Stream:
    """A recorded trace in blocks from random places, log values around the trace's median."""
    values = [
        math.log(value) for value in json.loads((TRACES / f"{name}.json").read_text())["values"]
    ]
    middle = statistics.median(values)
    rng = random.Random(seed)
    while True:
        start = rng.randrange(len(values))
        for offset in range(BLOCK):
            yield values[(start + offset) % len(values)] - middle


def trace_names() -> tuple[str, ...]:
    """What was recorded."""
    return tuple(sorted(path.stem for path in TRACES.glob("*.json")))


def recording(kind: str) -> str:
    """What a replayed kind depends on: its file and how it is cut; empty for the others."""
    name = kind.removeprefix("recorded: ")
    return "" if name == kind else f"{BLOCK} {(TRACES / f'{name}.json').read_text()}"


def kinds() -> dict[str, Kind]:
    """Every kind of noise by name."""
    made: dict[str, Kind] = {
        "Gauss": gauss,
        "Student t (3)": student3,
        "spiky": spiky,
        "AR(1) .9, season, drift": ar1_season_drift,
    }
    for name in trace_names():
        made[f"recorded: {name}"] = lambda seed, name=name: replay(name, seed)  # type: ignore[misc]
    return made
