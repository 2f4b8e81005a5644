"""Where the study's trials are kept: its own journal file, or a database that the user names.

Promises: two runs never write one journal at a time; a record cut short by a crash or a full disk
costs that record only; nothing foreign is unpickled. Optuna's CmaEsSampler keeps its state as a
pickle in the storage, and its Redis journal is a pickle too: cmaes is tied to the run's own local
journal, Redis is refused.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import stat
from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ktune.errors import BusyError, ExitCode, KtuneError, UsageError
from ktune.search.quiet import quiet
from ktune.search.samplers import SamplerName
from ktune.search.thinning import thinned

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

LOG = logging.getLogger("ktune.search")

DATABASES = ("sqlite", "postgresql", "mysql", "mariadb")
"""URL schemes of Optuna's relational storage (a driver may follow: `postgresql+psycopg`)."""


def check_url(url: str, sampler: SamplerName) -> None:
    """Refuse a storage URL that is not trusted or not known; says so before anything is opened.

    Raises:
        KtuneError: exit 7 for Redis, or cmaes on anything but the local journal; exit 2 otherwise.
    """
    scheme = urlsplit(url).scheme.lower()
    if "redis" in scheme:
        raise KtuneError(
            "a Redis storage is refused: Optuna unpickles what it reads from there",
            hint=f"leave out --storage, or use one of {', '.join(DATABASES)}",
            exit_code=ExitCode.UNTRUSTED,
        )
    if scheme.partition("+")[0] not in DATABASES:
        raise UsageError(
            f"--storage: unknown kind of storage {scheme or url!r}",
            hint=f"known: {', '.join(f'{name}://...' for name in DATABASES)}",
        )
    if sampler is SamplerName.CMAES:
        raise KtuneError(
            "the sampler cmaes is refused with --storage: it unpickles its state from there",
            hint="leave out --storage (the run's own journal), or use another sampler",
            exit_code=ExitCode.UNTRUSTED,
        )


def open_database(url: str, sampler: SamplerName) -> BaseStorage:
    """Optuna's relational storage behind a checked URL; its password is never repeated."""
    check_url(url, sampler)
    from optuna.storages import RDBStorage, get_storage
    from sqlalchemy.exc import SQLAlchemyError

    kind = urlsplit(url).scheme
    try:
        with quiet():
            return get_storage(RDBStorage(url))
    except ImportError as error:
        raise KtuneError(
            f"--storage {kind}: its Python driver is not installed ({_missing_module(error)})",
            hint="pip install the driver that SQLAlchemy documents for this database",
        ) from None
    except (SQLAlchemyError, RuntimeError, ValueError) as error:
        raise KtuneError(f"--storage {kind}: can't be opened ({type(error).__name__})") from None


def _missing_module(error: ImportError) -> str:
    """Optuna wraps the error that has the name."""
    cause = error.__cause__
    named = cause.name if isinstance(cause, ImportError) else None
    return named or error.name or str(error)


class Journal:
    """The run's own journal file, held by this process alone until `close`."""

    def __init__(self, path: Path, sampler: SamplerName) -> None:
        """Open or create it (mode 0600), take its lock, set a damaged end aside.

        Raises:
            BusyError: another run holds it.
            KtuneError: exit 7 where cmaes would unpickle from a file that others may write.
        """
        self.path = path
        self._lock = _locked(path)
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            if sampler is SamplerName.CMAES:
                _refuse_shared(path)
            _set_damage_aside(path)
        except BaseException:
            self.close()
            raise

    def storage(self) -> BaseStorage:
        """Optuna's storage on this journal."""
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
        from optuna.trial import TrialState

        class Backend(JournalFileBackend):
            """Without Optuna's lock around each record: this process holds the journal all along,
            and nobody waits 30 s for the lock of a killed run."""

            def append_logs(self, logs: list[dict[str, Any]]) -> None:
                _append(path, logs)

        class Storage(JournalStorage):
            """What asks for trials by a state that is finished is the sampler: it gets those that
            matter. Everybody else asks for all."""

            def get_all_trials(
                self,
                study_id: int,
                deepcopy: bool = True,
                states: Container[TrialState] | None = None,
            ) -> list[FrozenTrial]:
                found = super().get_all_trials(study_id, deepcopy, states)
                sampling = states is not None and TrialState.COMPLETE in states
                return thinned(found) if sampling else found

        path = self.path
        with quiet():
            return Storage(Backend(str(path)))

    def close(self) -> None:
        """Give the journal free."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _append(path: Path, logs: list[dict[str, Any]]) -> None:
    """Append records with one write each time; a write cut short is taken back.

    Without fsync: a killed process loses nothing that way, a power cut at most the last trials,
    and the kernel's state never depends on this file. (Optuna's own backend syncs every record,
    nine or more a trial, 35 ms each while a workload writes.)
    """
    data = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        before = os.fstat(descriptor).st_size
        try:
            written = os.write(descriptor, data)
        except OSError:
            os.ftruncate(descriptor, before)
            raise
        if written != len(data):
            os.ftruncate(descriptor, before)
            raise OSError(f"wrote {written} of {len(data)} bytes to {path}")
    except OSError as error:
        raise KtuneError(
            f"the search journal {path} can't be written: {error.strerror or error}",
            hint="make room, then go on with `ktune tune --resume`",
        ) from error
    finally:
        os.close(descriptor)


def _locked(path: Path) -> int:
    """A POSIX lock on a file beside the journal.

    Not flock: a forked child would inherit and keep it. Beside, not on the journal: a POSIX lock
    goes when *any* descriptor of its file is closed, and Optuna opens the journal for each record.
    """
    beside = path.with_name(path.name + ".owner")
    descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise BusyError(f"another run holds the study of {path}", hint="end it first") from None
    return descriptor


def _refuse_shared(path: Path) -> None:
    found = path.stat()
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise KtuneError(
            f"the sampler cmaes is refused: others may write {path}, and it unpickles from there",
            hint="use another sampler",
            exit_code=ExitCode.UNTRUSTED,
        )


def _set_damage_aside(path: Path) -> None:
    """Keep the whole records before the first broken one; move the rest to `*.damaged`."""
    data = path.read_bytes()
    good = 0
    for line in data.splitlines(keepends=True):
        if not line.endswith(b"\n") or not _is_record(line):
            break
        good += len(line)
    if good == len(data):
        return
    path.with_name(path.name + ".damaged").write_bytes(data[good:])
    os.truncate(path, good)
    LOG.warning("%s: %d bytes after a broken record set aside", path, len(data) - good)


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
