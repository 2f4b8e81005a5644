"""Which assignment of an adaptive policy is in force: looks at the workload, follows the tree.

The decision is `policy.tree.follow`, pure; the write goes through the holder's lease like every
other. A pair that was measured while the workload was in another context than that of the leaf in
force says nothing about that leaf: `InContext` makes such windows void.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from ktune.errors import KtuneError
from ktune.kernel.namespaces import NamespaceRef
from ktune.kernel.tunable import Assignment
from ktune.measure.fingerprint import Fingerprint
from ktune.measure.fingerprinted import taken
from ktune.measure.services.from_profile import services_of
from ktune.measure.window import Grouped, Poll, Validity, WindowResult, WindowSource
from ktune.modes.source import window_source
from ktune.modes.watch.kernel_holder import KernelSays, KernelTree
from ktune.modes.watch.spec import WatchSpec
from ktune.policy.check import CheckedPolicy
from ktune.policy.model import PolicyContexts
from ktune.policy.tree import Chosen, Switching, Tree, choose, follow
from ktune.profile.model import Profile
from ktune.profile.phases import in_phase

Look = Callable[[], Mapping[str, int]]
Kernel = Callable[[], KernelSays | None]
"""The features since the last look."""


@dataclass
class Adaptive:
    """The leaf in force and what speaks for another. `look` takes the fingerprint."""

    tree: Tree
    switching: Switching
    leaves: Mapping[str, Assignment]
    sample_s: float
    look: Look
    chosen: Chosen
    kernel: Kernel = lambda: None
    """What the kernel has chosen, where it does."""
    clock_s: Callable[[], float] = time.monotonic
    due_s: float = -math.inf
    """Next look, on the clock."""
    fresh: bool = False
    """Has there been a look since the last pair? Pairs that follow each other closely must not
    keep the tree from being asked."""

    def followed(self) -> KernelSays | None:
        """The kernel's choice, which is in force already; None: it is for us to choose. Raises
        KtuneError."""
        says = self.kernel()
        if says is None:
            return None
        now_s = self.clock_s()
        self.fresh = says.looked
        self.due_s = math.inf if says.looked else now_s + self.sample_s
        if says.leaf != self.chosen.leaf:
            self.chosen = Chosen(says.leaf, now_s)
        return says

    def wanted(self) -> str | None:
        """Look, if it is time: the leaf to switch to, or None. Raises KtuneError."""
        now_s = self.clock_s()
        if now_s < self.due_s:
            return None
        self.due_s = now_s + self.sample_s
        self.fresh = True
        before = self.chosen.leaf
        self.chosen = follow(self.chosen, self.tree, self.look(), now_s, self.switching)
        return None if self.chosen.leaf == before else self.chosen.leaf

    def discard(self) -> None:
        """What was seen since the last look is not the leaf's alone (a holdback, a pause)."""
        self.look()
        self.due_s = self.clock_s() + self.sample_s
        self.fresh = False

    def in_context(self, found: Mapping[str, int]) -> bool:
        """Does the workload look as it does in the context of the leaf in force?"""
        leaf = self.chosen.leaf
        return choose(self.tree, found, now=leaf, hysteresis=self.switching.hysteresis) == leaf

    def spec_of(self, spec: WatchSpec) -> WatchSpec:
        """The watch with the values of the leaf; knobs that others took over stay out."""
        values = self.leaves[self.chosen.leaf]
        knobs = tuple(replace(knob, policy=values[knob.tunable.key]) for knob in spec.knobs)
        return replace(spec, knobs=knobs)


class Restful(WindowSource, Protocol):
    """A source that can end what it keeps ready between windows."""

    def close(self) -> None:
        """The next window starts it again."""


@dataclass(frozen=True)
class InContext:
    """Measures by the phase of the leaf in force; void where the workload is in another context."""

    adaptive: Adaptive
    sources: Mapping[str, Restful]
    look: Look

    def run(self, poll: Poll) -> WindowResult:
        """Measure one window. Raises KtuneError."""
        leaf = self.adaptive.chosen.leaf
        self.look()
        result = self.sources[leaf].run(poll)
        found = self.look()
        if result.valid and not self.adaptive.in_context(found):
            reason = f"the workload left the context of {leaf}"
            return WindowResult({}, result.duration_s, Validity.VOID, reason)
        return result

    def group(self) -> str | None:
        """Of the source that measures the leaf in force."""
        source = self.sources[self.adaptive.chosen.leaf]
        return source.group() if isinstance(source, Grouped) else None

    def close(self) -> None:
        """End what the sources keep ready."""
        for source in self.sources.values():
            source.close()


@contextmanager
def adapting(
    checked: CheckedPolicy, profile: Profile, scope: NamespaceRef | None
) -> Iterator[tuple[Adaptive, Restful]]:
    """What switches an adaptive policy, and what measures it. Raises KtuneError."""
    with ExitStack() as stack:
        outside, inside = (stack.enter_context(Fingerprint.of(scope)) for _ in range(2))
        adaptive = begun(checked, lambda: taken(outside))
        services = services_of(profile, scope)
        sources = {
            name: stack.enter_context(
                window_source(_of_phase(profile, leaf.phases[0]), scope, services=services)
            )
            for name, leaf in _contexts(checked).leaves.items()
        }
        yield adaptive, InContext(adaptive, sources, lambda: taken(inside))


def begun(checked: CheckedPolicy, look: Look) -> Adaptive:
    """In the policy's own assignment, free to switch at once: nobody knows the context yet."""
    contexts = _contexts(checked)
    return Adaptive(
        tree=contexts.parsed_tree,
        switching=Switching(contexts.dwell, contexts.looks, contexts.hysteresis),
        leaves=checked.leaves,
        sample_s=contexts.sample,
        look=look,
        chosen=Chosen(contexts.first, -math.inf),
    )


def kernel_tree_of(checked: CheckedPolicy, *, baseline_on_death: bool) -> KernelTree:
    """The tree as the kernel is given it."""
    contexts = _contexts(checked)
    return KernelTree(
        tree=contexts.parsed_tree,
        leaves=checked.leaves,
        first=contexts.first,
        sample_s=contexts.sample,
        switching=Switching(contexts.dwell, contexts.looks, contexts.hysteresis),
        alone_s=0.0 if baseline_on_death else contexts.alone_for,
    )


def _contexts(checked: CheckedPolicy) -> PolicyContexts:
    contexts = checked.policy.document.contexts
    if contexts is None:
        raise KtuneError(f"{checked.policy.document.name} does not adapt")
    return contexts


def _of_phase(profile: Profile, name: str) -> Profile:
    """A profile without phases measures every leaf alike."""
    phases = profile.workload.phases if profile.workload else None
    return in_phase(profile, name) if phases else profile
