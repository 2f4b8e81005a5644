"""The tree of an adaptive policy as the kernel module takes it (kmod/uapi/ktune_modes.h). Pure.

The module compares whole numbers and knows no shares: what hysteresis makes of each threshold is
worked out here, with the very expression of `policy.tree.choose`, so that both always answer alike.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from ktune.policy.tree import MAX_DEPTH, MAX_LEAVES, Question, Switching, Tree, leaves
from ktune.profile.features import FEATURES
from ktune.proxy.module.modes import Keeps

VERSION = 1
_LEAF = 0x80
_MAX_NODES = 2**MAX_DEPTH - 1
_HEAD = struct.Struct("=4I5B3x")
_NODE = struct.Struct("=3Q3B5x")
_FEATURE_NUMBERS = {name: number for number, name in enumerate(FEATURES)}


@dataclass(frozen=True)
class KernelPace:
    """How often the kernel looks, and what happens when nobody watches it any more."""

    sample_s: float
    switching: Switching
    keeps: Keeps = Keeps.NOT
    """When user space has died."""


def kernel_tree(tree: Tree, names: Sequence[str], first: str, pace: KernelPace) -> bytes:
    """The tree as bytes; leaf `names[i]` is the module's assignment number i.

    `first`: the leaf in force before the first look.

    Raises:
        ValueError: a leaf without a number, or a tree larger than the module takes.
    """
    if set(leaves(tree)) != set(names) or not 1 <= len(names) <= MAX_LEAVES:
        raise ValueError(f"the leaves {', '.join(leaves(tree))} are not {', '.join(names)}")
    nodes: list[bytes] = []
    numbers = {name: number for number, name in enumerate(names)}
    root = _placed(tree, numbers, pace.switching.hysteresis, nodes)
    if len(nodes) > _MAX_NODES:
        raise ValueError(f"more than {_MAX_NODES} questions")
    head = _HEAD.pack(
        VERSION,
        round(1000 * pace.sample_s),
        math.ceil(1000 * pace.switching.dwell_s),
        pace.switching.looks,
        len(nodes),
        len(names),
        root,
        numbers[first],
        pace.keeps,
    )
    return (head + b"".join(nodes)).ljust(_HEAD.size + _MAX_NODES * _NODE.size, b"\0")


def features_in(mask: int) -> tuple[str, ...]:
    """The names of the features whose bits are set."""
    return tuple(name for name, number in _FEATURE_NUMBERS.items() if mask >> number & 1)


def _placed(tree: Tree, numbers: dict[str, int], hysteresis: float, nodes: list[bytes]) -> int:
    """Append the nodes, a parent before its children; the reference to `tree`."""
    if not isinstance(tree, Question):
        return _LEAF | numbers[tree]
    place = len(nodes)
    nodes.append(b"")
    then = _placed(tree.then, numbers, hysteresis, nodes)
    otherwise = _placed(tree.otherwise, numbers, hysteresis, nodes)
    threshold = float(tree.threshold)
    nodes[place] = _NODE.pack(
        tree.threshold,
        math.ceil(threshold * (1 - hysteresis)),  # a whole number is not below a share iff not
        math.ceil(threshold * (1 + hysteresis)),  # below the share rounded up
        _FEATURE_NUMBERS[tree.feature],
        then,
        otherwise,
    )
    return place
