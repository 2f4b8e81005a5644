"""Units, options, percentiles and files: what all adapters share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.adapters.folder import Folder, UnreadableError
from ktune.adapters.model import AdapterError, Loop, nearest_rank
from ktune.adapters.options import has, number_of, value_of
from ktune.adapters.registry import ToolName, adapter
from ktune.adapters.units import alike, converted, dimension

UNITS = sorted({unit for seed in ("s", "B", "bit/s", "1/s", "%", "") for unit in alike(seed)})


@given(st.sampled_from(UNITS), st.sampled_from(UNITS), st.floats(0, 1e12))
def test_units_convert_there_and_back_within_a_dimension_only(a: str, b: str, x: float) -> None:
    if dimension(a) != dimension(b):
        with pytest.raises(ValueError, match="is not"):
            converted(x, a, b)
    else:
        assert converted(converted(x, a, b), b, a) == pytest.approx(x)


@pytest.mark.parametrize(
    ("value", "unit", "into", "expected"),
    [
        (1500, "us", "ms", 1.5),
        (1, "min", "s", 60),
        (1, "MiB", "KiB", 1024),
        (1, "MB", "kB", 1000),
        (1, "MiB/s", "bit/s", 8 * 1024**2),
        (1e9, "bit/s", "Gbit/s", 1),
    ],
)
def test_a_conversion(value: float, unit: str, into: str, expected: float) -> None:
    assert converted(value, unit, into) == pytest.approx(expected)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=300), st.floats(1, 99.9))
def test_a_percentile_is_the_smallest_value_with_that_share_below(
    values: list[int], level: float
) -> None:
    level = round(level, 1)
    values.sort()
    try:
        found = nearest_rank(values, level, "numbers")
    except AdapterError as error:
        assert len(values) * (100 - level) < 100 + 1e-6, error
        return
    share = sum(value <= found for value in values) / len(values)
    below = sum(value < found for value in values) / len(values)
    assert share >= level / 100 - 1e-9 and below < level / 100 + 1e-9


def test_too_few_numbers_for_a_percentile_are_told() -> None:
    with pytest.raises(AdapterError, match=r"percentile 99\.9 needs 1000 numbers, and 999 were"):
        nearest_rank(range(999), 99.9, "numbers")
    assert nearest_rank(range(1000), 99.9, "numbers") == 998


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        ("pgbench -R 50 x", "50"),
        ("pgbench -R50 x", "50"),
        ("pgbench --rate=50", "50"),
        ("pgbench --rate 50", "50"),
        ("pgbench --rate=1 -R 50", "50"),
        ("pgbench -- -R 50", None),
        ("pgbench --rate-something=50", None),
    ],
)
def test_a_value_is_found_as_getopt_does(argv: str, value: str | None) -> None:
    assert value_of(argv.split(), "--rate", "-R") == value


def test_a_flag_is_found_among_others_of_one_letter() -> None:
    assert has(["pgbench", "-nl", "x"], "-l", bundled="nl")
    assert not has(["pgbench", "-Ulog", "x"], "-l", bundled="nl")
    assert not has(["pgbench", "-f", "l"], "-l", bundled="nl")
    assert number_of(["x", "--rate=many"], "--rate") is None


@pytest.mark.parametrize("name", ToolName)
def test_an_adapter_describes_itself(name: ToolName) -> None:
    tool = adapter(name)
    assert (tool.name, bool(tool.title), bool(tool.package)) == (name, True, True)
    for field in tool.known():
        spec = tool.spec(field)
        assert spec is not None and spec.meaning and dimension(spec.unit), field
    assert tool.spec("nothing") is None
    assert tool.argv_of(["taskset", "-c", "1", f"/opt/{tool.programs[0]}", "-x"]) == (
        f"/opt/{tool.programs[0]}",
        "-x",
    )


@pytest.mark.parametrize(
    ("command", "loop", "text"),
    [
        ("pgbench -c 4", Loop.CLOSED, "closed loop: understates waiting"),
        ("pgbench -R 2000", Loop.OPEN, "open loop, rate 2000/s"),
        ("sysbench --rate=100 cpu run", Loop.OPEN, "open loop, rate 100/s"),
        ("fio --rw=read", Loop.CLOSED, "closed loop: understates waiting"),
        (
            "fio --rate_iops=500 --ioengine=psync",
            Loop.CLOSED,
            "closed loop at 500/s at most: understates waiting",
        ),
        ("fio --rate_iops=500 --ioengine=io_uring --iodepth=32", Loop.OPEN, "rate 500/s"),
        ("wrk -c 4", Loop.CLOSED, "closed loop: understates waiting"),
        ("redis-benchmark", Loop.CLOSED, "closed loop: understates waiting"),
        ("cyclictest -i 200", Loop.OPEN, "open loop, rate 5000/s"),
        ("hackbench", Loop.NONE, ""),
    ],
)
def test_the_loop_is_told_by_the_options(command: str, loop: Loop, text: str) -> None:
    argv = command.split()
    pace = adapter(argv[0]).pace(argv)
    assert pace.loop is loop
    assert text in pace.text


def test_a_folder_gives_plain_files_of_its_own_only(tmp_path: Path) -> None:
    (tmp_path / "log.1").write_text("a")
    (tmp_path / "other").write_text("b")
    assert Folder(str(tmp_path)).texts("log") == {"log.1": "a"}


@pytest.mark.parametrize("kind", ["link", "pipe", "second name", "folder"])
def test_nothing_else_than_a_plain_file_is_read(tmp_path: Path, kind: str) -> None:
    (tmp_path / "secret").write_text("s3cret")
    log = tmp_path / "log.1"
    match kind:
        case "link":
            log.symlink_to(tmp_path / "secret")
        case "pipe":
            os.mkfifo(log)
        case "second name":
            os.link(tmp_path / "secret", log)
        case "folder":
            log.mkdir()
    with pytest.raises(UnreadableError, match="log"):
        Folder(str(tmp_path)).texts("log")


def test_logs_without_end_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ktune.adapters.folder.MAX_BYTES", 1 << 20)
    for number in range(3):
        (tmp_path / f"log.{number}").write_bytes(b"x" * (400 << 10))
    with pytest.raises(UnreadableError, match="more than 1 MiB"):
        Folder(str(tmp_path)).texts("log")
