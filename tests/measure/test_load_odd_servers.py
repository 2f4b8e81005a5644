"""The generators against a server that stands still, hangs up, dies, or talks nonsense."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import pytest

from ktune.measure.job import NO_RESULT
from ktune.measure.specs import MetricSpec, WorkloadSpec
from ktune.measure.window import Validity
from ktune.measure.workloads import http_load, memcached_load, resp_load
from ktune.measure.workloads.open_loop import OpenLoop
from ktune.measure.workloads.target import LoadFailed, Target
from tests.measure.helpers import window
from tests.measure.servers import odd

# What the other tests of this machine do must not make a generator late.
CALM = ["--late-after", "2000", "--keys", "50"]


def run(
    capsys: pytest.CaptureFixture[str], sock: Path | str, *more: str, fill: bool = False
) -> tuple[int, dict[str, float], str]:
    """Exit code, numbers and words of one load."""
    argv = ["--unix", str(sock), *CALM, "--fill", str(int(fill)), *more]
    code = resp_load.main(argv)
    shown = capsys.readouterr()
    numbers = dict(line.split("=") for line in shown.out.splitlines())
    return code, {name: float(value) for name, value in numbers.items()}, shown.err


def test_a_stall_of_200_ms_shows_in_the_99th_percentile(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Eight connections: a generator that waited for its answers would see eight slow requests
    # of a thousand, and its 99th percentile none of them.
    with odd("stall", 500) as sock:
        code, numbers, _ = run(
            capsys, sock, "--rate", "500", "--requests", "1000", "--warm-up", "100",
            "--connections", "8", "--spacing", "constant",
        )  # fmt: skip
    assert code == 0
    assert numbers["requests"] == 1000
    assert numbers["latency_p99_ms"] >= 150
    assert numbers["latency_max_ms"] >= 199


def test_a_server_slower_than_the_rate_is_the_servers_fault(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with odd("slow", 0.005) as sock:
        code, numbers, words = run(
            capsys, sock, "--rate", "1000", "--requests", "200", "--warm-up", "0",
            "--late-after", "50", "--late-share", "0.5",
        )  # fmt: skip
    assert (code, words) == (0, "")
    # 200 requests of at least 5 ms each, one after the other. Were the waiting taken for the
    # generator's own, nearly all would be late; the half is for a busy machine.
    assert numbers["seconds"] >= 1
    assert numbers["rate_per_s"] <= 200
    assert numbers["offered_per_s"] == 1000
    assert numbers["latency_max_ms"] >= 700


def test_a_generator_that_can_not_keep_its_rate_has_no_result(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with odd("answer") as sock:
        code, numbers, words = run(
            capsys, sock, "--rate", "1e7", "--requests", "3000", "--late-after", "0.1"
        )
    assert code == NO_RESULT
    assert numbers == {}
    assert "no result: the generator could not keep 1e+07 requests/s" in words


def spec(sock: Path, *more: str) -> WorkloadSpec:
    """The load as a workload of a run."""
    return WorkloadSpec(
        ("--unix", str(sock), "--fill", "0", *more),
        (MetricSpec("latency_p50_ms"), MetricSpec("reconnects")),
        bundled=resp_load.__name__,
        timeout_s=30,
    )


@pytest.mark.parametrize(
    ("behaviour", "more", "validity", "words"),
    [
        ("answer", ["--requests", "200", "--late-after", "2000"], Validity.VALID, ""),
        ("answer", ["--rate", "1e7", "--late-after", "0.1"], Validity.VOID, "no result"),
        ("garbage", ["--requests", "50"], Validity.CANDIDATE_FAILED, "no reply of Redis"),
    ],
)
def test_a_window_is_void_only_for_the_generators_own_fault(
    behaviour: str, more: list[str], validity: Validity, words: str
) -> None:
    with odd(behaviour) as sock:
        sock.chmod(0o777)
        result = window(spec(sock, *more))
    assert result.validity is validity, result.reason
    assert words in result.reason


@pytest.mark.parametrize("behaviour", ["deaf", "bye"])
def test_a_connection_that_was_closed_while_idle_is_opened_anew(behaviour: str) -> None:
    # In a window: a load runs there with the kernel's own handling of SIGPIPE.
    with odd(behaviour) as sock:
        sock.chmod(0o777)
        result = window(
            spec(sock, "--requests", "50", "--warm-up", "0", "--connections", "1",
                 "--rate", "100", "--spacing", "constant", "--late-after", "2000"),
        )  # fmt: skip
    assert result.valid, result.reason
    assert result.metrics["reconnects"] == 49


@pytest.mark.parametrize(
    ("behaviour", "number", "words"),
    [
        ("close", 10, "the server closed the connection (x"),
        ("half", 20, "1 of 110 requests failed: the server closed the connection in the middle"),
        ("die", 30, "is the server running"),
        ("hang", 40, "stands still: no answer to request "),
        ("error", 25, "the server answered \"OOM command not allowed when used memory > 'maxm"),
        ("garbage", 1, "no reply of Redis: b'SSH-2.0-OpenSSH"),
        ("twice", 1, "the server sent more than one reply"),
    ],
)
def test_what_goes_wrong_is_told_and_there_are_no_numbers(
    behaviour: str, number: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with odd(behaviour, number) as sock:
        code, numbers, said = run(
            capsys, sock, "--rate", "2000", "--requests", "100", "--timeout", "0.5"
        )
    assert (code, numbers) == (1, {})
    assert said.startswith("resp_load: ")
    assert words in said
    assert len(said.splitlines()) == 1


def test_answers_may_come_byte_by_byte(capsys: pytest.CaptureFixture[str]) -> None:
    with odd("bytewise") as sock:
        code, numbers, _ = run(capsys, sock, "--requests", "200")
    assert code == 0
    assert numbers["requests"] == 200


def test_a_connection_answered_before_its_request_was_read_is_not_used_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with odd("early") as sock:
        code, numbers, words = run(
            capsys, sock, "--requests", "10", "--warm-up", "0", "--connections", "1",
            "--reads", "0", "--value-size", "2M", "--rate", "100", "--timeout", "20",
        )  # fmt: skip
    assert (code, words) == (0, "")
    assert numbers["reconnects"] == 9


def test_each_request_may_have_a_connection_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with odd("answer") as sock:
        code, numbers, _ = run(
            capsys, sock, "--requests", "200", "--warm-up", "0", "--per-connection", "1",
            "--connections", "4",
        )  # fmt: skip
    assert code == 0
    # The first four were opened before.
    assert numbers["reconnects"] == 196


def test_a_full_backlog_is_waited_for_and_the_waiting_counts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    again = []
    ask_again = OpenLoop._ask_again
    monkeypatch.setattr(OpenLoop, "_ask_again", lambda loop: again.append(1) or ask_again(loop))
    with odd("crowded", 0.002) as sock:
        code, numbers, words = run(
            capsys, sock, "--rate", "1e5", "--requests", "100", "--warm-up", "0",
            "--connections", "16", "--per-connection", "1",
        )  # fmt: skip
    assert (code, words) == (0, "")
    assert again
    assert numbers["reconnects"] == 84
    assert numbers["latency_max_ms"] >= 190


@pytest.mark.parametrize("load", [http_load, resp_load, memcached_load])
def test_a_server_that_is_not_there_is_named(
    load: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert load.main(["--port", str(port)]) == 1
    assert f"no connection to 127.0.0.1:{port}: Connection refused" in capsys.readouterr().err
    assert load.main(["--unix", str(tmp_path / "none")]) == 1
    assert "No such file or directory; is the server running" in capsys.readouterr().err


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
def test_a_server_that_accepts_nobody_is_told(family: int, tmp_path: Path) -> None:
    path = str(tmp_path / "full")
    with socket.socket(family) as listener, ExitStack() as others:
        listener.bind(path if family == socket.AF_UNIX else ("127.0.0.1", 0))
        listener.listen(0)
        target = (
            Target(path) if family == socket.AF_UNIX else Target(port=listener.getsockname()[1])
        )
        with pytest.raises(LoadFailed, match=r"not accepted within 0\.1 s"):
            for _ in range(8):  # the kernel takes one or two more than it was told
                others.enter_context(target.connect(0.1))


@pytest.mark.parametrize("load", [resp_load, memcached_load])
def test_a_store_that_can_not_be_filled_is_told(
    load: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with odd("garbage") as sock:
        assert load.main(["--unix", str(sock), *CALM]) == 1
    assert "filling the store failed: it answered 'SSH-2.0-OpenSSH'" in capsys.readouterr().err
    with odd("hang") as sock:
        assert load.main(["--unix", str(sock), *CALM, "--timeout", "0.2"]) == 1
    assert f"filling {sock} failed: no answer in time" in capsys.readouterr().err
