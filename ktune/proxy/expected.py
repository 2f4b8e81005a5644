"""By which way a lease would write here, without making one: for plans. Standard library only.

The guard is loaded and dropped, attached to nothing; the module is asked what it is.
"""

from __future__ import annotations

from collections.abc import Iterable

from ktune.kernel.cgroup2 import cgroup2_root
from ktune.proxy.backends import Backend, Standing
from ktune.proxy.guard.loaded import LoadedGuard
from ktune.proxy.guard.rules import guarded_name
from ktune.proxy.module.hold import NOT_IN_A_NAMESPACE, module_state


def expected_standing(paths: Iterable[str], *, on_host: bool) -> Standing:
    """Of a lease with `--proxy auto` on these files. That the module does not reach one of them
    (debugfs) shows in the lease only."""
    files = list(paths)
    unguarded = tuple(path for path in files if guarded_name(path) is None)
    why, blind = _guard(any_sysctl=len(unguarded) < len(files))
    backend = Backend.FILE if why else Backend.FILE_AND_BPF
    standing = Standing(backend, why, unguarded, blind)
    works, said = module_state() if on_host else (False, NOT_IN_A_NAMESPACE)
    if works:
        return standing.with_module(())
    return Standing(backend, why, unguarded, blind, said)


def _guard(*, any_sysctl: bool) -> tuple[str, str]:
    """Why there would be none, and why it would not know writers' network namespaces."""
    if not any_sysctl:
        return "none of the knobs is a sysctl", ""
    if cgroup2_root() is None:
        return "no cgroup2 is mounted: nowhere to attach the guard", ""
    try:
        guard = LoadedGuard()
    except OSError as error:
        return error.strerror or str(error), ""
    guard.close()
    return "", guard.netns_why
