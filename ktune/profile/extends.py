"""Inheritance: later overrides earlier, the file itself overrides all, lists are replaced.

Mappings merge key by key. A knob that restates its shape (range, choices, elements) replaces the
inherited shape whole, so no half of an old range survives; a knob set to null is not inherited.
Two parents that give one knob different kinds or disjoint limits are an error unless the file
itself names that knob. Pure functions on trees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import combinations

from ktune.profile import units
from ktune.profile.errors import Problem, ProfileError, did_you_mean, shown
from ktune.profile.yaml12 import Node

OWN_KEYS = frozenset({"ktune", "kind", "name", "summary", "extends", "fits"})
"""Keys that say what a file is: not inherited."""
MAX_CHAIN = 16
_SHAPE = frozenset({"range", "step", "log", "choices", "element", "elements"})
_KINDS = ("range", "choices", "elements")

Reader = Callable[[str, Node], Node]
"""(name, the node that names it) -> the tree of that profile, not yet flattened."""


def flatten(tree: Node, read: Reader, chain: tuple[str, ...] = ()) -> Node:
    """The tree with everything it extends merged in. Raises ProfileError."""
    parents = [_parent(node, read, chain) for node in _names(tree)]
    _refuse_contradictions(tree, parents)
    merged: Node | None = None
    for parent in parents:
        inherited = replace(
            parent, value={k: v for k, v in parent.mapping.items() if k not in OWN_KEYS}
        )
        merged = inherited if merged is None else merge(merged, inherited)
    result = tree if merged is None else merge(merged, tree)
    if chain:
        return result
    return _without_dropped_knobs(result, inherited_expert="expert" not in tree.mapping)


def merge(base: Node, over: Node, path: tuple[str, ...] = ()) -> Node:
    """`over` on top of `base`; places stay with their values."""
    if not isinstance(base.value, Mapping) or not isinstance(over.value, Mapping):
        return over
    lower = base.value
    if _is_knob(path) and any(key in over.value for key in _KINDS):
        lower = {key: child for key, child in lower.items() if key not in _SHAPE}
    children = dict(lower)
    for key, child in over.value.items():
        children[key] = merge(children[key], child, (*path, key)) if key in children else child
    return replace(over, value=children)


def _is_knob(path: tuple[str, ...]) -> bool:
    return len(path) == 3 and path[0] == "knobs"


def _names(tree: Node) -> tuple[Node, ...]:
    extends = tree.mapping.get("extends")
    if extends is None:
        return ()
    if not isinstance(extends.value, tuple):
        raise ProfileError.at(
            extends.mark, f"extends: expected a list of names, found {shown(extends.plain())}"
        )
    wrong = [node for node in extends.items if not isinstance(node.value, str)]
    if wrong:
        raise ProfileError(
            Problem(node.mark, f"extends: {shown(node.plain())} is no profile name")
            for node in wrong
        )
    return extends.items


def _parent(node: Node, read: Reader, chain: tuple[str, ...]) -> Node:
    name = str(node.value)
    if name in chain:
        circle = " -> ".join((*chain[chain.index(name) :], name))
        raise ProfileError.at(node.mark, f"extends: profiles in a circle: {circle}")
    if len(chain) >= MAX_CHAIN:
        raise ProfileError.at(node.mark, f"extends: more than {MAX_CHAIN} levels")
    return flatten(read(name, node), read, (*chain, name))


def _knobs(tree: Node) -> dict[str, Node]:
    groups = tree.mapping.get("knobs")
    if groups is None:
        return {}
    return {key: child for group in groups.mapping.values() for key, child in group.mapping.items()}


def _refuse_contradictions(tree: Node, parents: list[Node]) -> None:
    settled = _knobs(tree)
    names = [str(node.value) for node in _names(tree)]
    problems = []
    for (one, first), (two, second) in combinations(
        zip(names, map(_knobs, parents), strict=True), 2
    ):
        for key in first.keys() & second.keys() - settled.keys():
            why = contradiction(first[key], second[key])
            if why:
                mark = tree.mapping["extends"].mark
                problems.append(
                    Problem(
                        mark,
                        f"extends: {one} ({first[key].mark}) and {two} ({second[key].mark}) "
                        f"contradict each other about {key}: {why}; settle it in this file",
                    )
                )
    if problems:
        raise ProfileError(problems)


def contradiction(first: Node, second: Node) -> str:
    """Why two parents can't both be right about a knob; empty where they can."""
    kinds = [_kind(first), _kind(second)]
    if None in kinds:
        return ""
    if kinds[0] != kinds[1]:
        return f"one gives {kinds[0]}, the other {kinds[1]}"
    if kinds[0] == "choices":
        left, right = (
            {str(item.plain()) for item in n.mapping["choices"].items} for n in (first, second)
        )
        return "they have no choice in common" if left and right and not left & right else ""
    for index, low_high in _ranges(first).items():
        other = _ranges(second).get(index)
        if other and (low_high[1] < other[0] or other[1] < low_high[0]):
            return f"{low_high[0]:g}..{low_high[1]:g} and {other[0]:g}..{other[1]:g} are disjoint"
    return ""


