"""Which user a workload runs as."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass

from ktune.errors import RefusedError
from ktune.kernel.programs import WORKLOAD_PATH

_NOBODY = "nobody"


@dataclass(frozen=True)
class Account:
    """A user to become; `change` is False when that is who we are already."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    change: bool

    def environment(self) -> dict[str, str]:
        """The whole environment of a workload: nothing of the tuner's own leaks into it."""
        return {
            "PATH": WORKLOAD_PATH,
            "LANG": "C.UTF-8",
            "HOME": self.home,
            "USER": self.name,
            "LOGNAME": self.name,
        }


def account_for(user: str | None) -> Account:
    """The account for a profile's `user:`; None means an unprivileged one.

    That is the caller, or for root the user behind sudo, else `nobody`.

    Raises:
        RefusedError: no such user, or only root may become that user.
    """
    me = os.geteuid()
    entry = _entry(user if user is not None else _default(me))
    if me not in (0, entry.pw_uid):
        raise RefusedError(
            f"the workload wants to run as {entry.pw_name}, which only root may do",
            hint="run with sudo, or leave out `user:`",
        )
    change = entry.pw_uid != me
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid)) if change else ()
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir, change)


def _default(me: int) -> str | int:
    if me != 0:
        return me
    behind_sudo = os.environ.get("SUDO_UID", "")
    return int(behind_sudo) if behind_sudo.isdecimal() and behind_sudo != "0" else _NOBODY


def _entry(user: str | int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(user) if isinstance(user, int) else pwd.getpwnam(user)
    except KeyError as error:
        if user == os.geteuid():
            # A uid without an account (containers) may still tune its own namespace.
            return pwd.struct_passwd((str(user), "x", user, os.getegid(), "", "/", ""))
        raise RefusedError(f"this host has no user {user}") from error
