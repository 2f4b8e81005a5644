"""Files of rows are hostile: plain JSON within limits, or refused with a reason."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from ktune.errors import UsageError
from ktune.records.codec import encode
from ktune.records.rows import FORMAT, SharedGoal, SharedRow, SharedRows, read_rows

GOOD = SharedRows(
    FORMAT,
    "web",
    (SharedGoal("tps", "maximize"),),
    (SharedRow({"vm.swappiness": 10, "net.ipv4.tcp_rmem": (4096, 131072, 6291456)}, 0.05, 3),),
    "20261121-101500-7c",
    "6.18",
)


def document(**changed: Any) -> dict[str, Any]:
    return {**encode(GOOD), **changed}


def row(**changed: Any) -> dict[str, Any]:
    return document(rows=[{"assignment": {"vm.swappiness": 1}, "score": 0.1, **changed}])


def test_rows_written_are_rows_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(encode(GOOD)))
    assert read_rows(path) == GOOD


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON"),
        ("[1]", "not a file of rows"),
        ("[" * 100_000, "not JSON"),
        (json.dumps(document(format="ktune-study-1")), "not a file of rows"),
        (json.dumps(document(more=1)), "unknown field 'more'"),
        (json.dumps(document(rows={})), "expected a list"),
        (json.dumps(row(score="nan")), "finite number"),
        (json.dumps(row(score=float("inf"))), "Infinity is no number"),
        (json.dumps(row(score=True)), "expected a number"),
        (json.dumps(row(measured=0)), "at least one measurement"),
        (json.dumps(row(assignment={"k": {"a": 1}})), "a knob value"),
        (json.dumps(row(assignment={"k": True})), "a knob value"),
        (json.dumps(row(assignment={"k" * 300: 1})), "longer than any kernel's"),
        (json.dumps(row(assignment={"k": "x" * 300})), "longer than any kernel's"),
        (json.dumps(row(assignment={"k": 10**30})), "longer than any kernel's"),
        (json.dumps(row(assignment={str(n): 1 for n in range(1001)})), "more than 1000 knobs"),
        (json.dumps(document(rows=[{"assignment": {}, "score": 0}] * 5001)), "at most 5000"),
        (json.dumps(document(profile="x" * 300)), "longer than 256"),
        (json.dumps(GOOD.rows[0].score) + " " * (4 << 20), "larger than 4 MiB"),
    ],
)
def test_what_is_not_a_file_of_rows_is_refused_with_its_reason(
    text: str, why: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=why):
        read_rows(path)


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    path = tmp_path / "rows.json"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UsageError):
        read_rows(path)
    assert not (tmp_path / "sprung").exists()


def test_a_fifo_or_a_device_does_not_hang_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero"), tmp_path):
        with pytest.raises(UsageError):
            read_rows(path)
    with pytest.raises(UsageError, match="No such file"):
        read_rows(tmp_path / "missing.json")
