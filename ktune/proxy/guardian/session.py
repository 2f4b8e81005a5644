"""One lease, the guardian's side: requests in, journal and kernel out. Standard library only."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ktune.kernel.namespaces import netns_cookie
from ktune.kernel.tunable import Outcome, WriteResult
from ktune.kernel.values import Value
from ktune.proxy.actuator import KnobAccess, reach, restore
from ktune.proxy.allowlist import Allowlist
from ktune.proxy.backends import ProxyChoice, Standing
from ktune.proxy.guardian.following import CantFollow, Following
from ktune.proxy.guardian.guarding import LeaseGuard
from ktune.proxy.guardian.knob_set import KnobSet
from ktune.proxy.guardian.record import LeaseRecord, WaitDurable
from ktune.proxy.guardian.scheduling import CantSchedule, Look, Scheduling
from ktune.proxy.guardian.witness import Witness
from ktune.proxy.journal_writer import JournalWriter
from ktune.proxy.model import (
    ApplyReport,
    ForeignWrite,
    Json,
    ProxyError,
    RestoreReport,
    value_to_json,
)
from ktune.proxy.module.hold import ModuleHold
from ktune.proxy.planner import (
    apply_order,
    without_foreign,
)
from ktune.proxy.stamps import PAIRS_MOST, WINDOW_MOST_S

MAX_LEASE_S = 24 * 3600.0
_ROUNDS = 3
"""A set is reached in one round; one more for what the first round reset, one to be sure."""


def boottime_s() -> float:
    """CLOCK_BOOTTIME: goes on while the machine is suspended (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Session:
    """The state of one lease. `deadline_s` is in CLOCK_BOOTTIME seconds, None while at baseline."""

    def __init__(
        self,
        allowlist: Allowlist,
        access: KnobAccess,
        *,
        wait_durable: WaitDurable,
        namespace: tuple[str | None, str | None],
        guard: LeaseGuard | None = None,
        module: ModuleHold | None = None,
    ) -> None:
        self._access = access
        self._module = module or ModuleHold(ProxyChoice.FILE, in_namespace=False)
        self._record = LeaseRecord(wait_durable, namespace)
        self._guard = guard or LeaseGuard(ProxyChoice.FILE, ())
        self._knobs = KnobSet(allowlist, in_namespace=namespace[0] is not None)
        self._limits, self._held = self._knobs.limits, self._knobs.held
        self._written: list[str] = []
        self._schedule = Scheduling(self._module)
        self._tree = Following(self._module)
        self._witness = Witness(
            self._knobs, self._record, self._guard, self._module, look=self._look, read=self._read
        )
        self.deadline_s: float | None = None
        self.finished = False

    @property
    def journal(self) -> JournalWriter | None:
        """None before `open`."""
        return self._record.writer

    def open(self, request: Json) -> Json:
        """Check the set, read the originals, put them on disk. Nothing is written yet."""
        if self.journal is not None:
            raise ProxyError("protocol", "the lease is open already")
        self._knobs.admit(request["tunables"], self._access)
        standing = self._stand()
        path = self._record.open(request, self._held, set(self._limits), standing)
        return {
            "standing": standing.to_json(),
            "journal": path,
            "originals": {key: value_to_json(self._held[key].original) for key in self._held},
        }

    def apply(self, request: Json) -> Json:
        """Switch by difference: named knobs to their values, the others to their originals (one
        that vanished and is not named any more needs nothing and is not reported). A schedule
        ends; a tree has to rest first."""
        if self._tree.at_work:
            raise ProxyError("protocol", "the kernel follows a tree: have it rest first")
        self.schedule_stop({})
        targets = self._knobs.targets(request["assignment"])
        lease_s = self._lease_seconds(request)
        live: dict[str, Value | None] = {}
        foreign = self._witness.look_at_all(live)
        named = request["assignment"]
        wanted = without_foreign(targets, self._held)
        self._lasts(lease_s)
        results: dict[str, WriteResult] = {}
        for _ in range(_ROUNDS):
            differing = self._differing(wanted, results, live)
            if not differing:
                break
            self._record_intent(differing, str(request.get("why", "")))
            done, _ = reach(
                differing,
                self._held,
                self._access,
                order=list(differing),
                after_write=self._acknowledge,
                live=live,
            )
            results |= done
            live = {key: value for key, value in live.items() if key in self._knobs.alone}
            live |= {key: item.observed for key, item in done.items() if key in self._knobs.alone}
            self._acknowledge_all(differing, live)
        report = ApplyReport(
            results=tuple(
                result
                for key, value in targets.items()
                if key in wanted or (key in named and not self._held[key].foreign)
                for result in [results.get(key) or self._untouched(key, value, live)]
                if key in named or result.outcome is not Outcome.MISSING
            ),
            foreign=foreign,
        )
        return report.to_json()

    def renew(self, request: Json) -> Json:
        """Move the deadline."""
        if self.deadline_s is not None:
            self._lasts(self._lease_seconds(request))
        return {}

    def schedule(self, request: Json) -> Json:
        """Have the kernel switch between the originals and an assignment, window by window."""
        self.schedule_stop({})
        targets = self._knobs.targets(request["assignment"])
        differing = {key: v for key, v in targets.items() if v != self._held[key].original}
        coins = [bool(first) for first in request["candidate_first"]]
        if not 0 < len(coins) <= PAIRS_MOST:
            raise ProxyError("protocol", f"a schedule holds 1 to {PAIRS_MOST} pairs")
        if self._tree.on:
            raise ProxyError("protocol", "the kernel follows a tree of this lease")
        window_s, lease_s = float(request["window_s"]), self._lease_seconds(request)
        if not 0 < window_s <= WINDOW_MOST_S:
            raise ProxyError("protocol", f"no window of a schedule lasts {window_s} s")
        try:
            self._schedule.check(differing)
        except CantSchedule as why:
            return {"refused": str(why)}
        self._lasts(lease_s)
        self._record.schedule(differing, coins, window_s, str(request.get("why", "")))
        self._written += [key for key in differing if key not in self._written]
        try:
            self._schedule.start(differing, self._held, coins, window_s)
        except CantSchedule as why:
            self._record.schedule_over()
            return {"refused": str(why)}
        return {"refused": ""}

    def schedule_stamps(self, request: Json) -> Json:
        """The windows of the last schedule so far."""
        return self._schedule.stamped(int(request["first"])).to_json()

    def schedule_stop(self, _: Json) -> Json:
        """End it; what is in force then goes on record, unless it is somebody else's."""
        if self._schedule.on:
            looks = self._schedule.end(self._limits)
            ours = {key: look for key, look in looks.items() if not self._held[key].foreign}
            self._observe({key: look.expected for key, look in ours.items()}, wrote=None)
            self._record.schedule_over()
        return {}

    def tree_start(self, request: Json) -> Json:
        """Have the kernel follow a tree between assignments of the lease."""
        if self._tree.on:
            raise ProxyError("protocol", "the kernel follows a tree of this lease already")
        tree = bytes.fromhex(request["tree"])
        leaves = []
        for raw in request["leaves"]:
            targets = self._knobs.targets(raw)
            leaves.append({key: targets[key] for key in raw})
        alone_s, lease_s = float(request["alone_s"]), self._lease_seconds(request)
        if not 0 <= alone_s < MAX_LEASE_S:
            raise ProxyError("protocol", f"a tree can't go on alone for {alone_s} s")
        try:
            self._tree.check([key for leaf in leaves for key in leaf])
            self._tree.alone_s = alone_s
            self._lasts(lease_s)
            self._record_tree(leaves)
            self._tree.start(tree, leaves, self._held)
        except CantFollow as why:
            return {"refused": str(why)}
        return {"refused": ""}

    def tree(self, request: Json) -> Json:
        """Have it rest or go on; what it has chosen."""
        match request["op"]:
            case "tree_pause":
                self._tree.pause()
            case "tree_resume":
                self._tree.resume()
        state = self._tree.state()
        self._adopt()
        foreign = {
            key: value_to_json(self._access.read(held.tunable))
            for key, held in self._held.items()
            if held.foreign and key in self._limits
        }
        return {**state, "foreign": foreign}

    def leave(self) -> bool:
        """User space is gone. A tree that outlives it goes on in the kernel until its lease ends,
        and the journal stays: whoever recovers ends the tree. False: nothing does."""
        if self.finished or not self._tree.outlives or self.journal is None:
            return False
        self._record.left()
        self.finished = True
        return True

    def check(self, _: Json) -> Json:
        """Live values against what was last observed."""
        return {"foreign": [item.to_json() for item in self._witness.look_at_all({})]}

    def read(self, _: Json) -> Json:
        """Live values of the set and of everything coupled."""
        return {
            "values": {
                key: value_to_json(self._access.read(item.tunable))
                for key, item in self._held.items()
            }
        }

    def commit(self, request: Json) -> Json:
        """From here on the values stay when this process ends."""
        path = self._record.must_be_open().path
        self.schedule_stop({})
        if self._tree.on:
            raise ProxyError("protocol", "a lease whose tree the kernel follows can't be committed")
        note = {str(key): str(value) for key, value in request["note"].items()}
        self._module.commit()  # before the record: dying in between leaves an open journal
        self._record.committed(note)
        self.finished = True
        return {"journal": path}

    def release(self) -> RestoreReport:
        """Restore now; records after. Never blocks on the disk."""
        if self.finished or self.journal is None:
            return RestoreReport()
        self._witness.judge_again()
        report = self._module.restore(self._held, written=self._written)
        if report is None:
            report = restore(self._held, self._access, written=self._written)
        self.finished = True
        self.deadline_s = None
        self._record.restored(report)
        return report

    def _stand(self) -> Standing:
        """Choose the way: the kernel module, else files; beside either the guard where it works."""
        by_file = self._module.take(self._knobs.rules, self._limits, self._held)
        standing = self._guard.watch(
            self._knobs.rules,
            self._limits,
            self._held,
            partners=self._knobs.partners,
            netns=netns_cookie(),
            by_module=by_file is not None,
        )
        if by_file is None:
            return replace(standing, module_why=self._module.why)
        self._access = self._module
        return standing.with_module(by_file)

    def _differing(
        self,
        wanted: dict[str, Value],
        results: dict[str, WriteResult],
        live: Mapping[str, Value | None],
    ) -> dict[str, Value]:
        """What is not yet as wanted, in writing order. A knob already tried counts again only when
        it was taken and another write has reset it since (queue/scheduler resets nr_requests)."""
        found = {}
        for key in apply_order(list(wanted), self._held):
            tried = results.get(key)
            if tried is not None and (
                tried.outcome is not Outcome.APPLIED or key in self._knobs.alone
            ):
                continue
            if self._live(key, live) not in (wanted[key], None):
                found[key] = wanted[key]
        return found

    def _live(self, key: str, known: Mapping[str, Value | None]) -> Value | None:
        """What was just read, else a fresh look."""
        return known[key] if key in known else self._read(key)

    def _read(self, key: str) -> Value | None:
        return self._access.read(self._held[key].tunable)

    def _lasts(self, lease_s: float) -> None:
        """The guardian's deadline; the kernel's is later where its tree may go on alone."""
        self._module.lasts(max(lease_s, self._tree.alone_s))
        self.deadline_s = boottime_s() + lease_s

    def _lease_seconds(self, request: Json) -> float:
        seconds = float(request["lease_s"])
        if not 0 < seconds <= MAX_LEASE_S:
            raise ProxyError("protocol", f"a lease lasts up to {MAX_LEASE_S:.0f} s, not {seconds}")
        return seconds

    def _record_intent(self, targets: dict[str, Value], why: str) -> None:
        self._record.intent(targets, why)
        for key in targets:
            self._held[key].pending = True
            if key not in self._written:
                self._written.append(key)

    def _record_tree(self, leaves: Iterable[Mapping[str, Value]]) -> None:
        """What the kernel may put in force by itself, before it can."""
        for key in self._limits:
            if key not in self._written:
                self._written.append(key)
        self._record.tree(
            {key: [leaf[key] for leaf in leaves if key in leaf] for key in self._limits}
        )

    def _adopt(self) -> None:
        """What the kernel's tree has put in force counts as ours, on record too; what it has found
        to be somebody else's does not."""
        seen: dict[str, Value | None] = {}
        for key, found in self._tree.all_seen().items():
            held = self._held[key]
            if found.foreign and not held.foreign:
                self._witness.note(ForeignWrite(key, found.expected, found.live), kept=True)
            elif not held.foreign and held.expected != found.expected:
                seen[key] = found.expected
        if seen:
            self._observe(seen, wrote=None)
        self._witness.look_at_all({})

    def _acknowledge(self, result: WriteResult) -> None:
        """After one write: what it and its coupled knobs read now. A knob that hangs together
        with no other goes on record with the rest of its intent: until then its intent alone says
        that it is ours to restore."""
        self._written.remove(result.key)
        self._written.append(result.key)
        if result.key in self._knobs.alone:
            return
        seen: dict[str, Value | None] = {result.key: result.observed}
        for key in self._knobs.companions(result.key):
            seen[key] = self._read(key)
        self._observe(seen, wrote=result.key)

    def _acknowledge_all(self, targets: Iterable[str], known: Mapping[str, Value | None]) -> None:
        """After the last write of an intent. What hangs together with others is read again: a
        later write may have dragged it along."""
        self._observe({key: self._live(key, known) for key in targets}, wrote=None)

    def _observe(self, seen: dict[str, Value | None], *, wrote: str | None) -> None:
        for key, value in seen.items():
            if value is not None:
                self._held[key].observed = value
                if wrote in (key, None):
                    self._held[key].pending = False
        self._record.observed(seen, wrote=wrote)

    def heard(self) -> list[ForeignWrite]:
        """What the guard has told of others' writes; each knob is told once, here or there."""
        return self._witness.heard()

    def bind(self, request: Json) -> Json:
        """The guard's limits hold for the run's workload, too."""
        self._guard.bind(str(request["cgroup"]))
        return {}

    def _look(self, key: str) -> Look | None:
        """Where the kernel switches by itself: what is in force, and what should be."""
        return self._schedule.look(key) or self._tree.look(key)

    def _untouched(self, key: str, value: Value, known: Mapping[str, Value | None]) -> WriteResult:
        live = self._live(key, known)
        if live is None:
            return WriteResult(key, Outcome.MISSING, None, value, None, errno.ENOENT)
        if live != value and self._knobs.partner_is_foreign(key):
            return WriteResult(key, Outcome.REFUSED, live, value, live, errno.EBUSY)
        return WriteResult(key, Outcome.UNCHANGED, live, value, live)
