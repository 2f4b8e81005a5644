"""An adaptive policy whose tree the kernel follows: the watch has it rest for pairs, and asks what
it has chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from ktune.errors import RefusedError
from ktune.kernel.tunable import Assignment
from ktune.kernel.values import Value
from ktune.modes.watch.holder import LeasedHolder, NoHoldback
from ktune.modes.watch.spec import WatchSpec
from ktune.policy.deciding import Decider
from ktune.policy.kernel_tree import KernelPace, kernel_tree
from ktune.policy.tree import Switching, Tree
from ktune.proxy.client import Lease
from ktune.proxy.tree import TreeNow, pause_tree, resume_tree, start_tree, tree_now


@dataclass(frozen=True)
class KernelTree:
    """What the kernel is given. `alone_s`: it goes on for so long when user space has died."""

    tree: Tree
    leaves: Mapping[str, Assignment]
    first: str
    sample_s: float
    switching: Switching
    alone_s: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """By the kernel's numbers."""
        return tuple(self.leaves)

    def as_bytes(self) -> bytes:
        """Raises ValueError."""
        pace = KernelPace(self.sample_s, self.switching)
        return kernel_tree(self.tree, self.names, self.first, pace)


@dataclass(frozen=True)
class KernelSays:
    """The leaf that the kernel has chosen. `changes`: so many since it was last asked. `looked`:
    has it looked since the last pair?"""

    leaf: str
    changes: int
    looked: bool


class KernelHolder(LeasedHolder):
    """Holds the policy by a lease and has the kernel choose the leaf.

    Until the first `apply_policy` nobody chooses. A kernel that does not take the tree then leaves
    that to the watch; `decider` says who it is.
    """

    def __init__(
        self, lease: Lease, spec: WatchSpec, tree: KernelTree, *, deadline_s: float
    ) -> None:
        super().__init__(lease, spec, deadline_s=deadline_s)
        self._tree = tree
        self._leaf = tree.first
        self._changes = self._looks = 0
        self._follows = self._asked = False
        self._now: TreeNow | None = None
        self.decider = Decider()

    @contextmanager
    def holdback(self) -> Iterator[Lease]:
        """The tree rests; afterwards its leaf is in force again and it looks on."""
        if not self._follows:
            with super().holdback() as lease:
                yield lease
            return
        now = pause_tree(self._lease)
        changed = self._moved(now)
        if changed:
            resume_tree(self._lease)
            raise NoHoldback(changed)
        try:
            with super().holdback() as lease:
                yield lease
        finally:
            if self._lease.fileno() >= 0:  # not over
                self._now = resume_tree(self._lease)
                self._looks = self._now.looks

    def apply_policy(self, why: str) -> None:
        """The leaf's values; the first time the kernel takes over after that. Raises NotInForce."""
        super().apply_policy(why)
        if self._asked:
            return
        self._asked = True
        refused = start_tree(
            self._lease,
            self._tree.as_bytes(),
            list(self._tree.leaves.values()),
            alone_s=self._tree.alone_s,
            deadline_s=self._deadline_s,
        )
        self._follows = not refused
        self.decider = Decider(refused)
        if self._follows:
            self._now = tree_now(self._lease)
            self._looks = self._now.looks

    def renew(self) -> None:
        """Raises RefusedError (the kernel has ended the tree, and why), LeaseLost."""
        if not self._follows:
            super().renew()
            return
        try:
            super().renew()
        except RefusedError:
            tree_now(self._lease)  # says why the kernel has ended it
            raise
        self._now = tree_now(self._lease)

    def says(self) -> KernelSays | None:
        """What the kernel had chosen when the lease was renewed; None: it does not decide."""
        now = self._now
        if now is None:
            return None
        changes, self._changes = now.changes - self._changes, now.changes
        self._leaf = self._tree.names[now.leaf]
        return KernelSays(self._leaf, changes, now.looks > self._looks)

    def drift(self) -> dict[str, Value | None]:
        """The guardian knows what the kernel has put there, and what it has not."""
        return super().drift() if self._now is None else self._foreign(self._now)

    def _foreign(self, now: TreeNow) -> dict[str, Value | None]:
        mine = {knob.tunable.key for knob in self.spec.knobs if not knob.kernel_moves}
        return {key: value for key, value in now.foreign.items() if key in mine}

    def _moved(self, now: TreeNow) -> str:
        """Why no pair can begin: the watch does not know yet what it would be about."""
        if self._tree.names[now.leaf] != self._leaf:
            return f"the kernel has just chosen {self._tree.names[now.leaf]}"
        if taken := self._foreign(now):
            return f"changed by somebody else: {', '.join(sorted(taken))}"
        return ""
