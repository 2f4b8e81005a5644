"""The lease as the rest of ktune sees it. Nothing else in ktune writes to the kernel."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import NoReturn, Self

from ktune.errors import ExitCode, KtuneError, RefusedError
from ktune.kernel.namespaces import NamespaceRef
from ktune.kernel.tunable import Assignment
from ktune.kernel.values import Value
from ktune.kernel.waiting import wait_for
from ktune.proxy.backends import ProxyChoice, Standing
from ktune.proxy.channel import Channel, ChannelClosed
from ktune.proxy.launch import start_guardian
from ktune.proxy.model import (
    PROTOCOL_VERSION,
    ApplyReport,
    ForeignWrite,
    Json,
    LeaseTunable,
    ProxyError,
    RestoreReport,
    thaw,
    value_to_json,
)
from ktune.proxy.recover import recover_one
from ktune.proxy.storage import ProxyPaths, prepare, register_dir

_START_TIMEOUT_S = 60.0
"""A start is a whole Python, and up to two BPF objects (`LOAD_LIMIT_S` each), on a busy machine."""
_ANSWER_TIMEOUT_S = 15.0
"""A guardian that does not answer for so long is stuck on a disk; its own deadline restores."""


class LeaseLost(KtuneError):
    """The guardian is gone or no longer answers; says whether the knobs are back."""


class LeaseEnded(LeaseLost):
    """The guardian ended the lease itself (deadline, no journal) and said what it restored.

    `for_want_of_disk`: it could not write its journal; nothing is wrong with the lease itself.
    """

    def __init__(
        self, message: str, *, hint: str, report: RestoreReport, for_want_of_disk: bool
    ) -> None:
        super().__init__(message, hint=hint)
        self.report = report
        self.for_want_of_disk = for_want_of_disk


@dataclass(frozen=True)
class LeaseRequest:
    """What a lease is for: recorded in the journal's head."""

    run_id: str
    why: str
    who: str


