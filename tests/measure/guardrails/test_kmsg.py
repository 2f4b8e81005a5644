"""The reader on the real /dev/kmsg, and what crosses on it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest

from ktune.measure.guardrails.kernel_log import LogRecord
from ktune.measure.guardrails.kmsg import KernelLog, KernelWarnings
from ktune.measure.guardrails.source import Unwatchable
from ktune.measure.guardrails.taint import Taint, tainted_by
from ktune.profile.guards import Trouble

FORGED = "WARNING: CPU: 0 PID: 1 at ktune/test.c:1 a_test_of_ktune+0x1/0x2"
EVERYTHING = frozenset(Trouble)


@pytest.fixture
def log() -> Iterator[tuple[KernelLog, list[LogRecord]]]:
    log, heard = KernelLog(), []
    try:
        log.listen(heard.append)
    except OSError as error:
        pytest.skip(f"/dev/kmsg: {error.strerror}")
    yield log, heard
    log.leave(heard.append)


def say(text: str) -> None:
    try:
        fd = os.open("/dev/kmsg", os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        pytest.skip(f"/dev/kmsg can't be written: {error.strerror}")
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def test_what_user_space_writes_is_heard_and_does_not_cross(
    log: tuple[KernelLog, list[LogRecord]],
) -> None:
    """Also when it claims to be the kernel (<4> is facility 0): the kernel makes it facility 1."""
    reader, heard = log
    warnings = KernelWarnings(reader, EVERYTHING)
    warnings.open()

    say(f"<4>{FORGED}\n")
    said = warnings.crossed(0.0)

    mine = [record for record in heard if record.text == FORGED]
    assert [(record.facility, record.level) for record in mine] == [(1, 4)]
    assert said is None or FORGED not in said
    warnings.close()


def test_only_what_comes_after_opening_is_heard(log: tuple[KernelLog, list[LogRecord]]) -> None:
    reader, heard = log
    marker = f"ktune test, process {os.getpid()}, harmless"
    say(f"<6>{marker} 1\n")
    late: list[LogRecord] = []
    other = KernelLog()
    other.listen(late.append)
    say(f"<6>{marker} 2\n")
    reader.pump()
    other.pump()
    other.leave(late.append)

    assert [record.text[-1] for record in heard if record.text.startswith(marker)] == ["1", "2"]
    assert [record.text[-1] for record in late if record.text.startswith(marker)] == ["2"]


class Feed:
    """read(2) of /dev/kmsg, recorded."""

    def __init__(self, *answers: bytes | int) -> None:
        self.answers = list(answers)

    def __call__(self, fd: int, count: int) -> bytes:
        answer = self.answers.pop(0) if self.answers else errno.EAGAIN
        if isinstance(answer, int):
            raise OSError(answer, os.strerror(answer))
        return answer


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Feed:
    feed = Feed()
    monkeypatch.setattr("ktune.measure.guardrails.kmsg.os.read", feed)
    return feed


def warnings_on(tmp_path, troubles=EVERYTHING) -> KernelWarnings:
    path = tmp_path / "kmsg"
    path.touch()
    warnings = KernelWarnings(KernelLog(str(path)), troubles)
    warnings.open()
    return warnings


def test_overwritten_records_do_not_end_the_reading(feed: Feed, tmp_path) -> None:
    warnings = warnings_on(tmp_path)
    feed.answers = [errno.EPIPE, f"4,9,1,-;{FORGED}\n".encode(), errno.EAGAIN]
    assert warnings.crossed(0.0) == f"kernel log: warning: {FORGED}"
    assert warnings.crossed(1.0) is None


def test_only_the_troubles_of_the_profile_cross_and_several_are_counted(
    feed: Feed, tmp_path
) -> None:
    warnings = warnings_on(tmp_path, frozenset({Trouble.BUG}))
    feed.answers = [
        f"4,9,1,-;{FORGED}\n".encode(),
        b"1,10,1,-;BUG: Bad page state in process a  pfn:1\n",
        b"1,11,1,-;BUG: Bad page state in process b  pfn:2\n",
    ]
    assert warnings.crossed(0.0) == (
        "kernel log: bug: BUG: Bad page state in process a  pfn:1 (and 1 more)"
    )


def test_what_was_read_but_not_told_is_forgotten_when_asked(feed: Feed, tmp_path) -> None:
    warnings = warnings_on(tmp_path)
    feed.answers = [f"4,9,1,-;{FORGED}\n".encode()]
    warnings.forget()
    assert warnings.crossed(0.0) is None


def test_another_error_of_the_log_is_an_error(feed: Feed, tmp_path) -> None:
    warnings = warnings_on(tmp_path)
    feed.answers = [errno.EIO]
    with pytest.raises(OSError):
        warnings.crossed(0.0)


def test_a_log_that_can_not_be_read_is_said(tmp_path) -> None:
    with pytest.raises(Unwatchable, match="kmsg: No such file"):
        KernelWarnings(KernelLog(str(tmp_path / "kmsg")), EVERYTHING).open()


def test_taint_counts_new_bits_of_trouble_only(tmp_path) -> None:
    path = tmp_path / "tainted"
    path.write_text("512\n")  # a warning long ago
    taint = Taint(str(path))
    assert "warning (W)" in taint.open()
    assert taint.crossed(0.0) is None
    path.write_text(f"{512 | 1 | 1 << 12}\n")  # modules: no trouble
    assert taint.crossed(1.0) is None
    path.write_text(f"{512 | 1 | 1 << 12 | 1 << 7}\n")
    assert taint.crossed(2.0) == "the kernel is newly tainted: oops or BUG (D)"
    assert taint.crossed(3.0) is None
    taint.close()


def test_the_real_taint_can_be_read() -> None:
    taint = Taint()
    taint.open()
    taint.forget()
    taint.close()
    assert tainted_by(0, 0) == []
