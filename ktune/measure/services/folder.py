"""The folder of a running service: one run at a time, reachable for its user, gone afterwards.

The state folder is its owner's alone; as root the way down to a service is opened for passing
through (0711), never for looking.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path

from ktune.errors import BusyError, RefusedError
from ktune.measure.held_folder import Hold, Taken, hold
from ktune.measure.user import Account
from ktune.profile.services.places import Place
from ktune.records.services import RunningService

_LONGEST_SOCKET = 107  # sun_path without its NUL, unix(7)
_PASS = 0o711


class ServiceFolder:
    """Context manager: the folder is this run's. On the way out it is removed.

    Raises on the way in:
        BusyError: another run has it.
        RefusedError: the service's user can't get there, or the path is too long for a socket.
        OSError: it can't be made.
    """

    def __init__(self, place: Place, account: Account, shared: bool) -> None:
        self._place, self._account, self._shared = place, account, shared
        self._hold: Hold | None = None

    def __enter__(self) -> ServiceFolder:
        folder = Path(self._place.folder)
        self._hold = _held(folder)
        try:
            shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
            folder.mkdir(mode=_PASS)
            if self._account.change:
                _open_way(folder, self._account)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        held, self._hold = self._hold, None
        if held is not None:
            shutil.rmtree(self._place.folder, ignore_errors=True)
            held.release()

    def tell(self, running: RunningService) -> None:
        """For `ktune status`."""
        assert self._hold is not None
        self._hold.tell(running)

    def empty_data(self) -> None:
        """A new data folder, ours until `hand_over`."""
        shutil.rmtree(self._place.data, ignore_errors=True)
        os.mkdir(self._place.data, 0o700)

    def hand_over(self) -> None:
        """The data folder becomes the server's."""
        self._give(self._place.data)

    def empty_sockets(self) -> None:
        """Without the socket of a server that was killed."""
        path = self._place.sockets
        shutil.rmtree(path, ignore_errors=True)
        os.mkdir(path, 0o700)
        os.chmod(path, _PASS if self._shared else 0o700)
        self._give(path)

    def write(self, name: str, text: str) -> None:
        """A file of the data folder, in the place of whatever has that name."""
        path = f"{self._place.data}/{name}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            if self._account.change:
                os.fchown(file.fileno(), self._account.uid, self._account.gid)

    def _give(self, path: str) -> None:
        if self._account.change:
            os.chown(path, self._account.uid, self._account.gid)


def check_socket(place: Place, kind: str, port: int | None) -> None:
    """Raises RefusedError where the path is too long to be one."""
    path = place.socket_file(kind, port)
    if len(os.fsencode(path)) > _LONGEST_SOCKET:
        raise RefusedError(
            f"{path} is too long for a Unix socket ({len(os.fsencode(path))} bytes of at most "
            f"{_LONGEST_SOCKET})",
            hint="use a shorter --state-dir",
        )


def _held(folder: Path) -> Hold:
    try:
        return hold(folder)
    except Taken as taken:
        raise BusyError(
            f"another run of this profile{taken} has the service in {folder}",
            hint="wait for it to end, or give this run a --state-dir of its own",
        ) from None


def _open_way(folder: Path, account: Account) -> None:
    """Let the service's user pass down to `folder`, through what is ours."""
    for above in reversed([folder, *folder.parents]):
        found = above.stat()
        if _may_pass(found, account):
            continue
        if found.st_uid != os.geteuid() or not _ours(above, folder):
            raise RefusedError(
                f"user {account.name}, who runs the service, can't get past {above} "
                f"(mode {stat.S_IMODE(found.st_mode):04o})",
                hint="use a --state-dir that everybody may pass through, or `user:`",
            )
        above.chmod(stat.S_IMODE(found.st_mode) | 0o011)


def _ours(above: Path, folder: Path) -> bool:
    """The state folder (`folder` is STATE/services/run/NAME) and what is below."""
    return above == folder or above in list(folder.parents)[:3]


def _may_pass(found: os.stat_result, account: Account) -> bool:
    if found.st_uid == account.uid:
        return bool(found.st_mode & 0o100)
    if found.st_gid in (account.gid, *account.groups):
        return bool(found.st_mode & 0o010)
    return bool(found.st_mode & 0o001)
