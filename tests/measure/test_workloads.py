"""The bundled loads: options, whole transfers, page touches."""

from __future__ import annotations

import doctest
import socket
import threading
from pathlib import Path

import pytest

from ktune.measure.link.protocol import COUNT, HEADER
from ktune.measure.workloads import mmap_read, options, scan_read
from ktune.measure.workloads import transfer as load
from ktune.measure.workloads.options import OptionError, parse


def test_the_examples_of_the_options_run() -> None:
    assert doctest.testmod(options).failed == 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--upp", "1"], "unknown option '--upp'"),
        (["up"], "unknown option 'up'"),
        (["--up"], "wants a value"),
        (["--up", "many"], "wants int"),
        (["--up", ""], "wants int"),
    ],
)
def test_bad_options_are_named(argv: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse(argv, {"up": 0})


def served_once(answer: bytes) -> tuple[str, int]:
    """A peer on loopback that reads a header, gives an answer and closes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, listener:
            connection.recv(HEADER.size)
            connection.sendall(answer)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    threading.Thread(target=serve, daemon=True).start()
    address, port = listener.getsockname()[:2]
    return str(address), int(port)


@pytest.mark.parametrize(
    ("way", "answer", "message"),
    [
        ("--down", b"x" * 999, "received 999 of 1000 bytes"),
        ("--down", b"x" * 1001, "received 1001 of 1000 bytes"),
        ("--up", COUNT.pack(999), "the peer received 999 of 1000 bytes"),
        ("--up", b"", "ended after 0 of 8 bytes"),
    ],
)
def test_a_transfer_that_is_not_whole_is_no_result(
    way: str, answer: bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    address, port = served_once(answer)
    assert load.main(["--peer", address, "--port", str(port), way, "1000"]) == 1
    shown = capsys.readouterr()
    assert message in shown.err
    assert "mbit_per_s=" not in shown.out


def test_page_touches_are_counted_and_the_file_is_made_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "below" / "pages.bin"
    argv = ["--file", str(file), "--size", "4M", "--pages", "200"]
    outputs = []
    for _ in range(2):
        assert mmap_read.main(argv) == 0
        outputs.append(dict(line.split("=") for line in capsys.readouterr().out.splitlines()))
    assert outputs[0]["pages"] == "200"
    assert float(outputs[0]["pages_per_s"]) > 0
    # Same file, same pages: random bytes would differ if it had been made again.
    assert outputs[0]["checksum"] == outputs[1]["checksum"]
    assert [path.name for path in file.parent.iterdir()] == ["pages.bin"]


def test_a_file_that_would_fill_the_disk_is_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mmap_read.main(["--file", str(tmp_path / "huge"), "--size", "900T"]) == 1
    assert "stays free" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_scan_reads_what_it_was_asked_for_and_may_touch_pages_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--file", str(tmp_path / "pages.bin"), "--size", "4M", "--bytes", "1M"]
    for more in ([], ["--pages", "50"]):
        assert scan_read.main([*argv, *more]) == 0
        found = dict(line.split("=") for line in capsys.readouterr().out.splitlines())
        assert found["bytes"] == str(1 << 20)
        assert float(found["seconds"]) > 0
    starts = {scan_read.start_of(4 << 20, 1 << 20, 4096, seed) for seed in range(20)}
    assert len(starts) > 10
    assert all(start % 4096 == 0 and start <= 3 << 20 for start in starts)


def test_a_scan_of_more_than_there_is_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "pages.bin")
    assert scan_read.main(["--file", file, "--size", "1M", "--bytes", "2M"]) == 1
    assert "--bytes <= --size" in capsys.readouterr().err
