"""One server of a run: started, ready, restarted, restored, watched, stopped."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ktune.kernel.namespaces import NamespaceRef
from ktune.measure.cgroup import WindowCgroup
from ktune.measure.job import Job, Outcome, job_fields
from ktune.measure.services.errors import ServiceError
from ktune.measure.services.folder import ServiceFolder
from ktune.measure.services.keeper_client import Death, Keeper, StartFailed
from ktune.measure.services.kind import Ground, Kind
from ktune.measure.services.template import Template, make, restore
from ktune.measure.spawner_client import Spawner
from ktune.measure.user import Account
from ktune.measure.window import Poll
from ktune.proxy.folders import private_folder
from ktune.records.clock import now
from ktune.records.services import RunningService

if TYPE_CHECKING:  # the runner needs no model
    from ktune.profile.services.programs import ProgramService

FILL = "ktune.measure.workloads.fill"
_GENTLE_S = 60.0
_READY_S = 120.0
_PAUSE_S = 0.02
_SHOWN = 600
_MOST_WORDS = 1 << 20
_FULL_BYTES = 1 << 20
_TAKEN = ("Address already in use", "Address in use")


@dataclass(frozen=True)
class Setup:
    """Everything about a service that does not change while a run lasts.

    `shared`: its clients are another user. `log`: where its words go.
    """

    service: ProgramService
    kind: Kind
    ground: Ground
    account: Account
    scope: NamespaceRef | None
    template: Template | None
    log: Path
    shared: bool
    profile: str


class Service:
    """A server and its keeper. Every method may raise ServiceError and what `poll` raises;
    afterwards it is down, and `ensure` starts it anew."""

    def __init__(self, setup: Setup, spawner: Spawner, group: str | None) -> None:
        self._setup = setup
        self._spawner = spawner
        self._parent_group = group
        self._folder = ServiceFolder(setup.ground.place, setup.account, setup.shared)
        self._ground = setup.ground
        self._keeper: Keeper | None = None
        self._up = False
        self._filled = False
        self._held = False
        self._read_from = 0
        self._serial = 0

    @property
    def name(self) -> str:
        """As the profile calls it."""
        return self._setup.service.name

    @property
    def environment(self) -> Mapping[str, str]:
        """What clients find in theirs."""
        return self._setup.kind.environment(self._ground)

    def ensure(self, poll: Poll) -> None:
        """It runs and answers; what is missing for that is made."""
        if self._up and self.death() is None:
            return
        with self._named(poll):
            if not self._held:
                self._folder.__enter__()
                self._held = True
                self._make_template(poll)
            self._end(poll)
            if not self._filled:
                self._fill(poll)
            self._start(poll)

    def restart(self, poll: Poll) -> None:
        """End it in order, start it on the data as they are."""
        self.ensure(poll)
        with self._named(poll):
            self._stop(poll)
            self._start(poll)

    def restore(self, poll: Poll) -> None:
        """Start it on the template's data."""
        self._filled = False
        with self._named(poll):
            self._end(poll)
        self.ensure(poll)

    def checkpoint(self, poll: Poll) -> None:
        """Have it write everything back."""
        self.ensure(poll)
        with self._named(poll):
            _Hands(self, poll).run(*self._setup.kind.checkpoint(self._ground), timeout_s=600)

    def begin_window(self) -> None:
        """What it says from now on is of the window."""
        self._mark()
        self._read_from = _size(self._setup.log)

    def disturbance(self) -> str:
        """What it said in the window that speaks against the window; empty: nothing."""
        self._mark()
        return self._setup.kind.disturbance(_words(self._setup.log, self._read_from))

    def death(self) -> Death | None:
        """How it ended, if it did by itself."""
        return self._keeper.death() if self._keeper is not None and self._up else None

    def out_of_space(self) -> bool:
        """Whether the file system of its data is full."""
        try:
            room = os.statvfs(self._ground.place.folder)
        except OSError:
            return False
        no_inode = room.f_files > 0 and room.f_favail == 0  # some file systems count none
        return no_inode or room.f_bavail * room.f_frsize < _FULL_BYTES

    def told(self, death: Death) -> str:
        """A death for people, with its cause where it can be seen."""
        why = f"{self.name} ({self._setup.service.kind}) {death.how}"
        if self.out_of_space():
            why += f"; no space is left in {self._ground.place.folder}"
        return why + _last_words(death.tail)

    def close(self) -> None:
        """Down and gone, data and all; its log stays. `ensure` starts over."""
        self._up = self._filled = False
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.close()
        if self._held:
            self._held = False
            self._folder.__exit__()

    def _make_template(self, poll: Poll) -> None:
        template = self._setup.template
        if template is None:
            return
        if not template.made:

            def fill(secret: str) -> None:
                self._ground = replace(self._setup.ground, secret=secret)
                self._folder.empty_data()
                self._folder.hand_over()
                self._setup.kind.make(self._ground, _Hands(self, poll))

            make(template, Path(self._ground.place.data), fill)
        self._ground = replace(self._setup.ground, secret=template.secret)

    def _fill(self, poll: Poll) -> None:
        self._folder.empty_data()
        if self._setup.template is not None:
            data = Path(self._ground.place.data)
            restore(self._setup.template, data, self._setup.account, poll)
        self._settle()
        self._folder.hand_over()
        self._filled = True

    def _settle(self) -> None:
        for name, text in self._setup.kind.settle(self._ground).items():
            self._folder.write(name, text)

    def _start(self, poll: Poll) -> None:
        """Raises StartFailed, ServiceError."""
        setup = self._setup
        self._folder.empty_sockets()
        private_folder(setup.log.parent)
        if self._keeper is None:
            self._keeper = Keeper(self._group())
        argv = setup.kind.argv(self._ground)
        job = self._job(argv, cpus=tuple(setup.service.cpus or ()), own_pids=True)
        self._keeper.start(job, str(setup.log), setup.kind.quick, poll)
        self._up = True
        self._wait_until_ready(poll)
        self._folder.tell(
            RunningService(
                name=self.name,
                kind=setup.service.kind,
                profile=setup.profile,
                version=self._ground.programs.version,
                pid=os.getpid(),
                since=now(),
                socket=self._ground.place.socket(setup.service.kind),
                port=setup.service.port,
            )
        )

    def _wait_until_ready(self, poll: Poll) -> None:
        hands = _Hands(self, poll)
        deadline = time.monotonic() + _READY_S
        while not self._setup.kind.ready(self._ground, hands):
            self._poll(poll)
            if time.monotonic() > deadline:
                raise ServiceError(f"it was not ready within {_READY_S:g} s")
            time.sleep(_PAUSE_S)
        self._poll(poll)

    def _stop(self, poll: Poll) -> None:
        """In order; a server that does not end is killed."""
        if self._keeper is not None and self._up:
            self._up = False
            if not self._keeper.stop(self._setup.kind.gentle, _GENTLE_S, poll):
                raise ServiceError(f"it did not end within {_GENTLE_S:g} s and was killed")

    def _end(self, poll: Poll) -> None:
        """At once: its data are not needed, or it is down already."""
        death = self.death()
        if self._keeper is not None and death is not None:
            self._filled = False
            if death.exit_code is None:
                self._keeper.close()
                self._keeper = None
        elif self._keeper is not None and self._up:
            self._keeper.stop(self._setup.kind.quick, _GENTLE_S, poll)
        self._up = False

    def _poll(self, poll: Poll) -> None:
        """... and notice that the server has died. Raises ServiceError."""
        poll()
        death = self.death()
        if death is not None:
            raise ServiceError(death.how, hint=_last_words(death.tail))

    def _group(self) -> WindowCgroup | None:
        if self._parent_group is None:
            return None
        self._serial += 1  # what is in the one before may take a while to go
        name = f"service-{self.name}-{self._serial}"
        return WindowCgroup.create(name, self._parent_group)

    def _job(
        self,
        argv: tuple[str, ...],
        *,
        in_scope: bool = True,
        cpus: tuple[int, ...] = (),
        own_pids: bool = False,
        bundled: str = "",
        timeout_s: float = 60.0,
    ) -> Job:
        account, scope = self._setup.account, self._setup.scope if in_scope else None
        return Job(
            argv=argv,
            bundled=bundled,
            uid=account.uid if account.change else None,
            gid=account.gid if account.change else None,
            groups=account.groups,
            environment=tuple(account.environment().items()),
            netns=scope.netns if scope else "",
            userns=(scope.userns or "") if scope else "",
            timeout_s=timeout_s,
            cpus=cpus,
            own_pids=own_pids,
            own_name=(account.uid, account.gid),
        )

    @contextmanager
    def _named(self, poll: Poll) -> Iterator[None]:
        """Whatever goes wrong is told with the service's name; it is down then."""
        try:
            yield
        except (ServiceError, StartFailed) as error:
            tail = error.hint or _last_words(self._last())
            self._abandon()
            raise ServiceError(*self._explained(error.message, tail)) from error
        except OSError as error:
            self._abandon()
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            what = self._explained(error.strerror or str(error), "", full=full)
            raise ServiceError(*what) from error
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        """In an unknown state: down with it."""
        keeper, self._keeper = self._keeper, None
        self._up = self._filled = False
        if keeper is not None:
            keeper.close()

    def _mark(self) -> None:
        """A keeper that is gone is found by `death`."""
        if self._keeper is not None and self._up:
            with contextlib.suppress(StartFailed):
                self._keeper.mark()

    def _last(self) -> str:
        return _words(self._setup.log, max(0, _size(self._setup.log) - _SHOWN))

    def _explained(self, what: str, tail: str, *, full: bool = False) -> tuple[str]:
        service, folder = self._setup.service, self._ground.place.folder
        if any(word in tail or word in what for word in _TAKEN) and service.port:
            what = f"port {service.port} of 127.0.0.1 is taken by another program ({what})"
        elif full or self.out_of_space() or "No space left" in what + tail:
            what = f"no space is left in {folder} ({what})"
        return (f"service {self.name} ({service.kind}): {what}{tail}",)


