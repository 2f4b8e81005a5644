"""Who chooses among the assignments of an adaptive policy: the kernel module, or `ktune watch`, and
then why. Reads only."""

from __future__ import annotations

from dataclasses import dataclass

from ktune.policy.kernel_tree import features_in
from ktune.policy.tree import Tree, features
from ktune.profile.features import FEATURES
from ktune.proxy.backends import ProxyChoice, Standing
from ktune.proxy.module import modes
from ktune.proxy.module.hold import module_state


@dataclass(frozen=True)
class Decider:
    """`why`: why not the kernel; empty: the kernel."""

    why: str = ""

    @property
    def is_kernel(self) -> bool:
        return not self.why

    @property
    def text(self) -> str:
        """For people."""
        return f"ktune watch ({self.why})" if self.why else "kernel"


def decider_of(tree: Tree, standing: Standing) -> Decider:
    """Of a lease that is open."""
    why = _out_of_reach(standing)
    return Decider(why) if why else _asked(tree)


def by_any_tree(standing: Standing) -> str:
    """The same in words, before there is a tree."""
    why = _out_of_reach(standing)
    return Decider(why).text if why else f"kernel, unless its tree asks for {_uncounted()}"


def foreseen(tree: Tree, proxy: ProxyChoice, *, on_host: bool) -> Decider:
    """Of a lease that is not open yet."""
    if proxy not in (ProxyChoice.AUTO, ProxyChoice.MODULE):
        return Decider(f"--proxy {proxy.value}")
    if not on_host:
        return Decider("the kernel module holds knobs of the host only")
    there, said = module_state()
    return _asked(tree) if there else Decider(f"no kernel module: {said}")


def uncountable() -> tuple[str, ...]:
    """Features that the kernel module can't count here. Raises OSError: there is no module."""
    known = features_in(modes.known_features())
    return tuple(name for name in FEATURES if name not in known)


def _out_of_reach(standing: Standing) -> str:
    if not standing.by_module:
        why = standing.module_why or f"its lease goes by {standing.backend.value}"
        return f"no kernel module: {why}"
    if standing.by_file:
        return f"the kernel module can't write {', '.join(standing.by_file)}"
    return ""


def _uncounted() -> str:
    try:
        return ", ".join(uncountable())
    except OSError as error:
        return f"what it can't count ({error.strerror})"


def _asked(tree: Tree) -> Decider:
    try:
        missing = set(features(tree)) & set(uncountable())
    except OSError as error:
        return Decider(f"no kernel module: {error.strerror}")
    if missing:
        return Decider(f"the kernel module can't count {', '.join(sorted(missing))}")
    return Decider()
