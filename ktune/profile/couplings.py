"""What the kernel ties to a knob, as the plan sees it: journaled keys, implied relations. Pure
but for looking which files a glob means."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise

from ktune.catalog.model import CouplingKind, Match
from ktune.kernel.values import Value
from ktune.profile.bounds import Limits
from ktune.profile.knobs import Operand, Relation
from ktune.profile.ranges import is_ordered
from ktune.profile.space import Dimension

_ORDERING = {CouplingKind.NOT_ABOVE: "<=", CouplingKind.NOT_BELOW: ">="}
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def coupled_keys(match: Match) -> tuple[str, ...]:
    """Keys tied to a knob in any way; globs stand for the files that are there."""
    found: dict[str, None] = {}
    for coupling in match.entry.couplings:
        for pattern in coupling.keys:
            key = match.expand(pattern)
            keys = sorted(glob.glob(key)) if key.startswith("/") and _is_glob(key) else [key]
            found.update(dict.fromkeys(item for item in keys if item != match.key))
    return tuple(found)


def neighbours(match: Match) -> Iterator[tuple[str, str]]:
    """(operator, key) for each knob that bounds this one: `<=` where this must not be above."""
    for coupling in match.entry.couplings:
        if coupling.kind in _ORDERING:
            for pattern in coupling.keys:
                yield _ORDERING[coupling.kind], match.expand(pattern)


def one_setting_twice(matches: Iterable[Match]) -> Iterator[tuple[str, str]]:
    """Pairs of knobs that are one setting in two units: writing one zeroes the other."""
    by_key = {match.key: match for match in matches}
    for match in by_key.values():
        for coupling in match.entry.couplings:
            if coupling.kind is CouplingKind.EITHER_OR:
                for key in map(match.expand, coupling.keys):
                    if key in by_key and match.key < key:
                        yield match.key, key


def narrowed(
    limits: Limits, match: Match, moved: Iterable[str], current: Mapping[str, Value]
) -> Limits:
    """Limits cut by neighbours that stay where they are (those that move get a relation)."""
    held = set(current) - set(moved)
    for sign, key in neighbours(match):
        value = current.get(key)
        if key in held and isinstance(value, int) and len(limits.low) == 1:
            limits = limits.below(0, value) if sign == "<=" else limits.above(0, value)
    return limits


def implied(
    matches: Iterable[Match], dimensions: Iterable[Dimension], baseline: Mapping[str, Value]
) -> Iterator[Relation]:
    """Relations that the kernel enforces between knobs that both move, and within vectors."""
    moved: dict[str, list[Dimension]] = {}
    for dimension in dimensions:
        moved.setdefault(dimension.key, []).append(dimension)
    for match in matches:
        for sign, key in neighbours(match):
            if match.key in moved and key in moved and isinstance(baseline.get(key), int):
                yield Relation(Operand(match.key), sign, Operand(key))
    for key, parts in moved.items():
        elements = sorted(part.element for part in parts if part.element is not None)
        if is_ordered(baseline[key]):
            for lower, upper in pairwise(elements):
                yield Relation(Operand(key, lower), "<=", Operand(key, upper))


def settled(
    relation: Relation, moved: set[str], value_of: Callable[[Operand], int | None]
) -> Relation | bool | None:
    """A relation with the sides that don't move replaced by their numbers.

    True or False where nothing in it moves; None where a side has no number.
    """
    left: Operand | int | None = relation.left
    right: Operand | int | None = relation.right
    if isinstance(left, Operand) and left.key not in moved:
        left = value_of(left)
    if isinstance(right, Operand) and right.key not in moved:
        right = value_of(right)
    if left is None or right is None:
        return None
    if isinstance(left, Operand):
        return Relation(left, relation.operator, right)
    if isinstance(right, Operand):
        return Relation(right, _FLIPPED[relation.operator], left)
    probe = Relation(Operand("left.side"), relation.operator, right)
    return probe.holds({"left.side": left})


def _is_glob(key: str) -> bool:
    return any(character in key for character in "*?[")
