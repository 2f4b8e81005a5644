"""The column of docs/kernel-notes.md that needs the kernel module; the others run on the host."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ktune.proxy.backends import ProxyChoice
from tests.faults.fault_table import COLUMNS, KNOB, ROWS, Stand, documented
from tests.knobs import read_knob
from tests.proxy.rig import Paths, RemoteClient, tunable


@pytest.mark.parametrize("row", ROWS)
def test_the_document_says_what_happens(
    row: str, paths: Paths, remote: Callable[..., RemoteClient]
) -> None:
    original = int(read_knob(tunable(KNOB).path))
    stand = Stand(paths, remote, ProxyChoice.MODULE, original)
    try:
        found = ROWS[row](stand)
    finally:
        with open(tunable(KNOB).path, "w") as file:
            file.write(f"{original}\n")
    assert found == documented(row, COLUMNS[ProxyChoice.MODULE])