class Lease:
    """Permission to keep assignments applied until a deadline. A context manager: leaving it
    restores. Made by `open_lease`."""

    def __init__(self, channel: Channel, process: subprocess.Popen[bytes], hello: Json) -> None:
        self._channel = channel
        self._process = process
        self._stderr = ""
        self.guardian_pid: int = int(hello["pid"])
        self.isolation: Mapping[str, str] = dict(hello["isolation"])
        self.journal = ""
        self.originals: Assignment = {}
        self.restored: RestoreReport | None = None
        self._over = False
        self._asked = 0
        self.standing = Standing()
        self._foreign: list[ForeignWrite] = []

    def apply(self, assignment: Assignment, *, deadline_s: float, why: str = "") -> ApplyReport:
        """Switch to `assignment` by difference; leased knobs not named go to their originals.

        `deadline_s`: seconds from now after which the guardian restores unless renewed.

        Raises:
            RefusedError: a value outside the limits (nothing was written).
            LeaseLost: the guardian is gone.
        """
        reply = self._ask(
            {
                "op": "apply",
                "assignment": {key: value_to_json(value) for key, value in assignment.items()},
                "lease_s": deadline_s,
                "why": why,
            }
        )
        report = ApplyReport.from_json(reply)
        return replace(report, foreign=(*self._told(), *report.foreign))

    def renew(self, *, deadline_s: float) -> None:
        """Move the deadline to `deadline_s` seconds from now."""
        self._ask({"op": "renew", "lease_s": deadline_s})

    def ensure_alive(self) -> None:
        """Raise LeaseLost (after restoring) as soon as the guardian is gone; costs no message."""
        if not self._over and self._process.poll() is not None:
            self._lose(f"it ended with status {self._process.returncode}")

    def check(self) -> tuple[ForeignWrite, ...]:
        """Leased knobs that somebody else has changed since the last look; each is told once."""
        found = [ForeignWrite.from_json(raw) for raw in self._ask({"op": "check"})["foreign"]]
        return (*self._told(), *found)

    def fileno(self) -> int:
        """Readable when the guardian says something unasked: see `heard`."""
        return self._channel.sock.fileno()

    def heard(self) -> tuple[ForeignWrite, ...]:
        """The same without asking: what the guardian's guard has told by itself so far. Costs one
        select(2); nothing ever where the guard is not at work (`standing`).

        Raises:
            LeaseLost: the guardian is gone.
        """
        while not self._over and select.select([self._channel.sock], [], [], 0)[0]:
            try:
                message = self._channel.receive()
            except (ChannelClosed, TimeoutError, ProxyError) as error:
                self._lose(str(error))
            if message.get("kind") in _LAST_WORDS:
                self._end_with(message)
            self._hear(message)
        return self._told()

    def bind(self, cgroup: str) -> None:
        """Hold the processes of a cgroup2 group that the run made to the lease's limits, too.
        Nothing without the guard. Raises RefusedError."""
        if self.standing.guarded:
            self._ask({"op": "bind", "cgroup": cgroup})

    def read(self) -> dict[str, Value | None]:
        """Live values of the set and of everything coupled with it."""
        return {key: thaw(raw) for key, raw in self._ask({"op": "read"})["values"].items()}

    def commit(self, note: Mapping[str, str]) -> str:
        """Leave what is applied in force after the guardian's end. Returns the journal's path."""
        reply = self._ask({"op": "commit", "note": dict(note)})
        self._finish()
        return str(reply["journal"])

    def release(self) -> RestoreReport:
        """Restore everything and end. A second call returns the first one's report."""
        if self.restored is None:
            self.restored = (
                RestoreReport()
                if self._over
                else RestoreReport.from_json(self._ask({"op": "release"})["report"])
            )
            self._finish()
        return self.restored

    @property
    def lost(self) -> bool:
        """Over, with a journal, and nobody has said what became of the knobs."""
        return self._over and self.restored is None and bool(self.journal)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._over:
            self.release()

    def ask(self, request: Json) -> Json:
        """A request that has a module of its own (`proxy.schedule`, `proxy.tree`). Raises
        RefusedError, LeaseLost."""
        return self._ask(request)

    def _ask(self, request: Json) -> Json:
        if self._over:
            raise LeaseLost("the lease is over")
        self._asked += 1
        try:
            self._channel.send({**request, "id": self._asked})
            reply = self._receive()
        except TimeoutError:
            self._lose(f"it did not answer for {_ANSWER_TIMEOUT_S:.0f} s (is the disk stuck?)")
        except (ChannelClosed, ProxyError) as error:
            self._lose(str(error))
        if reply["ok"]:
            return reply
        if reply["kind"] in _LAST_WORDS:
            self._end_with(reply)
        raise RefusedError(
            f"the guardian refuses: {reply['error']}", hint=_HINTS.get(reply["kind"], "")
        )

    def _receive(self) -> Json:
        """The answer to the last request; answers to earlier ones, which an interrupt (Ctrl-C)
        kept us from reading, are passed over."""
        while True:
            reply = self._channel.receive()
            if "event" in reply:
                self._hear(reply)
            elif reply.get("id", self._asked) == self._asked:
                return reply

    def _hear(self, message: Json) -> None:
        """What the guardian says unasked. (An answer to a request that was interrupted has no
        such part.)"""
        if message.get("event") == "foreign":
            self._foreign += [ForeignWrite.from_json(raw) for raw in message["foreign"]]

    def _told(self) -> tuple[ForeignWrite, ...]:
        told, self._foreign = tuple(self._foreign), []
        return told

    def _end_with(self, last: Json) -> NoReturn:
        """The guardian ended the lease and restored."""
        self.restored = RestoreReport.from_json(last["report"])
        self._finish(patience_s=3)
        raise LeaseEnded(
            f"{last['error']}; {_state_of(self.restored)}",
            hint=_LAST_WORDS[last["kind"]],
            report=self.restored,
            for_want_of_disk=last["kind"] == "journal",
        )

    def _last_words(self) -> Json | None:
        """What a guardian said before it hung up, if it could."""
        self._channel.sock.settimeout(0.5)
        try:
            while True:
                message = self._channel.receive()
                if message.get("kind") in _LAST_WORDS:
                    return message
        except (ChannelClosed, ProxyError, OSError):
            return None

    def _lose(self, why: str) -> NoReturn:
        """The guardian is gone: end it for certain, restore from its journal, say what is so."""
        last = self._last_words()
        if last is not None:
            self._end_with(last)
        self._over = True
        self._channel.close()
        self._process.kill()
        try:
            wait_for(self._process, 5)
        except subprocess.TimeoutExpired:
            raise LeaseLost(
                f"the guardian is stuck in the kernel: {why}",
                hint="once the disk answers again, run `ktune recover`",
            ) from None
        if not self.journal:
            raise LeaseLost(f"the guardian is gone before anything was written: {why}")
        recovery = recover_one(self.journal)
        self.restored = recovery.report
        said = _state_of(recovery.report) if recovery.report else f"recovery: {recovery.reason}"
        raise LeaseLost(f"the guardian is gone: {why}; {said}", exit_code=ExitCode.FAILED)

    def _finish(self, *, patience_s: float = 10) -> None:
        self._over = True
        self._channel.close()
        try:
            wait_for(self._process, patience_s)
        except subprocess.TimeoutExpired:
            return  # only its last records are stuck; the knobs are as reported


