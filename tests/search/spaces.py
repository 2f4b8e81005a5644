"""Spaces and a simulated machine for the search tests."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

from ktune.kernel.values import Value
from ktune.profile.knobs import Operand, Relation, parse_relation
from ktune.profile.space import Dimension, DimensionKind
from ktune.search.space import Space

BASELINE: dict[str, Value] = {
    "vm.background": 10,
    "vm.total": 20,
    "vm.ahead": 128,
    "vm.mode": "madvise",
    "net.rmem": (4096, 131072, 6291456),
}


def number(key: str, low: int, high: int, **more: object) -> Dimension:
    return Dimension(key, DimensionKind.INT, low=low, high=high, **more)  # type: ignore[arg-type]


def choice(key: str, *choices: Value) -> Dimension:
    return Dimension(key, DimensionKind.CHOICE, choices=choices)


def element(key: str, index: int, low: int, high: int, **more: object) -> Dimension:
    return Dimension(key, DimensionKind.VECTOR, low=low, high=high, element=index, **more)  # type: ignore[arg-type]


DIMENSIONS: tuple[Dimension, ...] = (
    number("vm.background", 1, 20),
    number("vm.total", 5, 60, step=5),
    number("vm.ahead", 4, 8192, log=True, special=(0,)),
    choice("vm.mode", "madvise", "always", "never"),
    element("net.rmem", 2, 4 << 20, 64 << 20, log=True),
)
RELATIONS = (parse_relation("vm.background < vm.total"),)


def example_space(
    dimensions: Sequence[Dimension] = DIMENSIONS, relations: Sequence[Relation] = RELATIONS
) -> Space:
    return Space(dimensions, relations, BASELINE)


def within(dimension: Dimension, value: Value) -> bool:
    """Whether a value keeps the limits, said again without the code under test."""
    if dimension.element is not None:
        assert isinstance(value, tuple)
        value = value[dimension.element]
    if dimension.kind is DimensionKind.CHOICE:
        return value in dimension.choices
    if value in dimension.special:
        return True
    assert isinstance(value, int)
    on_grid = (value - dimension.low) % dimension.step == 0
    return dimension.low <= value <= dimension.high and on_grid


def gain_of(assignment: Mapping[str, Value], rng: random.Random, sd: float = 0.01) -> float:
    """A machine that likes a read-ahead of 1024 and big buffers; log ratio with noise."""
    ahead, rmem = assignment["vm.ahead"], assignment["net.rmem"]
    assert isinstance(ahead, int) and isinstance(rmem, tuple)
    off = math.log(max(1, ahead) / 1024) / math.log(2)
    buffers = math.log(rmem[2] / 6291456)
    return 0.10 * math.exp(-off * off / 8) + 0.03 * min(1.0, buffers) + rng.gauss(0, sd)


@st.composite
def spaces(draw: st.DrawFn) -> tuple[tuple[Dimension, ...], tuple[Relation, ...], dict[str, Value]]:
    """Any mixture of axes, with relations in both directions, chains and cycles among them."""
    dimensions: list[Dimension] = []
    baseline: dict[str, Value] = {"k.vector": (1, 50, 100), "k.fixed": draw(st.integers(0, 100))}
    for index in range(draw(st.integers(1, 5))):
        key = f"k.k{index}"
        low = draw(st.integers(-50, 100))
        high = low + draw(st.integers(0, 120))
        kind = draw(st.sampled_from(["plain", "step", "log", "special", "choice"]))
        if kind == "choice":
            words = draw(st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True))
            dimensions.append(choice(key, *words))
        elif kind == "log":
            dimensions.append(number(key, max(1, low), max(1, high), log=True))
        elif kind == "step":
            dimensions.append(number(key, low, high, step=draw(st.integers(1, 30))))
        elif kind == "special":
            special = draw(st.lists(st.integers(-60, 300), min_size=1, max_size=3, unique=True))
            dimensions.append(number(key, low, high, special=tuple(special)))
        else:
            dimensions.append(number(key, low, high))
        baseline[key] = draw(st.integers(-60, 200))
    for position in draw(st.lists(st.integers(0, 2), max_size=2, unique=True)):
        low = draw(st.integers(0, 100))
        dimensions.append(element("k.vector", position, low, low + draw(st.integers(0, 80))))
    operands = [Operand(d.key, d.element) for d in dimensions] + [Operand("k.fixed")]
    operand = st.sampled_from(operands)
    relation = st.builds(
        Relation,
        operand,
        st.sampled_from(["<", "<=", ">", ">="]),
        st.one_of(operand, st.integers(-20, 150)),
    )
    return tuple(dimensions), tuple(draw(st.lists(relation, max_size=4))), baseline
