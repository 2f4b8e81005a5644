"""Logs that grow, rotate and misbehave; programs that print numbers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ktune.errors import RefusedError
from ktune.measure.attach.logs import LogTail
from ktune.measure.attach.source import AttachSource
from ktune.measure.attach.specs import LogLines, MissingData, PrintedNumber, Reduction
from ktune.measure.window import Validity, WindowResult
from tests.measure.attach.watching import Service, metric, spec
from tests.measure.helpers import nothing

TOOK = r"took (?P<value>[0-9.]+) ms"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "service.log"
    path.write_text("took 999999 ms: before the window\n")
    return path


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def watched(
    service: Service, path: Path, during: Callable[[], None], *hows: Reduction, pattern: str = TOOK
) -> WindowResult:
    """One window; `during` is called once within it."""
    metrics = [metric(how.value, LogLines(str(path), pattern), how) for how in hows]
    with AttachSource(spec(service.target, *metrics)) as source:
        calls = 0

        def poll() -> None:
            nonlocal calls
            calls += bool(source._tails[str(path)]._fd >= 0)
            if calls == 2:
                during()

        return source.run(poll)


def test_lines_of_the_window_alone_are_counted_and_measured(service: Service, log: Path) -> None:
    def during() -> None:
        append(log, "".join(f"request took {n} ms\n" for n in range(1, 101)) + "other\n")

    result = watched(service, log, during, *Reduction)

    assert result.validity is Validity.VALID, result.reason
    found = result.metrics
    assert (found["median"], found["value"], found["p99"]) == (50.5, 50.5, 99)
    assert 100 / 10 < found["rate"] < 100 / 0.3


def test_rotation_loses_no_line(service: Service, log: Path) -> None:
    def during() -> None:
        append(log, "took 1 ms\n")
        log.rename(log.with_suffix(".1"))
        append(log.with_suffix(".1"), "took 2 ms\n")
        append(log, "took 3 ms\n")

    assert watched(service, log, during, Reduction.VALUE).metrics["value"] == 2


def test_a_log_cut_in_place_is_read_from_its_start(log: Path) -> None:
    tail = LogTail(str(log))
    tail.start()
    append(log, "one\n")
    assert tail.lines() == ["one"]
    os.truncate(log, 0)
    append(log, "two\n")
    assert tail.lines() == ["two"]
    tail.close()


def test_half_a_line_waits_for_its_end(log: Path) -> None:
    tail = LogTail(str(log))
    tail.start()
    append(log, "ha")
    assert tail.lines() == []
    append(log, "lf\nand")
    assert tail.lines() == ["half"]
    tail.close()


@pytest.mark.full
def test_no_line_no_statistic_and_a_log_that_vanishes_void_the_window(
    service: Service, log: Path
) -> None:
    quiet = watched(service, log, nothing, Reduction.P99)
    gone = watched(service, log, log.unlink, Reduction.RATE)

    assert (quiet.validity, "no line of the log matched" in quiet.reason) == (Validity.VOID, True)
    assert (gone.validity, "is gone" in gone.reason) == (Validity.VOID, True)


@pytest.mark.full
def test_a_pattern_that_never_ends_voids_the_window(service: Service, log: Path) -> None:
    result = watched(
        service, log, lambda: append(log, "a" * 40 + "\n"), Reduction.RATE, pattern="(a+)+$x"
    )

    assert result.validity is Validity.VOID
    assert "the pattern gave no result: no answer within" in result.reason


def test_what_is_no_number_is_refused(service: Service, log: Path) -> None:
    with pytest.raises(RefusedError, match="which is no number"):
        watched(service, log, lambda: append(log, "x\n"), Reduction.VALUE, pattern="(?P<value>x)")


@pytest.mark.parametrize("kind", ["fifo", "device", "link to a device", "folder"])
def test_only_a_regular_file_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "log"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "device":
            path = Path("/dev/zero")
        case "link to a device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()

    with pytest.raises(RefusedError, match="no regular file"):
        LogTail(str(path)).start()


def test_more_than_a_person_could_have_meant_is_missing_data(log: Path) -> None:
    tail = LogTail(str(log))
    tail.start()
    os.truncate(log, 100 << 20)
    with pytest.raises(MissingData, match="grew by 99 MiB"):
        tail.lines()
    tail.start()
    append(log, "x" * 100_000)
    with pytest.raises(MissingData, match="longer than 64 KiB"):
        tail.lines()
    tail.close()


def printed(script: str, *, json: bool = False, field: str = "n") -> PrintedNumber:
    return PrintedNumber(("sh", "-c", script), json, field, 5.0)


def test_programs_run_unprivileged_once_for_each_sample(service: Service, root: None) -> None:
    metrics = (
        metric("uid", printed("echo n=$(id -u)"), Reduction.VALUE),
        metric("level", printed('echo \'{"a": {"n": 4.5}}\'', json=True, field="a.n")),
        metric("rate", printed("echo n=$(date +%s%N)")),
    )
    with AttachSource(spec(service.target, *metrics)) as source:
        result = source.run(nothing)

    assert result.validity is Validity.VALID, result.reason
    assert result.metrics["uid"] != 0
    assert result.metrics["level"] == 0, "a rate of something that stands still"
    assert result.metrics["rate"] == pytest.approx(1e9, rel=0.5)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 3", "exit code 3"),
        ("echo n=none", "no number"),
        ("true", "printed nothing"),
        ("echo n=nan", "is nan"),
    ],
)
def test_a_program_that_fails_voids_the_window(service: Service, script: str, why: str) -> None:
    with AttachSource(spec(service.target, metric("n", printed(script)))) as source:
        result = source.run(nothing)

    assert result.validity is Validity.VOID
    assert why in result.reason


def test_a_program_that_hangs_voids_the_window(service: Service) -> None:
    slow = PrintedNumber(("sleep", "60"), False, "n", 0.2)
    with AttachSource(spec(service.target, metric("n", slow))) as source:
        result = source.run(nothing)

    assert (result.validity, "no end within 0.2 s" in result.reason) == (Validity.VOID, True)


def test_a_program_that_is_not_there_is_refused(service: Service) -> None:
    nowhere = PrintedNumber(("/no/such/program",), False, "n", 1.0)
    with (
        AttachSource(spec(service.target, metric("n", nowhere))) as source,
        pytest.raises(RefusedError, match="can't be run"),
    ):
        source.run(nothing)