class _Hands:
    """`Hands` for one service."""

    def __init__(self, service: Service, poll: Poll) -> None:
        self._service, self._given = service, poll

    def run(self, *argv: str, timeout_s: float = 60.0) -> str:
        job = self._service._job(argv, in_scope=False, timeout_s=timeout_s)
        return self._done(job, os.path.basename(argv[0]))

    def fill(self, *argv: str, timeout_s: float = 600.0) -> None:
        job = self._service._job(argv, bundled=FILL, timeout_s=timeout_s)
        self._done(job, "it does not answer")

    @contextmanager
    def serving(self) -> Iterator[None]:
        service = self._service
        service._settle()
        service._start(self._poll)
        yield
        service._stop(self._poll)

    def _done(self, job: Job, what: str) -> str:
        outcome = self._service._spawner.ask("run", self._poll, **job_fields(job))
        if outcome.failed_step:
            raise ServiceError(f"{outcome.failed_step} {what}: {outcome.message}")
        if outcome.timed_out or outcome.exit_code:
            raise ServiceError(f"{what}: {_ending(outcome)}")
        return outcome.stdout

    def _poll(self) -> None:
        self._service._poll(self._given)


def _ending(outcome: Outcome) -> str:
    said = (outcome.stderr.strip() or outcome.stdout.strip())[-_SHOWN:]
    how = "no end in time" if outcome.timed_out else f"exit code {outcome.exit_code}"
    return f"{how}; it said: {said}" if said else how


def _last_words(tail: str) -> str:
    text = tail.strip()[-_SHOWN:]
    return f"; its last words: {text}" if text else ""


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def _words(path: Path, start: int) -> str:
    """What was appended since, at most 1 MiB; all of a file that has become shorter."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(start if size >= start else 0)
        return file.read(_MOST_WORDS).decode("utf-8", "replace")
    return ""
