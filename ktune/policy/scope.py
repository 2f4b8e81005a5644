"""Where a policy is applied: the host, or a network namespace named by a path.

A namespace is identified by its cookie and the boot; the path is only the way to it
(a pid in `/proc/PID/ns/net` may be somebody else's tomorrow).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ktune.errors import KtuneError, RefusedError
from ktune.kernel.namespaces import NamespaceRef, boot_id, enter, netns_cookie
from ktune.policy import inside

_PROC_NETNS = re.compile(r"/proc/([0-9]+|self|thread-self)/ns/net\Z")


@dataclass(frozen=True)
class ScopeIdentity:
    """`cookie` 0 and no paths: the host."""

    boot_id: str
    cookie: int = 0
    netns: str | None = None
    userns: str | None = None

    @property
    def is_host(self) -> bool:
        return self.netns is None

    @property
    def ref(self) -> NamespaceRef | None:
        """How our child programs get there; None: they are there."""
        return None if self.netns is None else NamespaceRef(self.netns, self.userns)

    @property
    def text(self) -> str:
        """For people and the history."""
        return "host" if self.netns is None else f"netns:{self.netns}"

    @property
    def same_boot(self) -> bool:
        return self.boot_id == boot_id()

    def alive(self) -> bool:
        """Does the scope still exist? A namespace's settings end with it, the host's with the
        boot."""
        if not self.same_boot:
            return False
        return self.ref is None or cookie_of(self.ref) == self.cookie


def host_scope() -> ScopeIdentity:
    """The host's own settings."""
    return ScopeIdentity(boot_id())


def namespace_scope(path: str) -> ScopeIdentity:
    """The namespace behind `path`.

    Raises:
        RefusedError: there is none, or we may not enter it.
    """
    ref = namespace_ref(path)
    cookie = cookie_of(ref)
    if cookie is None:
        raise RefusedError(
            f"{path}: no network namespace that this user can enter",
            hint="`--netns` takes a path such as /proc/PID/ns/net or /run/netns/NAME",
        )
    if cookie == netns_cookie():
        raise RefusedError(
            f"{path} is the namespace that ktune itself runs in",
            hint="a policy for this namespace's own host needs scope: host",
        )
    return ScopeIdentity(boot_id(), cookie, ref.netns, ref.userns)


def namespace_ref(path: str) -> NamespaceRef:
    """`/proc/PID/ns/net` of another user namespace brings `/proc/PID/ns/user` along.

    Root needs no user namespace: it has every capability in those below it
    (user_namespaces(7)). Entering the one we are in is EINVAL, so that is left out too.
    """
    absolute = os.path.abspath(path)
    match = _PROC_NETNS.match(absolute)
    if os.geteuid() == 0 or not match:
        return NamespaceRef(absolute)
    user = f"/proc/{match[1]}/ns/user"
    try:
        same = os.readlink(user) == os.readlink("/proc/self/ns/user")
    except OSError:
        return NamespaceRef(absolute)
    return NamespaceRef(absolute, None if same else user)


def cookie_of(ref: NamespaceRef) -> int | None:
    """The namespace's cookie, None when it is gone or closed to us."""
    cookie = run_inside(ref, netns_cookie, otherwise=None)
    return cookie if isinstance(cookie, int) else None


def run_inside(ref: NamespaceRef | None, call: Callable[[], Any], *, otherwise: Any) -> Any:
    """`call()` in the scope; its result must be JSON. `otherwise` when the scope is closed to us.

    A child process enters, since setns(2) on a user namespace is for good. Raises NoProcess.
    """
    if ref is None:
        return call()

    def there() -> Any:
        enter(ref)
        return call()

    try:
        return inside.in_child(there)
    except inside.NoProcess:
        raise  # a scope is not gone because this process is short of something
    except (OSError, KtuneError):
        return otherwise
