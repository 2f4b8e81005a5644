"""A tree that the kernel follows, as a lease's owner asks for it: the module looks at its counters
and switches between assignments of the lease by itself. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ktune.kernel.tunable import Assignment
from ktune.kernel.values import Value
from ktune.proxy.client import Lease
from ktune.proxy.model import Json, thaw, value_to_json


@dataclass(frozen=True)
class TreeNow:
    """What the kernel has chosen. `leaf`: its number. `changes`: of the leaf, since the tree began.
    `looks`: a counter of the kernel's looks. `foreign`: knobs that somebody else has written, with
    what they read."""

    leaf: int
    changes: int
    looks: int
    paused: bool
    foreign: Mapping[str, Value | None]


def start_tree(
    lease: Lease,
    tree: bytes,
    leaves: Sequence[Assignment],
    *,
    alone_s: float,
    deadline_s: float,
) -> str:
    """Have the kernel follow `tree` (`policy.kernel_tree`) from now on; leaf i is `leaves[i]`.
    Returns why it can't; empty: it does.

    The lease is renewed as always. When user space dies the kernel goes on for `alone_s` seconds
    after the last renewal, then the baseline returns; 0: the baseline returns at once. While the
    tree is at work an `apply` is refused; the lease's end ends it.

    Raises:
        RefusedError: a value outside the limits, or a malformed request.
        LeaseLost: the guardian is gone.
    """
    reply = lease.ask(
        {
            "op": "tree_start",
            "tree": tree.hex(),
            "leaves": [
                {key: value_to_json(value) for key, value in leaf.items()} for leaf in leaves
            ],
            "alone_s": alone_s,
            "lease_s": deadline_s,
        }
    )
    return str(reply["refused"])


def pause_tree(lease: Lease) -> TreeNow:
    """Have it rest: what is in force stays, and the lease may apply. Raises RefusedError (there is
    no tree, or the kernel has ended it), LeaseLost."""
    return _now(lease.ask({"op": "tree_pause"}))


def resume_tree(lease: Lease) -> TreeNow:
    """Have it look again from now on; its leaf returns. Raises as `pause_tree`."""
    return _now(lease.ask({"op": "tree_resume"}))


def tree_now(lease: Lease) -> TreeNow:
    """What it has chosen. Raises as `pause_tree`."""
    return _now(lease.ask({"op": "tree_state"}))


def _now(raw: Json) -> TreeNow:
    return TreeNow(
        leaf=int(raw["leaf"]),
        changes=int(raw["changes"]),
        looks=int(raw["looks"]),
        paused=bool(raw["paused"]),
        foreign={str(key): thaw(value) for key, value in raw["foreign"].items()},
    )
