"""Data of services: made once, kept in the state folder, copied before each start from nothing."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ktune.measure.user import Account
from ktune.measure.window import Poll
from ktune.proxy.folders import private_folder
from ktune.records import atomic

_CHUNK = 8 << 20
_SPARE_BYTES = 16 << 20
_POLL_S = 0.05
_FACTS = "template.json"
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Template:
    """One template. `facts`: what it was made of; `secret`: a password in it, if any."""

    folder: Path
    facts: Mapping[str, str | int]

    @property
    def data(self) -> Path:
        """What is copied."""
        return self.folder / "data"

    @property
    def made(self) -> bool:
        """Whether it is there, whole."""
        return (self.folder / _FACTS).is_file()

    @property
    def secret(self) -> str:
        """Drawn when it was made. Raises OSError, ValueError."""
        return str(json.loads((self.folder / _FACTS).read_text())["secret"])


def template_of(state: Path, kind: str, facts: Mapping[str, str | int]) -> Template:
    """The template of these facts, made or not: other facts (a version, a scale), another one."""
    text = json.dumps(facts, sort_keys=True)
    digits = hashlib.sha256(text.encode()).hexdigest()[:12]
    return Template(state / "services" / "templates" / f"{kind}-{digits}", facts)


def make(template: Template, data: Path, fill: Callable[[str], None]) -> None:
    """Have `fill(secret)` fill `data` and keep that as the template. Raises what `fill` raises,
    OSError. Another run that makes it meanwhile is waited for."""
    private_folder(template.folder)
    with atomic.exclusive(template.folder):
        if template.made:
            return
        secret = secrets.token_hex(16)
        fill(secret)
        shutil.rmtree(template.data, ignore_errors=True)
        os.rename(data, template.data)
        atomic.write_json(template.folder / _FACTS, {**template.facts, "secret": secret})


def restore(template: Template, data: Path, account: Account, poll: Poll) -> None:
    """Copy it into the empty folder `data`, as `account`'s, and wait until it is on the disk: no
    window shall pay for writing it. The folder itself stays ours until all is in it.

    Raises OSError (ENOSPC before the first byte, if it can be seen to come).
    """
    plan = list(_entries(template.data, account))
    need = sum(found.st_blocks * 512 for _, found in plan) + _SPARE_BYTES
    room = os.statvfs(data)
    if need > room.f_bavail * room.f_frsize:
        raise OSError(errno.ENOSPC, f"{need >> 20} MiB are wanted")
    for path, found in plan:
        poll()
        target = data / path.relative_to(template.data)
        if stat.S_ISDIR(found.st_mode):
            target.mkdir(mode=stat.S_IMODE(found.st_mode), exist_ok=True)
        else:
            _copy(path, target, stat.S_IMODE(found.st_mode), poll)
        if account.change:
            os.chown(target, account.uid, account.gid)
    _written_back(data, poll)


def _entries(data: Path, account: Account) -> Iterator[tuple[Path, os.stat_result]]:
    """Folders and files, parents first. Whatever the server's user has smuggled in stays out."""
    for folder, names, files in os.walk(data):
        for name in (*sorted(names), *sorted(files)):
            path = Path(folder, name)
            found = path.lstat()
            if stat.S_ISSOCK(found.st_mode):
                continue
            plain = stat.S_ISDIR(found.st_mode) or (
                stat.S_ISREG(found.st_mode) and found.st_nlink == 1
            )
            if not plain or found.st_uid not in (account.uid, os.geteuid()):
                raise OSError(errno.EINVAL, f"{path} is no plain file of the service's own")
            yield path, found


def _copy(source: Path, target: Path, mode: int, poll: Poll) -> None:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    into = os.open(target, flags, mode)
    with os.fdopen(into, "wb", buffering=0), open(source, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        done = 0
        while done < size:
            try:
                step = os.copy_file_range(file.fileno(), into, min(_CHUNK, size - done))
            except OSError:  # another file system, or one that can't
                step = os.sendfile(into, file.fileno(), done, _CHUNK)
            if step == 0:
                break
            done += step
            poll()


def _written_back(folder: Path, poll: Poll) -> None:
    """syncfs(2), while `poll` goes on."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        thread = threading.Thread(target=_LIBC.syncfs, args=(fd,), daemon=True)
        thread.start()
        while thread.is_alive():
            poll()
            thread.join(_POLL_S)
    finally:
        if not thread.is_alive():
            os.close(fd)
