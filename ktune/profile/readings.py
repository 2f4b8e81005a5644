"""Reads knob files in the scope of a profile, and says what can't be reached. Writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ktune.errors import RefusedError
from ktune.kernel.namespaces import NamespaceRef
from ktune.kernel.nsread import NamespaceError, Reading, read_here, read_in
from ktune.profile.model import NetnsScope, Profile

Reader = Callable[[Iterable[str]], Mapping[str, Reading]]
"""Paths -> readings as the scope sees them."""


def reader_for(profile: Profile, namespace: NamespaceRef | None = None) -> Reader:
    """How to read in the profile's scope.

    `namespace`: the live one of an ephemeral run; without it a fresh namespace stands for it,
    as the run would make it. Raises RefusedError when used, where there is no way in.
    """
    if namespace is None and isinstance(profile.scope, NetnsScope):
        namespace = NamespaceRef(profile.scope.netns)
    elif profile.scope == "host":
        return read_here

    def read(paths: Iterable[str]) -> Mapping[str, Reading]:
        try:
            return read_in(namespace, paths)
        except NamespaceError as error:
            raise _no_way_in(namespace, str(error)) from None

    return read


def _no_way_in(namespace: NamespaceRef | None, why: str) -> RefusedError:
    if namespace is None:
        return RefusedError(
            f"this host doesn't let you make a network namespace: {why}",
            hint="run it with sudo, or allow unprivileged user namespaces",
        )
    return RefusedError(
        f"can't enter the network namespace {namespace.netns}: {why}",
        hint="entering a namespace by path needs root; `ip netns list` shows what there is",
    )