_LAST_WORDS = {
    "journal": "free space in the state directory, or choose another with --state-dir",
    "ended": "",
}
"""Kinds of the message that ends a lease against its client's will, with a hint."""

_HINTS = {
    "not-allowed": "only knobs of the catalog's tunable set can be leased: `ktune knobs search`",
    "limit": "the limits are the profile's and the catalog's: `ktune knobs show KNOB`",
    "proxy": "`--proxy auto` takes what works; `ktune doctor` says what does not and why",
    "missing": "this kernel does not have the knob; `ktune plan` says what it skips",
}


def open_lease(
    tunables: Sequence[LeaseTunable],
    request: LeaseRequest,
    *,
    paths: ProxyPaths,
    namespace: NamespaceRef | None = None,
    lock_memory: bool = False,
    proxy: ProxyChoice = ProxyChoice.AUTO,
) -> Lease:
    """Start a guardian, which reads and journals the originals. Nothing is written yet.

    `proxy`: by which way; `Lease.standing` says which it is and why.

    Raises:
        RefusedError: a knob outside the tunable set, missing, or limits malformed.
        LeaseLost: the guardian could not start or journal (disk full or stuck, no free pids).
    """
    prepare(paths)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    channel = Channel(ours)
    with tempfile.TemporaryFile() as errors, theirs:
        try:
            process = start_guardian(
                theirs.fileno(),
                namespace,
                lock_memory=lock_memory,
                stderr=errors.fileno(),
                proxy=proxy,
            )
        except OSError as error:
            channel.close()
            raise LeaseLost(
                f"the guardian can't be started: {error.strerror}", hint="nothing was written"
            ) from error
        theirs.close()
        ours.settimeout(_START_TIMEOUT_S)
        try:
            hello = channel.receive()
        except (ChannelClosed, TimeoutError, ProxyError) as error:
            process.kill()
            process.wait()
            errors.seek(0)
            said = errors.read(4000).decode(errors="replace").strip().splitlines()
            raise LeaseLost(
                f"the guardian did not start: {said[-1] if said else error}",
                hint="nothing was written",
            ) from error
    if hello.get("protocol") != PROTOCOL_VERSION:
        process.kill()
        raise LeaseLost(f"the guardian speaks protocol {hello.get('protocol')!r}")
    ours.settimeout(_ANSWER_TIMEOUT_S)
    lease = Lease(channel, process, hello)
    try:
        reply = lease._ask(
            {
                "op": "open",
                "tunables": [item.to_json() for item in tunables],
                "run_id": request.run_id,
                "why": request.why,
                "who": request.who,
                "client_pid": os.getpid(),
                "journal_dir": str(paths.journal),
                "register_dir": str(register_dir(paths)),
            }
        )
    except RefusedError:
        lease._finish()
        raise
    lease.journal = str(reply["journal"])
    lease.standing = Standing.from_json(reply["standing"])
    lease.originals = {key: thaw(raw) for key, raw in reply["originals"].items()}
    return lease


def _state_of(report: RestoreReport) -> str:
    if report.failed:
        names = ", ".join(item.key for item in report.failed)
        return f"NOT restored: {names}"
    kept = f"; kept what others wrote: {len(report.foreign)}" if report.foreign else ""
    return f"every knob is back ({len(report.restored)} restored{kept})"
