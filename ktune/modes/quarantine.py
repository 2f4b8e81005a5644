"""An emergency of `tune` or `calibrate` lasts in its scope, as one of `watch` does: nothing may be
applied or tuned there until the quiet time is over or a person ends it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from ktune.kernel.namespaces import boot_id
from ktune.modes.modes import Emergency
from ktune.modes.stage import Stage
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
    def within(self, standing: Stage) -> Iterator[None]:
        """A namespace of the run's own ends with it: nothing is left to refuse."""
        try:
            yield
        except Emergency as emergency:
            if standing.ephemeral is None:
                self._announced = lockouts.made(
                    scope=lockouts.scope_name(standing.cookie),
                    boot_id=boot_id(),
                    digest="",
                    subject=self.subject,
                    why=emergency.reason,
                    for_s=self.quiet_s,
                    place=standing.scope_text,
                )
                with suppress(OSError):  # nothing may stand before the restore; `keep` tells
                    lockouts.announce(self.paths, self._announced)
            raise

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
