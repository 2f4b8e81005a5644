"""An emergency of `tune` or `calibrate` lasts in its scope, as one of `watch` does: nothing may be
applied or tuned there until the quiet time is over or a person ends it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from ktune.kernel.namespaces import boot_id
from ktune.modes.events import LeaseFailed
from ktune.modes.modes import Emergency, ModeKeeper
from ktune.modes.stage import Stage
from ktune.proxy.client import Lease, LeaseEnded, LeaseLost
from ktune.records import lockouts
from ktune.records.lockouts import Lockout
from ktune.records.paths import StatePaths


@dataclass
class Quarantine:
    """Stands around a run: `within` its stage an emergency is announced, before anything is
    restored; `keep` records it once everything is."""

    paths: StatePaths
    subject: str
    quiet_s: float
    _announced: Lockout | None = field(default=None, init=False)

    @contextmanager
    def within(self, standing: Stage, keeper: ModeKeeper) -> Iterator[None]:
        """Everything is restored on the way out. `keeper`: the mode of the run.

        Raises:
            Emergency: from within; or the lease was lost, or a knob is not back.
            LeaseEnded: the state directory is full, and every knob is back.
        """
        try:
            with _restored(standing.lease, keeper):
                yield
        except Emergency as emergency:
            self._announce(standing, emergency.reason)
            raise

    def _announce(self, standing: Stage, why: str) -> None:
        """A namespace of the run's own ends with it: nothing is left to refuse."""
        if standing.ephemeral is None:
            self._announced = lockouts.made(
                scope=lockouts.scope_name(standing.cookie),
                boot_id=boot_id(),
                digest="",
                subject=self.subject,
                why=why,
                for_s=self.quiet_s,
                place=standing.scope_text,
            )
            with suppress(OSError):  # nothing may stand before the restore; `keep` tells
                lockouts.announce(self.paths, self._announced)

    def keep(self) -> str:
        """What a person should know of it, if anything is refused. Raises nothing: the emergency
        itself must be told."""
        made = self._announced
        if made is None:
            return ""
        try:
            lockouts.keep(self.paths, made)
        except OSError as error:
            return f"that it is an emergency could not be recorded: {error}"
        end = self.paths.command("recover", "--end-emergency")
        return f"nothing may be applied or tuned in {made.where} until {made.until}, or `{end}`"


@contextmanager
def _restored(lease: Lease, keeper: ModeKeeper) -> Iterator[None]:
    """Release the lease on the way out, except in an emergency: that is announced before.

    Raises Emergency: the lease was lost, or a knob is not back.
    """
    try:
        try:
            yield
        except (Emergency, LeaseLost):
            raise
        except BaseException:
            _release(lease, keeper)
            raise
        else:
            _release(lease, keeper)
    except LeaseLost as lost:
        if not _explained(lost):
            keeper.handle(LeaseFailed(lost.message))
        raise


def _release(lease: Lease, keeper: ModeKeeper) -> None:
    failed = lease.release().failed
    if failed:
        keeper.handle(LeaseFailed(f"NOT restored: {'; '.join(item.message for item in failed)}"))


def _explained(lost: LeaseLost) -> bool:
    """A full disk is a failure as others are: said, with every knob back."""
    return isinstance(lost, LeaseEnded) and lost.for_want_of_disk and lost.report.verified
