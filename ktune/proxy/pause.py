"""How another command asks a running `watch` for the scope. Standard library only.

A watch holds its scope's lock for as long as it runs and listens on a socket beside the lock. Who
needs the scope connects, sends one line with its name, and is answered when the policy is in
force without a lease and the lock is free. The pause lasts as long as the connection: a command
that dies can't leave the watch paused.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ktune.errors import BusyError

_ANSWER_S = 30.0
"""A watch answers at its next poll (0.1 s) and after the restore; a stuck disk takes longer."""
_OK, _NO = b"paused\n", b"no: "
_MAX_ANSWER = 400
_MAX_NAME = 200


def pause_socket(runtime: Path, netns_cookie: int | None) -> Path:
    """Where the watch of a scope listens."""
    return runtime / ("watch-host.sock" if netns_cookie is None else f"watch-{netns_cookie}.sock")


@contextmanager
def asked_to_pause(runtime: Path, netns_cookie: int | None, who: str) -> Iterator[bool]:
    """Ask the watch of that scope, if one runs, to leave the scope until the block ends.

    Yields whether there was one. Raises BusyError when it does not answer.
    """
    path = pause_socket(runtime, netns_cookie)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with connection:
        connection.settimeout(_ANSWER_S)
        try:
            with _short(path) as name:
                connection.connect(name)
        except (FileNotFoundError, ConnectionRefusedError):
            yield False
            return
        except OSError as error:  # many ask already and none is answered, or it is not ours
            raise BusyError(
                f"the watch of this scope can't be asked: {path}: {error.strerror or error}",
                hint="`ktune status` names it",
            ) from error
        try:
            connection.sendall(
                who.encode(errors="replace")[:_MAX_NAME].replace(b"\n", b" ") + b"\n"
            )
            answer = connection.recv(_MAX_ANSWER)
        except OSError as error:
            raise BusyError(
                f"the watch of this scope does not answer: {error}", hint="`ktune status` names it"
            ) from error
        if answer.startswith(_NO):
            raise BusyError(
                answer.removeprefix(_NO).decode(errors="replace").strip(),
                hint="`ktune status` shows it",
            )
        if answer != _OK:
            raise BusyError("the watch of this scope ended while it was asked to pause")
        yield True


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name of a socket that fits into the 108 bytes of unix(7), however deep its folder lies."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class PauseDoor:
    """The watch's side: `waiting()` says who asks, `let_in()` answers, `done()` says that the pause
    is over. A context manager; the socket is gone afterwards."""

    def __init__(self, runtime: Path, netns_cookie: int | None) -> None:
        self.path = pause_socket(runtime, netns_cookie)
        self._guest: socket.socket | None = None
        self.path.unlink(missing_ok=True)  # of a watch that was killed; the scope's lock is ours
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with _short(self.path) as name:
            self._door.bind(name)
        os.chmod(self.path, 0o600)
        self._own = self.path.stat()
        self._door.listen(4)

    def fileno(self) -> int:
        """For poll(2): readable when somebody knocks."""
        return self._door.fileno()

    def waiting(self) -> str | None:
        """Who asks for the scope, or None; only the same user and root are heard."""
        if self._guest is not None:
            return None
        try:
            guest, _ = self._door.accept()
        except BlockingIOError:
            return None
        uid = struct.unpack("3i", guest.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        guest.settimeout(1.0)
        try:
            name = guest.recv(_MAX_NAME + 1).decode(errors="replace").strip()
        except OSError:
            name = ""
        if not name or uid not in (0, os.geteuid()):
            guest.close()
            return None
        self._guest = guest
        return name

    def let_in(self) -> None:
        """The scope is free: tell the guest."""
        if self._guest is not None:
            try:
                self._guest.sendall(_OK)
            except OSError:
                self._close_guest()  # it gave up waiting

    def refuse(self, why: str) -> None:
        """The scope can't be had; the guest is told and gone."""
        if self._guest is not None:
            with suppress(OSError):  # it gave up waiting
                self._guest.sendall(_NO + why.encode()[: _MAX_ANSWER - len(_NO) - 1] + b"\n")
            self._close_guest()

    def done(self, timeout_s: float) -> bool:
        """Wait at most so long for the guest to leave; True when it has."""
        if self._guest is None:
            return True
        self._guest.settimeout(timeout_s)
        try:
            if self._guest.recv(64):
                return False
        except TimeoutError:
            return False
        except OSError:
            pass  # gone, one way or another
        self._close_guest()
        return True

    def __enter__(self) -> PauseDoor:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_guest()
        self._door.close()
        try:
            if os.path.samestat(self.path.stat(), self._own):  # not that of a watch after us
                self.path.unlink()
        except FileNotFoundError:
            return

    def _close_guest(self) -> None:
        if self._guest is not None:
            self._guest.close()
            self._guest = None
