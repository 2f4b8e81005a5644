"""The guardian's main loop: one connection, one deadline, one duty. Standard library only.

python -I -S -c '...' run --fd N [--netns PATH --userns PATH] [--lock-memory]
python -I -S -c '...' recover JOURNAL [--committed] [--netns PATH --userns PATH]
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import socket
import struct
import sys
import time

from ktune.kernel.namespaces import NamespaceRef, enter
from ktune.proxy.actuator import KnobFiles
from ktune.proxy.allowlist import load_allowlist
from ktune.proxy.backends import ProxyChoice
from ktune.proxy.channel import Channel, ChannelClosed
from ktune.proxy.guardian.guarding import LeaseGuard
from ktune.proxy.guardian.isolate import isolate
from ktune.proxy.guardian.recovery import recover_journal
from ktune.proxy.guardian.session import Session, boottime_s
from ktune.proxy.journal_writer import JournalWriter
from ktune.proxy.model import PROTOCOL_VERSION, ForeignWrite, Json, ProxyError, RestoreReport
from ktune.proxy.module.hold import ModuleHold

_TICK_S = 1.0
"""poll(2) does not count suspended time; waking each second bounds the error."""
_MOST_AT_ONCE = 100
"""Foreign writes in one message: it must fit into the socket's buffer."""
_LAST_RECORDS_S = 2.0
"""How long a finished guardian waits for its last records to reach the file."""


class Interrupted(Exception):
    """The lease ends while a request is under way: client gone, deadline passed, SIGTERM."""


class Guardian:
    """Serves one client until the lease ends, then restores."""

    def __init__(
        self,
        sock: socket.socket,
        namespace: NamespaceRef | None,
        guard: LeaseGuard,
        module: ModuleHold,
    ) -> None:
        self._channel = Channel(sock)
        self._guard = guard
        self._untold: list[ForeignWrite] = []
        self._signalled = False
        self._signal_fd, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGTERM, self._on_term)
        self._session = Session(
            load_allowlist(),
            KnobFiles(),
            wait_durable=self._wait_durable,
            namespace=(namespace.netns, namespace.userns) if namespace else (None, None),
            guard=guard,
            module=module,
        )

    def serve(self, hello: Json) -> int:
        """Handle requests until the lease ends. Returns the exit status."""
        try:
            self._channel.send({"ok": True, "protocol": PROTOCOL_VERSION, **hello})
            while not self._session.finished:
                self._wait_for_request()
                self._answer(self._channel.receive())
        except ChannelClosed:
            if not self._session.leave():
                self._session.release()
        except Interrupted as reason:
            if self._signalled or not self._session.leave():
                self._end("ended", f"the lease is over: {reason}")
        except OSError as error:
            self._end("journal", f"the journal can't be written: {error.strerror or error}")
        finally:
            self._session.release()
            self._linger()
        return 0

    def _answer(self, request: Json) -> None:
        try:
            reply = {"ok": True, **self._handle(request)}
        except ProxyError as error:
            reply = {"ok": False, "kind": error.kind, "error": str(error)}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reply = {"ok": False, "kind": "protocol", "error": f"malformed request: {error!r}"}
        self._channel.send({**reply, "id": request.get("id")})

    def _handle(self, request: Json) -> Json:
        session = self._session
        match request["op"]:
            case "open":
                return session.open(request)
            case "apply":
                return session.apply(request)
            case "renew":
                return session.renew(request)
            case "check":
                return session.check(request)
            case "read":
                return session.read(request)
            case "bind":
                return session.bind(request)
            case "schedule":
                return session.schedule(request)
            case "schedule_stamps":
                return session.schedule_stamps(request)
            case "schedule_stop":
                return session.schedule_stop(request)
            case "tree_start":
                return session.tree_start(request)
            case "tree_pause" | "tree_resume" | "tree_state":
                return session.tree(request)
            case "commit":
                return session.commit(request)
            case "release":
                return {"report": session.release().to_json()}
            case other:
                raise ProxyError("protocol", f"unknown request {other!r}")

    def _end(self, kind: str, why: str) -> None:
        """Restore, then say so: the last message of a lease that ends against its client's will."""
        report = self._session.release()
        try:
            self._channel.send(
                {"ok": False, "kind": kind, "error": why, "report": report.to_json()}
            )
        except ChannelClosed:
            return  # nobody left to tell; the knobs are back

    def _wait_for_request(self) -> None:
        while not self._channel.has_buffered:
            self._tell_foreign()
            if self._poll(None):
                return

    def _tell_foreign(self) -> None:
        """Others' writes go to the client at once, unless it does not read: the guardian never
        waits for it. What it was not told so it hears after its next answer."""
        self._untold += self._session.heard()
        if self._untold and not self._channel.unread:
            told, self._untold = self._untold[:_MOST_AT_ONCE], self._untold[_MOST_AT_ONCE:]
            self._channel.send({"event": "foreign", "foreign": [item.to_json() for item in told]})

    def _wait_durable(self, journal: JournalWriter, ticket: int) -> None:
        while not journal.is_done(ticket):
            self._poll(journal)

    def _poll(self, journal: JournalWriter | None) -> bool:
        """Wait for the client, the journal or a signal. True: the client has sent something.

        Raises:
            Interrupted: the lease is over.
        """
        poller = select.poll()
        sock = self._channel.sock
        gone = select.POLLHUP | select.POLLRDHUP | select.POLLERR
        poller.register(sock, gone | (select.POLLIN if journal is None else 0))
        poller.register(self._signal_fd, select.POLLIN)
        if journal is not None:
            poller.register(journal.wake_fd, select.POLLIN)
        elif self._guard.wake_fd is not None:
            poller.register(self._guard.wake_fd, select.POLLIN)
        events = dict(poller.poll(self._timeout_s() * 1000))
        if self._signalled:
            raise Interrupted("SIGTERM")
        if self._expired():
            raise Interrupted("the lease was not renewed")
        if journal is not None:
            journal.drain_wakeups()
        what = events.get(sock.fileno(), 0)
        if what & gone and not what & select.POLLIN:
            raise Interrupted("the client is gone")
        return bool(what & select.POLLIN)

    def _timeout_s(self) -> float:
        deadline_s = self._session.deadline_s
        return _TICK_S if deadline_s is None else min(_TICK_S, max(0.0, deadline_s - boottime_s()))

    def _expired(self) -> bool:
        deadline_s = self._session.deadline_s
        return deadline_s is not None and boottime_s() >= deadline_s

    def _linger(self) -> None:
        """Give the last records a moment; the knobs are back whatever the disk does."""
        journal = self._session.journal
        if journal is None:
            return
        ticket = journal.append({"type": "end"}, durable=False)
        until_s = time.monotonic() + _LAST_RECORDS_S
        try:
            while not journal.is_done(ticket) and time.monotonic() < until_s:
                select.select([journal.wake_fd], [], [], 0.05)
                journal.drain_wakeups()
        except OSError as error:
            print(f"ktune guardian: last records lost: {error}", file=sys.stderr)

    def _on_term(self, *_: object) -> None:
        self._signalled = True


