"""The ephemeral scope: namespaces that a run makes for itself and that end with it.

A holder process owns them (see `holder`), so the namespaces, and with them every setting inside,
vanish whatever kills the tuner. Without root they come with a user namespace in which the caller
is uid 0 (user_namespaces(7)).
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ktune.errors import KtuneError, RefusedError
from ktune.kernel.namespaces import NamespaceRef
from ktune.kernel.tunable import sysctl_path
from ktune.kernel.waiting import close_and_wait, close_pipes
from ktune.measure.child import program

_READY_S = 10.0
_HOLDER = "ktune.measure.holder"
_RESTRICTIONS = (
    ("kernel.apparmor_restrict_unprivileged_userns", "1"),  # Ubuntu 24.04
    ("kernel.unprivileged_userns_clone", "0"),  # Debian's own switch
    ("user.max_user_namespaces", "0"),
)


@dataclass(frozen=True)
class KeptScope:
    """A scope that outlives the run: whom to tell to end (`end_kept`), and when it ends alone."""

    ref: NamespaceRef
    pid: int
    cookie: int
    seconds: float


class EphemeralScope:
    """Context manager: a network namespace of one's own, for as long as the block runs."""

    def __init__(self, *, with_user_namespace: bool | None = None) -> None:
        self._with_userns = (
            os.geteuid() != 0 if with_user_namespace is None else with_user_namespace
        )
        self._holder: subprocess.Popen[bytes] | None = None
        self._kept = False
        self.cookie = 0

    def __enter__(self) -> Self:
        self._holder = subprocess.Popen(
            program(_HOLDER, *(["--userns"] if self._with_userns else [])),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self.cookie = self._cookie_from(self._answer())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    @property
    def pid(self) -> int:
        """The holder's process id."""
        return self._running().pid

    @property
    def ref(self) -> NamespaceRef:
        """Where a process must go to see the scope."""
        base = f"/proc/{self.pid}/ns"
        return NamespaceRef(f"{base}/net", f"{base}/user" if self._with_userns else None)

    def alive(self) -> bool:
        """Does the scope still exist?"""
        return self._holder is not None and self._holder.poll() is None

    def keep(self, seconds: float = 600.0) -> KeptScope:
        """Let the scope outlive this process, for at most `seconds`."""
        holder = self._running()
        assert holder.stdin is not None
        holder.stdin.write(f"keep {seconds:.3f}\n".encode())
        holder.stdin.flush()
        if self._answer() != "kept":
            raise KtuneError("the ephemeral scope did not agree to stay")
        self._kept = True
        return KeptScope(self.ref, holder.pid, self.cookie, seconds)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._holder is None:
            raise KtuneError("the ephemeral scope is not open")
        return self._holder

    def _answer(self) -> str:
        holder = self._running()
        assert holder.stdout is not None
        if not select.select([holder.stdout], [], [], _READY_S)[0]:
            raise KtuneError(f"the ephemeral scope did not answer within {_READY_S:g} s")
        return holder.stdout.readline().decode("utf-8", "replace").strip()

    def _cookie_from(self, answer: str) -> int:
        word, _, rest = answer.partition(" ")
        if word == "ready":
            return int(rest)
        why = rest.partition(" ")[2] or "its holder died"
        raise RefusedError(
            f"this user may not make a network namespace ({why})", hint=_remedy(self._with_userns)
        )

    def _end(self) -> None:
        holder, self._holder = self._holder, None
        if holder is None:
            return
        if self._kept:
            close_pipes(holder)
            # Ours to reap no longer: it outlives us. Tell subprocess not to warn about it.
            holder.returncode = 0
            return
        close_and_wait(holder, 2.0)


def end_kept(pid: int, cookie: int) -> bool:
    """End a kept scope. False when that process is gone, or is no holder of that namespace."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not _is_holder(pid, cookie):
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        select.select([pidfd], [], [], 2.0)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)


def _is_holder(pid: int, cookie: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            if _HOLDER.encode() not in file.read().split(b"\0"):
                return False
        same_user_ns = os.readlink(f"/proc/{pid}/ns/user") == os.readlink("/proc/self/ns/user")
    except OSError:
        return False
    base = f"/proc/{pid}/ns"
    paths = [f"{base}/net", *([] if same_user_ns else [f"{base}/user"])]
    told = subprocess.run(
        program(_HOLDER, "--cookie-of", *paths), capture_output=True, timeout=_READY_S
    )
    return told.stdout.strip() == str(cookie).encode()


def _remedy(with_userns: bool) -> str:
    if not with_userns:
        return "even root may not make namespaces here (a container without CAP_SYS_ADMIN?)"
    for name, restricted in _RESTRICTIONS:
        try:
            with open(sysctl_path(name), encoding="ascii") as file:
                if file.read().strip() == restricted:
                    return f"user namespaces are restricted ({name} = {restricted}): sudo make tune"
        except OSError:
            continue
    return "user namespaces are restricted for this user: sudo make tune"