def _kind(knob: Node) -> str | None:
    found = next((kind for kind in _KINDS if kind in knob.mapping), None)
    return "elements" if found == "range" and "element" in knob.mapping else found


def _ranges(knob: Node) -> dict[str, tuple[float, float]]:
    """Comparable limits by element ("" = the whole knob); what can't be read here is left out."""
    if "elements" in knob.mapping:
        parts = dict(knob.mapping["elements"].mapping)
    else:
        element = knob.mapping.get("element")
        parts = {str(element.plain()) if element else "": knob}
    found = {}
    for index, part in parts.items():
        range_ = part.mapping.get("range")
        bounds = [_comparable(item.plain()) for item in range_.items] if range_ else []
        if len(bounds) == 2 and bounds[0] is not None and bounds[1] is not None:
            found[index] = (bounds[0], bounds[1])
    return found


def _comparable(value: object) -> float | None:
    """Sizes in bytes, times in seconds: enough to compare two spellings of the same knob."""
    if isinstance(value, int | float):
        return float(value)
    for convert in (units.size, units.duration):
        try:
            return float(convert(str(value)))
        except ValueError:
            continue
    return None


def _without_dropped_knobs(tree: Node, *, inherited_expert: bool) -> Node:
    """Without the knobs that are null; a parent's `expert` settings lose them too."""
    groups = tree.mapping.get("knobs")
    if groups is None:
        return tree
    dropped = {key for key, knob in _knobs(tree).items() if knob.value is None}
    kept = {
        kind: replace(
            group,
            value={key: knob for key, knob in group.mapping.items() if knob.value is not None},
        )
        if isinstance(group.value, Mapping)
        else group
        for kind, group in groups.mapping.items()
    }
    knobs = replace(groups, value=kept) if isinstance(groups.value, Mapping) else groups
    children = {**tree.mapping, "knobs": knobs}
    if inherited_expert and "expert" in children:
        children["expert"] = _without_keys(children["expert"], dropped)
    return replace(tree, value=children)


def _without_keys(settings: Node, dropped: set[str]) -> Node:
    """A list of settings without these keys, and without the settings that had no others."""
    items = []
    for item in settings.items:
        kept = {key: child for key, child in item.mapping.items() if key not in dropped}
        if kept or not item.mapping:
            items.append(replace(item, value=kept) if item.mapping else item)
    return replace(settings, value=tuple(items)) if settings.items else settings


def unknown_parent(name: str, node: Node, known: list[str]) -> ProfileError:
    """The error for a name that no folder of the search path has."""
    return ProfileError.at(
        node.mark, f"extends: no profile named {shown(name)}{did_you_mean(name, known)}"
    )
