"""Clears up after runs that died: restores their journals, decides half-written entries.

Every command that is about to write calls this first. Standard library only.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ktune.policy import stack
from ktune.policy.guarded import remove_leftovers
from ktune.policy.stack import EntryState
from ktune.proxy import recover as proxy_recover
from ktune.proxy.guardian.recovery import Recovery
from ktune.proxy.recover import JournalCondition, inspect
from ktune.proxy.storage import archive, journals
from ktune.records.paths import StatePaths

WAY_BACK = "way_back"
"""Note of a committed journal that is not the way back of what it applied: which one is."""


def settle(paths: StatePaths) -> list[Recovery]:
    """Restore pending journals; then settle the entries of the stack.

    Raises:
        KtuneError: the recovering program could not run.
    """
    recoveries = proxy_recover.recover(paths)
    settle_entries(paths)
    _archive_idle(paths)
    remove_leftovers(paths)
    return recoveries


def _archive_idle(paths: StatePaths) -> None:
    """A policy that was put in force again keeps its first journal; the second one leads nowhere,
    and is left lying where its writer was killed before it could archive it."""
    for path in list(journals(paths)):
        found = inspect(path)
        committed = found.condition is JournalCondition.COMMITTED and found.state is not None
        if committed and found.state is not None and WAY_BACK in found.state.note:
            with suppress(FileNotFoundError):  # its writer lives
                archive(path, paths)


def settle_entries(paths: StatePaths) -> None:
    """Make the stack agree with the journals, whatever died between the two.

    A journal in the archive has ended: its entry was rolled back, or never committed. A pending
    entry is in force when its journal says committed.
    """
    for entry in stack.readable(paths):
        pending = entry.state is EntryState.PENDING
        journal = Path(entry.journal)
        if not os.path.lexists(journal):
            if pending or (journal.parent / "archive" / journal.name).exists():
                stack.remove(paths, entry)
            continue
        if not pending:
            continue
        condition = inspect(journal).condition
        if condition is JournalCondition.COMMITTED:
            stack.mark_in_force(paths, entry)
        elif condition in (JournalCondition.CLOSED, JournalCondition.OTHER_BOOT):
            stack.remove(paths, entry)