def peer_uid(sock: socket.socket) -> int:
    """The uid of whoever made the connection (SO_PEERCRED, unix(7))."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", raw)[1])


def main(argv: list[str]) -> int:
    """Run as the per-run guardian or recover one journal."""
    options = _parse(argv)
    namespace = NamespaceRef(options.netns, options.userns) if options.netns else None
    if options.command == "recover":
        return _recover(options.journal, namespace, committed=options.committed)
    sock = socket.socket(fileno=options.fd)
    if peer_uid(sock) != os.getuid():
        print("ktune guardian: the client is another user", file=sys.stderr)
        return 1
    isolation = isolate(lock_memory=options.lock_memory)
    # Before the scope is entered: inside a user namespace nobody may load programs.
    choice = ProxyChoice(options.proxy)
    module = ModuleHold(choice, in_namespace=namespace is not None)
    guard = LeaseGuard(choice, isolation.in_cgroup2())
    try:
        if namespace is not None:
            enter(namespace)
        return Guardian(sock, namespace, guard, module).serve(
            {"pid": os.getpid(), "isolation": isolation.report}
        )
    finally:
        module.close()
        guard.close()
        isolation.leave()
        sys.stdout.flush()


def _recover(journal: str, namespace: NamespaceRef | None, *, committed: bool) -> int:
    outcome = recover_journal(journal, namespace, committed=committed)
    print(json.dumps(outcome.to_json()))
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ktune-guardian")
    parser.add_argument("--netns")
    parser.add_argument("--userns")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("--fd", type=int, required=True)
    run.add_argument("--lock-memory", action="store_true")
    run.add_argument("--proxy", default=ProxyChoice.AUTO, choices=[*ProxyChoice])
    recover = commands.add_parser("recover")
    recover.add_argument("journal")
    recover.add_argument("--committed", action="store_true")
    return parser.parse_args(argv)


__all__ = ["Guardian", "Interrupted", "RestoreReport", "main"]
