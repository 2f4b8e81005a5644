"""Clears up after runs that died: restores their journals, decides half-written entries.

Every command that is about to write calls this first. Standard library only.
"""

from __future__ import annotations

import os
from pathlib import Path

from ktune.policy import stack
from ktune.policy.stack import EntryState
from ktune.proxy import recover as proxy_recover
from ktune.proxy.guardian.recovery import Recovery
from ktune.proxy.recover import JournalCondition, inspect
from ktune.records.paths import StatePaths


def settle(paths: StatePaths) -> list[Recovery]:
    """Restore pending journals; then make pending entries of the stack in force or gone.

    Raises:
        KtuneError: the recovering program could not run.
    """
    recoveries = proxy_recover.recover(paths)
    settle_entries(paths)
    return recoveries


def settle_entries(paths: StatePaths) -> None:
    """A pending entry whose journal says committed is in force; one whose journal is closed,
    archived or of another boot never was."""
    for entry in stack.readable(paths):
        if entry.state is not EntryState.PENDING:
            continue
        if not os.path.lexists(entry.journal):
            stack.remove(paths, entry)
            continue
        condition = inspect(Path(entry.journal)).condition
        if condition is JournalCondition.COMMITTED:
            stack.mark_in_force(paths, entry)
        elif condition in (JournalCondition.CLOSED, JournalCondition.OTHER_BOOT):
            stack.remove(paths, entry)
