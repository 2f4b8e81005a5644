"""The guardian trusts no client: a raw socket sends it what no client of ours would."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from ktune.proxy.launch import start_guardian
from tests.proxy.rig import Net, Paths

FIN = "net.ipv4.tcp_fin_timeout"
RMEM = "net.ipv4.tcp_rmem"


class RawClient:
    """A connection to a real guardian, without our client code."""

    def __init__(self, net: Net, paths: Paths) -> None:
        self._paths = paths
        for folder in (paths.journal, paths.runtime):
            folder.mkdir(parents=True)
        self._sock, theirs = socket.socketpair()
        with theirs:
            self.process = start_guardian(
                theirs.fileno(), net.ref, lock_memory=False, stderr=subprocess.DEVNULL
            )
        self._sock.settimeout(30)
        self._lines = self._sock.makefile("rb")
        assert self.answer()["ok"]

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def answer(self) -> dict[str, Any]:
        reply: dict[str, Any] = json.loads(self._lines.readline())
        return reply

    def ask(self, **request: Any) -> dict[str, Any]:
        self.send(json.dumps(request).encode() + b"\n")
        return self.answer()

    def open(self, **other: Any) -> dict[str, Any]:
        request = {
            "tunables": [{"key": FIN}, {"key": RMEM}],
            "run_id": "raw",
            "client_pid": os.getpid(),
            "who": "raw",
            "why": "raw",
            "journal_dir": str(self._paths.journal),
            "register_dir": str(self._paths.runtime),
        }
        return self.ask(op="open", **(request | other))

    def ended(self) -> bool:
        """Closed by the other side, without an answer."""
        return self._lines.readline() == b""

    def close(self) -> None:
        self._lines.close()
        self._sock.close()
        self.process.wait(timeout=30)


@pytest.fixture
def raw(net: Net, paths: Paths) -> Iterator[RawClient]:
    made = RawClient(net, paths)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("assignment", "kind"),
    [
        ({FIN: 3601}, "limit"),
        ({FIN: -1}, "limit"),
        ({FIN: 10**30}, "limit"),
        ({FIN: "17"}, "bad-value"),
        ({FIN: 17.5}, "bad-value"),
        ({FIN: True}, "bad-value"),
        ({FIN: None}, "bad-value"),
        ({FIN: [17]}, "bad-value"),
        ({FIN: {"value": 17}}, "bad-value"),
        ({RMEM: 17}, "bad-value"),
        ({RMEM: []}, "bad-value"),
        ({RMEM: [4096, 65536]}, "limit"),
        ({RMEM: [4096, 65536, 99999, 1]}, "limit"),
        ({RMEM: [4096, 65536, 2**40]}, "limit"),
        ({"net.ipv4.ip_forward": 1}, "not-allowed"),
        ({"net.ipv4.tcp_sack": 1}, "not-allowed"),
        ({"/proc/sys/kernel/core_pattern": "|/bin/sh"}, "not-allowed"),
        ([FIN], "protocol"),
        ("everything", "protocol"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_and_nothing_written(
    raw: RawClient, net: Net, assignment: object, kind: str
) -> None:
    before = net.read(FIN), net.read(RMEM)
    assert raw.open()["ok"]
    reply = raw.ask(op="apply", assignment=assignment, lease_s=60)
    assert (reply["ok"], reply["kind"]) == (False, kind)
    assert (net.read(FIN), net.read(RMEM)) == before


def test_limits_that_the_client_widens_do_not_reach_beyond_the_catalogs(
    raw: RawClient, net: Net
) -> None:
    before = net.read(FIN)
    assert raw.open(tunables=[{"key": FIN, "min": -(10**9), "max": 10**9, "special": [9999]}])["ok"]
    for value in (9999, 10**9, -5):
        assert raw.ask(op="apply", assignment={FIN: value}, lease_s=60)["kind"] == "limit"
    assert net.read(FIN) == before


@pytest.mark.parametrize("lease_s", [0, -1, 1e9, float("nan"), float("inf"), "soon", None, [1]])
def test_a_lease_without_a_sane_end_is_refused(raw: RawClient, net: Net, lease_s: object) -> None:
    before = net.read(FIN)
    raw.open()
    assert not raw.ask(op="apply", assignment={FIN: 17}, lease_s=lease_s)["ok"]
    assert net.read(FIN) == before


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"op": "format-disk"},
        {"op": None},
        {"op": "apply"},
        {"op": "commit"},
        {"op": "open"},
        {"op": ["apply"]},
    ],
)
def test_a_malformed_request_is_answered_and_the_lease_goes_on(
    raw: RawClient, net: Net, request_: dict[str, Any]
) -> None:
    raw.open()
    assert raw.ask(op="apply", assignment={FIN: 17}, lease_s=60)["ok"]
    assert raw.ask(**request_)["kind"] == "protocol"
    assert raw.ask(op="read")["values"][FIN] == 17


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xfe not JSON\n",
        b"[1, 2]\n",
        b"17\n",
        b'{"op": "read"\n',
        b"[" * 100_000 + b"\n",
        b'{"op": "apply", "assignment": {"x": ' + b"9" * 10_000 + b"}}\n",
        b"\0\0\0\0\n",
    ],
    ids=["bytes", "list", "number", "cut", "deep", "digits", "nul"],
)
def test_what_is_no_message_ends_the_lease_and_restores(
    raw: RawClient, net: Net, garbage: bytes
) -> None:
    before = net.read(FIN)
    raw.open()
    raw.ask(op="apply", assignment={FIN: 17}, lease_s=60)
    raw.send(garbage)
    assert raw.ended()
    assert net.read(FIN) == before


def test_a_message_without_end_ends_the_lease_and_restores(raw: RawClient, net: Net) -> None:
    before = net.read(FIN)
    raw.open()
    raw.ask(op="apply", assignment={FIN: 17}, lease_s=60)
    try:
        raw.send(b" " * (5 << 20))
        assert raw.ended()
    except ConnectionError:
        pass  # it hung up while we were still talking
    raw.process.wait(timeout=30)
    assert net.read(FIN) == before


def test_a_lease_is_opened_once(raw: RawClient) -> None:
    assert raw.open()["ok"]
    assert raw.open()["kind"] == "protocol"


@pytest.mark.parametrize("run_id", ["", "../../etc/x", "a/b", ".hidden", "nul\0"])
def test_a_run_id_that_is_no_file_name_is_refused(raw: RawClient, run_id: str) -> None:
    assert raw.open(run_id=run_id)["kind"] == "protocol"


def test_a_lease_of_nothing_or_of_everything_is_refused(raw: RawClient) -> None:
    assert raw.open(tunables=[])["kind"] == "protocol"
    assert raw.open(tunables=[{"key": FIN}] * 2001)["kind"] == "protocol"


def test_a_journal_that_can_not_be_made_leaves_no_registration(
    raw: RawClient, paths: Paths
) -> None:
    assert raw.open(journal_dir="/no/such/folder")["kind"] == "journal"
    raw.process.wait(timeout=30)
    assert list(paths.runtime.iterdir()) == []


def test_a_client_that_says_nothing_at_all_leaves_nothing_behind(
    raw: RawClient, paths: Paths
) -> None:
    raw.close()
    assert list(paths.journal.iterdir()) == []
    assert list(paths.runtime.iterdir()) == []
