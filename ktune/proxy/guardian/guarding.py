"""The guardian's guard: started before it enters a scope, given the lease's rules, listened to.

Standard library only.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from ktune.kernel.cgroup2 import cgroup2_root
from ktune.kernel.values import Value
from ktune.proxy.allowlist import Rule
from ktune.proxy.backends import Backend, ProxyChoice, Standing
from ktune.proxy.guard.foreign import Suspicion, suspicion
from ktune.proxy.guard.loaded import LoadedGuard
from ktune.proxy.guard.pinned import Introduced
from ktune.proxy.guard.rules import guarded_name, lease_rule, watched_rule
from ktune.proxy.guard.wire import Action, GuardEvent
from ktune.proxy.model import ForeignWrite, LeaseTunable, ProxyError
from ktune.proxy.planner import Held

_CARRIED_OUT_S = 0.02
"""How long a write that the guard heard of may take to show; a slower one (huge pages) is found
by the next look."""
_LOOK_S = 0.0005
WORKLOAD_GROUP = "ktune-window-"
"""How the names of groups begin that a run makes for its workload."""


class LeaseGuard:
    """A guard for one lease, or the reason why there is none."""

    def __init__(self, choice: ProxyChoice, groups: Iterable[str]) -> None:
        """Load it, audit the whole machine, bind our own `groups` of cgroup2. Never raises: `why`
        says what failed."""
        self._choice = choice
        self._loaded: LoadedGuard | None = None
        self._introduced: Introduced | None = None
        self._keys: dict[str, str] = {}
        self.why = ""
        if choice is ProxyChoice.FILE:
            return
        try:
            self._loaded = _started(groups)
            self._introduced = Introduced(self._loaded.own_pid)
        except OSError as error:
            self.why = str(error.strerror or error)

    @property
    def wake_fd(self) -> int | None:
        """Readable when somebody has written, None without a guard."""
        return None if self._loaded is None else self._loaded.wake_fd

    def watch(
        self,
        rules: Mapping[str, Rule],
        limits: Mapping[str, LeaseTunable],
        held: Mapping[str, Held],
        *,
        partners: Iterable[str],
        netns: int,
        by_module: bool,
    ) -> Standing:
        """Set the rules of the leased knobs (`limits`) and watch `partners` of theirs, too.

        `by_module`: the kernel module writes for us, from a thread of the kernel.

        Raises:
            ProxyError: `proxy`: the guard was asked for by name and does not work here.
        """
        if self._loaded is not None:
            try:
                if by_module:
                    self._own_kernel_threads()
                return self._set_rules(rules, limits, held, partners=partners, netns=netns)
            except (OSError, ValueError) as error:
                self.why = str(error)
                self.close()
        if self._choice is ProxyChoice.BPF:
            raise ProxyError("proxy", f"the BPF guard does not work here: {self.why}")
        return Standing(Backend.FILE, self.why)

    def bind(self, folder: str) -> None:
        """Hold the run's workload to the limits as well.

        Raises:
            ProxyError: not a group that a run made, or it can't be attached to.
        """
        if self._loaded is None:
            return
        root = cgroup2_root() or "/nowhere"
        inside = os.path.realpath(folder).startswith(os.path.realpath(root) + "/")
        if not inside or not os.path.basename(folder).startswith(WORKLOAD_GROUP):
            raise ProxyError("not-allowed", f"{folder} is no group that a run has made")
        try:
            self._loaded.bind(folder)
        except OSError as error:
            raise ProxyError("proxy", f"{folder}: {error.strerror}") from error

    def heard(
        self, held: Mapping[str, Held], read: Callable[[str], Value | None]
    ) -> list[ForeignWrite]:
        """Knobs that others have changed, as far as the guard has told since the last call.

        `found` is what is in force; where it is what we expect, the value that was there meanwhile.
        """
        if self._loaded is None:
            return []
        told: dict[str, list[GuardEvent]] = defaultdict(list)
        for event in self._loaded.events():
            key = self._keys.get(event.knob)
            if key is not None and not held[key].foreign and not held[key].kernel_moves:
                told[key].append(event)
        suspects = {
            key: found
            for key, events in told.items()
            if (found := suspicion(events, held[key].tunable.type, held[key].expected))
        }
        return _confirmed(suspects, held, read)

    def close(self) -> None:
        """Detach. A second call does nothing."""
        if self._introduced is not None:
            self._introduced.close()
            self._introduced = None
        if self._loaded is not None:
            self._loaded.close()
            self._loaded = None

    def _own_kernel_threads(self) -> None:
        assert self._loaded is not None and self._introduced is not None
        self._loaded.kernel_threads_are_ours()
        self._introduced.kernel_threads()

    def _set_rules(
        self,
        rules: Mapping[str, Rule],
        limits: Mapping[str, LeaseTunable],
        held: Mapping[str, Held],
        *,
        partners: Iterable[str],
        netns: int,
    ) -> Standing:
        assert self._loaded is not None
        made = []
        unguarded = []
        for key, asked in limits.items():
            rule = lease_rule(
                rules[key], asked, held[key].original, action=Action.DENY, netns=netns
            )
            if rule is None:
                unguarded.append(key)
            else:
                made.append(rule)
                self._keys[rule.name] = key
        for key in set(partners) - limits.keys():
            path = held[key].tunable.path
            name = guarded_name(path)
            watched = watched_rule(path, netns=netns if rules[key].namespaced else 0)
            if name is not None and watched is not None:
                made.append(watched)
                self._keys[name] = key
        self._loaded.set_rules(made)
        if not self._keys:
            self.close()
            return Standing(Backend.FILE, "none of the knobs is a sysctl", tuple(unguarded))
        return Standing(Backend.FILE_AND_BPF, "", tuple(unguarded), self._loaded.netns_why)


def _started(groups: Iterable[str]) -> LoadedGuard:
    loaded = LoadedGuard()
    try:
        loaded.audit_everybody()
        for folder in groups:
            loaded.bind(folder)
    except OSError:
        loaded.close()
        raise
    return loaded


def _confirmed(
    suspects: dict[str, Suspicion],
    held: Mapping[str, Held],
    read: Callable[[str], Value | None],
) -> list[ForeignWrite]:
    """Those whose write was carried out: it shows now, or a later writer has seen it."""
    found = []
    until_s = time.monotonic() + _CARRIED_OUT_S
    while suspects:
        for key, item in list(suspects.items()):
            live = read(key)
            expected = held[key].expected
            if live not in (None, expected):
                found.append(ForeignWrite(key, expected, live, item.writer))
                del suspects[key]
        if not suspects or time.monotonic() >= until_s:
            break
        time.sleep(_LOOK_S)
    for key, item in suspects.items():
        if item.passing is not None:
            found.append(ForeignWrite(key, held[key].expected, item.passing, item.writer))
    return found
