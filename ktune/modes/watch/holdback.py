"""One pair: the baseline for one window and the policy for another, in the order of the coin.

Whatever ends it early, the policy is in force again when it returns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from ktune.errors import KtuneError, RefusedError
from ktune.evidence.coin import Order, toss
from ktune.evidence.pairs import Arm
from ktune.measure.window import Grouped, Poll, Validity, WindowResult, WindowSource
from ktune.modes.events import ForeignWrite
from ktune.modes.watch.holder import LEASE_S, Holder, NoHoldback, put
from ktune.modes.watch.interrupts import Heard
from ktune.modes.watch.spec import WatchSpec
from ktune.proxy.client import Lease, LeaseEnded, LeaseLost
from ktune.proxy.model import ForeignWrite as Foreign
from ktune.proxy.model import foreign_message

PHASE = "holdback"
_RENEW_EVERY_S = 4.0
_SLEEP_S = 0.05


@dataclass(frozen=True)
class HeldBack:
    """The two windows of a pair; `void` names the arm that was not valid, with its reason."""

    draw: int
    order: Order
    windows: dict[Arm, WindowResult]
    void: Arm | None = None
    reason: str = ""
    baseline_s: float = 0.0
    """Time for which the baseline was in force."""


@dataclass(frozen=True)
class PairMeter:
    """Measures pairs. `look` is called at least every 100 ms and may raise, but not while the
    guardian works: afterwards comes `worked`, which may raise too."""

    holder: Holder
    source: WindowSource
    look: Poll
    worked: Poll

    def measure(self, draw: int) -> HeldBack:
        """The pair of one toss.

        Raises:
            Heard: `look` heard something, or somebody wrote a knob of the policy.
            LeaseLost, NotInForce: the kernel or the guardian did not do as asked.
        """
        order = toss(self.holder.spec.seed, PHASE, draw)
        arms = [Arm.BASELINE, Arm.CANDIDATE]
        if order is Order.CANDIDATE_FIRST:
            arms.reverse()
        windows: dict[Arm, WindowResult] = {}
        try:
            return self._measured(draw, order, arms, windows)
        except LeaseEnded as error:
            # A passed deadline (we slept), a disk that takes no journal: the guardian has put the
            # policy back, and says so.
            if not (self.holder.spec.conduct.stays_without_watcher and error.report.verified):
                raise
            return HeldBack(draw, order, windows, arms[len(windows) % 2], error.message)

    def _measured(
        self, draw: int, order: Order, arms: list[Arm], windows: dict[Arm, WindowResult]
    ) -> HeldBack:
        baseline_s = 0.0
        with ExitStack() as stack:
            try:
                lease = stack.enter_context(self.holder.holdback())
            except NoHoldback as error:
                return HeldBack(draw, order, windows, arms[0], error.message)
            unbound = self._bind(lease)
            if unbound:
                return HeldBack(draw, order, windows, arms[0], unbound)
            self.worked()
            for arm in arms:
                started_s = time.monotonic()
                windows[arm] = self._window(lease, arm)
                if arm is Arm.BASELINE:
                    baseline_s = time.monotonic() - started_s
                if not windows[arm].valid:
                    why = f"{arm.value}: {windows[arm].reason}"
                    return HeldBack(draw, order, windows, arm, why, baseline_s)
        return HeldBack(draw, order, windows, baseline_s=baseline_s)

    def _bind(self, lease: Lease) -> str:
        """The guard's limits hold for the workload of the pair, too; why they can't. A pair
        without would be one under other rules, and is no reason to undo a policy."""
        group = self.source.group() if isinstance(self.source, Grouped) else None
        try:
            if group is not None:
                lease.bind(group)
        except RefusedError as error:
            return f"the workload can't be held to the limits: {error.message}"
        return ""

    def _window(self, lease: Lease, arm: Arm) -> WindowResult:
        spec = self.holder.spec
        wanted = spec.baseline if arm is Arm.BASELINE else spec.policy
        put(lease, wanted, f"{PHASE} {arm.value}")
        self.worked()
        poll = _keeping(lease, self.look)
        _settle(spec.timing.settle_s, poll)
        try:
            result = self.source.run(poll)
        except LeaseLost:
            raise
        except KtuneError as error:  # what measures is gone: no word about the policy
            result = WindowResult({}, 0.0, Validity.VOID, error.message)
        _refuse_foreign(lease.check())
        if result.valid and not _whole(spec, result):
            return WindowResult({}, result.duration_s, Validity.VOID, "a watched metric is missing")
        return result


def _whole(spec: WatchSpec, result: WindowResult) -> bool:
    """A ratio needs numbers above 0."""
    return all(result.metrics.get(metric.name, 0.0) > 0 for metric in spec.metrics)


def _keeping(lease: Lease, look: Poll) -> Callable[[], None]:
    renewed_s = time.monotonic()

    def poll() -> None:
        nonlocal renewed_s
        lease.ensure_alive()
        _refuse_foreign(lease.heard())
        if time.monotonic() - renewed_s >= _RENEW_EVERY_S:
            lease.renew(deadline_s=LEASE_S)
            renewed_s = time.monotonic()
        look()

    return poll


def _refuse_foreign(writes: Sequence[Foreign]) -> None:
    """Raises Heard: somebody else wrote a knob of the policy."""
    if writes:
        raise Heard(ForeignWrite("; ".join(map(foreign_message, writes))))


def _settle(settle_s: float, poll: Poll) -> None:
    until_s = time.monotonic() + settle_s
    while (left_s := until_s - time.monotonic()) > 0:
        poll()
        time.sleep(min(left_s, _SLEEP_S))
