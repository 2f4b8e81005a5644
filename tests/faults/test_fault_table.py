"""docs/kernel-notes.md says what becomes of each fault under each back end; here it happens.

The back ends that need a kernel module are in tests/guest/inside/test_fault_table.py.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ktune.proxy.backends import ProxyChoice
from tests.conftest import HostKnobs
from tests.faults.fault_table import COLUMNS, PATH, ROWS, Stand, documented
from tests.proxy.guarded import why_no_guard
from tests.proxy.rig import Paths, RemoteClient

# A guard changes nothing about who restores after a death: those cells run with the slow tests.
CELLS = [
    pytest.param(
        choice,
        row,
        id=f"{choice}-{row}",
        marks=pytest.mark.full
        if choice is ProxyChoice.BPF and ("killed" in row or "stalled" in row)
        else (),
    )
    for choice in (ProxyChoice.FILE, ProxyChoice.BPF)
    for row in ROWS
]


@pytest.mark.parametrize(("choice", "row"), CELLS)
def test_the_document_says_what_happens(
    row: str,
    choice: ProxyChoice,
    host_knobs: HostKnobs,
    paths: Paths,
    remote: Callable[..., RemoteClient],
) -> None:
    if choice is ProxyChoice.BPF and (why := why_no_guard()) is not None:
        pytest.skip(f"the BPF guard does not load here: {why}")
    stand = Stand(paths, remote, choice, int(host_knobs.read(PATH)))
    assert ROWS[row](stand) == documented(row, COLUMNS[choice])
