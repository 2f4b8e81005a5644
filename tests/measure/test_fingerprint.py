"""Fingerprints of the running kernel, and of files that are not what they should be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ktune.errors import KtuneError
from ktune.kernel.namespaces import NamespaceRef
from ktune.measure.fingerprint import Counters, Fingerprint, counters_of, features_between
from ktune.measure.scope import EphemeralScope
from ktune.profile.features import FEATURES

SEND = """
import socket
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(500):
    sender.sendto(b"x", ("127.0.0.1", 9))
"""
FILES = ("stat", "vmstat", "diskstats", "netdev", "cpu", "memory", "io")
TEXTS = {
    "stat": "cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 1 1 1\nctxt 5000\nprocesses 70\n",
    "vmstat": "nr_free_pages 1\npgpgin 4096\npgmajfault 12\n",
    "diskstats": " 254 0 vda 10 0 80 0 30 0 240 0 0 0 0\n 254 1 vda1 10 0 80 0 30 0 240 0 0 0 0\n",
    "netdev": "Inter-|\n face |\n    lo: 1000 10 0 0 0 0 0 0 500 5 0 0 0 0 0 0\n",
    "cpu": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\n",
    "memory": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    "io": "some avg10=0.00 avg60=0.00 avg300=0.00 total=500000\n",
}
NOTHING = dict.fromkeys(counters_of(TEXTS), 0.0)


def test_counters_become_rates_shares_and_sizes() -> None:
    found = features_between(Counters(0.0, NOTHING), Counters(2.0, counters_of(TEXTS)))
    assert found["disk_requests"] == 20, "the partition's requests are its disk's"
    assert found["disk_read_share"] == 25
    assert found["read_kib_per_request"] == 4
    assert found["major_faults"] == 6
    assert (found["packets"], found["bytes_per_packet"]) == (8, 100)
    assert (found["cpu_busy"], found["cpu_pressure"], found["io_pressure"]) == (15, 50, 25)
    assert (found["context_switches"], found["forks"]) == (2500, 35)
    assert set(found) == set(FEATURES)


def test_an_interval_in_which_nothing_happened_is_all_zero() -> None:
    still = counters_of(TEXTS)
    assert set(features_between(Counters(0, still), Counters(2, still)).values()) == {0}


def test_a_counter_that_went_backwards_counts_as_nothing() -> None:
    after = features_between(Counters(0, counters_of(TEXTS)), Counters(2, NOTHING))
    assert set(after.values()) == {0}


@given(st.sampled_from(FILES), st.text(max_size=200))
@example("stat", "ctxt\n")
@example("stat", "\n\n")
@example("vmstat", "\npgpgin")
@example("vmstat", "pgpgin nan\npgmajfault 1")
@example("diskstats", " 254 0 vda x x x x x x x x x")
@example("netdev", "\n\nlo: 1 2")
@example("cpu", "some total=")
@example("io", "full avg10=0.00 total=3")
def test_any_text_gives_counters_or_a_value_error(name: str, text: str) -> None:
    try:
        found = counters_of({**TEXTS, name: text})
    except ValueError:
        return
    assert set(found) == set(NOTHING)


def test_the_running_kernel_has_a_fingerprint() -> None:
    with Fingerprint() as fingerprint:
        found = fingerprint.take()
    assert set(found) == set(FEATURES)
    assert all(isinstance(value, int) and value >= 0 for value in found.values())


def test_packets_are_those_of_the_scope(tmp_path: Path) -> None:
    with EphemeralScope() as scope, Fingerprint(netdev=f"/proc/{scope.pid}/net/dev") as there:
        assert there.take()["packets"] == 0


def test_a_missing_file_is_an_error_and_leaves_nothing_open(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Fingerprint(proc=str(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="enters a namespace by name")
def test_a_namespace_may_be_named_by_any_path_and_is_left_again() -> None:
    ours = os.readlink("/proc/self/ns/net")
    with EphemeralScope() as scope:
        named = NamespaceRef(f"/proc/{scope.pid}/task/{scope.pid}/ns/net")
        with Fingerprint.of(named) as there:
            assert there.take()["packets"] == 0
            send = [sys.executable, "-c", SEND]
            subprocess.run(["nsenter", f"--net={named.netns}", *send], check=True)
            assert there.take()["packets"] > 0
    assert os.readlink("/proc/self/ns/net") == ours


def test_a_namespace_that_is_gone_is_an_error_for_people() -> None:
    with pytest.raises(KtuneError, match="counters can't be read"):
        Fingerprint.of(NamespaceRef("/proc/4194305/ns/net"))
