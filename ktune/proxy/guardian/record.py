"""The journal of one lease: what is written there, and its name under the runtime directory.

What has to be on disk before the kernel is written to is waited for. Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from ktune.kernel.namespaces import boot_id, netns_cookie
from ktune.kernel.values import Value
from ktune.proxy.backends import Standing
from ktune.proxy.journal import (
    SUFFIX,
    Header,
    intent_record,
    observed_record,
    original_record,
    schedule_record,
    tree_record,
)
from ktune.proxy.journal_writer import JournalWriter, sync_folder
from ktune.proxy.model import ForeignWrite, Json, ProxyError, RestoreReport
from ktune.proxy.planner import Held

WaitDurable = Callable[[JournalWriter, int], None]
"""Blocks until a journal ticket is on disk; raises Interrupted when the lease ends meanwhile."""


class LeaseRecord:
    """Every method but `open` raises ProxyError before it; one that waits also what `wait` does."""

    def __init__(self, wait: WaitDurable, namespace: tuple[str | None, str | None]) -> None:
        """`namespace`: network and user namespace of the lease by path, None for the host's."""
        self._wait = wait
        self._netns, self._userns = namespace
        self._registration: str | None = None
        self.writer: JournalWriter | None = None

    def open(
        self, request: Json, held: dict[str, Held], leased: set[str], standing: Standing
    ) -> str:
        """The file's path; the originals are on disk. Raises ProxyError, OSError."""
        run_id = str(request["run_id"])
        if not run_id or "/" in run_id or run_id.startswith("."):
            raise ProxyError("protocol", f"{run_id!r} is no run id")
        header = Header(
            run_id=run_id,
            boot_id=boot_id(),
            scope="host" if self._netns is None else "netns",
            netns_cookie=netns_cookie(),
            netns=self._netns,
            userns=self._userns,
            uid=os.geteuid(),
            client_pid=int(request["client_pid"]),
            who=str(request["who"]),
            why=str(request["why"]),
            started_at=_now(),
        )
        folder = str(request["journal_dir"])
        path = os.path.join(folder, f"{run_id}-{os.getpid()}{SUFFIX}")
        self.writer = JournalWriter(path)
        try:
            self._register(str(request["register_dir"]), path)
            self._append(header.to_json())
            self._append({"type": "proxy", "standing": standing.to_json()})
            self._on_disk(original_record(held, leased))
            sync_folder(folder)
        except OSError:
            os.unlink(path)  # it says nothing, and nothing was written
            self._unregister()
            raise
        return path

    def intent(self, targets: dict[str, Value], why: str) -> None:
        """What will be written, before it is."""
        self._on_disk(intent_record(targets, why))

    def schedule(
        self, values: Mapping[str, Value], coins: Sequence[bool], window_s: float, why: str
    ) -> None:
        """Between what and by which coins the kernel switches, before it can."""
        self._on_disk(schedule_record(values, coins, window_s, why))

    def schedule_over(self) -> None:
        """What is in force is on record before."""
        self._append(schedule_record({}))

    def tree(self, values: dict[str, list[Value]]) -> None:
        """What the kernel may put in force by itself, before it can."""
        self._on_disk(tree_record(values))

    def observed(self, seen: dict[str, Value | None], *, wrote: str | None) -> None:
        """What knobs read after a write of ours."""
        self._append(observed_record(seen, wrote=wrote))

    def foreign(self, write: ForeignWrite, *, passing: bool) -> None:
        """Somebody else's write; `passing`: the value is ours again already."""
        self._append({"type": "passing" if passing else "foreign", **write.to_json()})

    def left(self) -> None:
        """User space is gone, the kernel goes on."""
        self._append({"type": "left", "at": _now()})

    def committed(self, note: dict[str, str]) -> None:
        """The values stay."""
        self._on_disk({"type": "committed", "note": note})
        self._unregister()

    def restored(self, report: RestoreReport) -> None:
        """Never waits. Where all is back there is nothing left to recover."""
        self._append({"type": "restored", "report": report.to_json(), "at": _now()})
        if report.verified:
            self._append({"type": "closed"})
            self._unregister()

    def must_be_open(self) -> JournalWriter:
        """The file. Raises ProxyError."""
        if self.writer is None:
            raise ProxyError("protocol", "no lease is open")
        return self.writer

    def _append(self, record: Json) -> None:
        self.must_be_open().append(record, durable=False)

    def _on_disk(self, record: Json) -> None:
        writer = self.must_be_open()
        self._wait(writer, writer.append(record, durable=True))

    def _register(self, folder: str, journal: str) -> None:
        """Leave a name under the runtime directory, so that `recover` finds the journal whatever
        the state directory was."""
        link = os.path.join(folder, os.path.basename(journal))
        os.symlink(os.path.abspath(journal), link)
        self._registration = link

    def _unregister(self) -> None:
        if self._registration is not None:
            os.unlink(self._registration)
            self._registration = None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
