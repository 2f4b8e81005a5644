"""The BPF guard under whole commands: a foreign write ends a window that would last for minutes,
and every command says by which way it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ktune.kernel.bpf.library import library
from tests.conftest import HostKnobs
from tests.faults.commands import FIN, RATE, Bench
from tests.faults.watched import IDLE, INNOCENT, Watched
from tests.proxy.guarded import why_no_guard, write_as
from tests.proxy.rig import Net, wait_until

HOLD_ONCE = 'if [ "$value" -ge 70 ] && [ ! -e "$folder/reached" ]; then here; sleep 3000; fi'
"""The first window of a candidate lasts longer than any test may."""
SWAPPINESS = "/proc/sys/vm/swappiness"
FIN_PATH = "/proc/sys/net/ipv4/tcp_fin_timeout"
HOLD_SWAPPINESS = (
    f'if [ "$(cat {SWAPPINESS})" -ge 70 ] && [ ! -e "$folder/reached" ]; then here; sleep 3000; fi'
)


@pytest.fixture(autouse=True)
def guard_works() -> None:
    why = why_no_guard()
    if why is not None:
        pytest.skip(f"the BPF guard does not load here: {why}")


@pytest.fixture
def hide_libbpf() -> list[str]:
    """argv in front of a command that finds an empty file where libbpf was."""
    library()
    maps = Path("/proc/self/maps").read_text().splitlines()
    file = next(line.split()[-1] for line in maps if "libbpf.so" in line)
    return ["unshare", "--mount", "sh", "-ec", f'mount --bind /dev/null {file}; exec "$@"', "sh"]


def test_a_foreign_write_ends_its_window_at_once(net_bench: Bench, net: Net) -> None:
    net_bench.timeout = "1h"
    net_bench.hook(HOLD_ONCE)
    running = net_bench.tune_until_hooked()
    pid, _ = write_as("", "/proc/sys/net/ipv4/tcp_fin_timeout", "66", netns=net.ref.netns)
    ended = running.end()
    assert ended.code == 5
    assert f"{FIN}: changed by somebody else, " in ended.err
    assert "-> 66 by python" in ended.err and f"(pid {pid}, uid 0" in ended.err
    assert "(kept); the knob is dropped from this run" in ended.err
    assert net.read(FIN) == 66


@pytest.mark.full
def test_the_same_on_a_knob_of_the_host(bench: Bench, host_knobs: HostKnobs) -> None:
    host_knobs.write(SWAPPINESS, "60")
    bench.knobs = {"sysctl": {"vm.swappiness": {"range": [70, 90]}}}
    bench.timeout = "1h"
    bench.hook(HOLD_SWAPPINESS)
    running = bench.tune_until_hooked()
    assert int(host_knobs.read(SWAPPINESS)) >= 70
    write_as("", SWAPPINESS, "61")
    assert running.end().code == 5
    assert host_knobs.read(SWAPPINESS) == "61"


def test_the_workload_itself_is_held_to_the_limits(net_bench: Bench, net: Net) -> None:
    """It wants a value outside of the profile's limits: the kernel refuses, the run goes on."""
    tries = '/usr/bin/printf 250 2>> "$folder/said" > /proc/sys/net/ipv4/tcp_fin_timeout; '
    net_bench.hook(f'if [ ! -e "$folder/reached" ]; then {tries}here; fi')
    before = net.read(FIN)
    assert net_bench.tune("--search-only", "--proxy", "bpf").code in (0, 3)
    assert "Operation not permitted" in (net_bench.folder / "said").read_text()
    assert net.read(FIN) == before


def test_writing_the_same_value_ends_no_window(net_bench: Bench, net: Net) -> None:
    net_bench.hook(HOLD_ONCE.replace("sleep 3000", "sleep 1"))
    running = net_bench.tune_until_hooked()
    text = str(net.read(FIN))
    assert write_as("", "/proc/sys/net/ipv4/tcp_fin_timeout", text, netns=net.ref.netns)[1] == [
        "ok"
    ]
    assert running.end().code in (0, 3)


@pytest.mark.parametrize(
    ("choice", "said"),
    [("bpf", "file + BPF guard"), pytest.param("file", "file", marks=pytest.mark.full)],
)
def test_status_names_the_way_of_a_run(net_bench: Bench, choice: str, said: str) -> None:
    net_bench.hook(HOLD_ONCE)
    running = net_bench.tune_until_hooked(proxy=choice)
    [journal] = net_bench.run("status", "--json").json["journals"]
    assert (journal["condition"], journal["proxy"]["backend"]) == ("active", said)
    shown = net_bench.run("status").out
    assert f"writes go by {said}; others' writes are " in shown
    running.kill()


def test_without_libbpf_a_run_says_so_and_goes_on(net_bench: Bench, hide_libbpf: list[str]) -> None:
    ended = net_bench.tune("--search-only", before=hide_libbpf)
    assert ended.code in (0, 3)
    assert "writes go by file (no BPF guard: libbpf.so.1 can't be loaded" in ended.err


def test_without_libbpf_the_guard_that_was_asked_for_is_refused(
    net_bench: Bench, hide_libbpf: list[str], net: Net
) -> None:
    before = net.read(FIN), net.read(RATE)
    ended = net_bench.tune("--proxy", "bpf", before=hide_libbpf)
    assert ended.code == 4
    assert "the BPF guard does not work here: libbpf.so.1" in ended.err
    assert "`--proxy auto` takes what works" in ended.err
    assert (net.read(FIN), net.read(RATE)) == before


def test_doctor_names_what_is_missing_without_libbpf(bench: Bench, hide_libbpf: list[str]) -> None:
    found = {row["name"]: row for row in bench.run("doctor", "--json", before=hide_libbpf).json}
    assert found["libbpf"]["answer"] == "missing"
    assert "apt install libbpf1" in found["libbpf"]["detail"]
    assert found["BPF guard"]["answer"] == "missing"
    assert "polling" in found["BPF guard"]["used_for"]


def test_doctor_tries_the_guard_itself(bench: Bench) -> None:
    found = {row["name"]: row for row in bench.run("doctor", "--json").json}
    assert found["BPF guard"]["answer"] in ("works", "partly")
    assert (found["BPF guard"]["answer"] == "works") == (
        found["BPF CO-RE network namespace"]["answer"] == "works"
    )


def test_plan_names_what_is_polled(bench: Bench) -> None:
    knob = "/sys/kernel/mm/transparent_hugepage/enabled"
    bench.knobs = {
        "sysctl": {"vm.swappiness": {"range": [10, 90]}},
        "sysfs": {knob: {"choices": ["madvise", "never"]}},
    }
    shown = bench.run("plan", str(bench.profile)).out
    assert f"{knob}: not below /proc/sys, so no BPF guard; others' writes are found by" in shown


@pytest.mark.parametrize("conduct", ["committed", "leased"])
def test_the_workload_of_a_watched_pair_is_held_to_the_limits(
    net_bench: Bench, net: Net, conduct: str
) -> None:
    """A committed policy's pair is between the policy and the baseline, a leased one's within the
    catalog's limits. The write is refused, so that nobody is accused and the pair counts."""
    watched = Watched(net_bench, net)
    value = 250 if conduct == "committed" else 999_999
    tries = f'/usr/bin/printf {value} 2>> "$folder/said" > {FIN_PATH}; '
    net_bench.hook(f"{tries}here; {INNOCENT}")
    death = ("--on-death", "baseline") if conduct == "leased" else ()
    running = watched.start(*IDLE, *death, "--proxy", "bpf")
    wait_until(lambda: watched.reached or not running.alive, 60)
    assert "Operation not permitted" in (net_bench.folder / "said").read_text()
    wait_until(lambda: watched.pairs >= 1 or not running.alive, 60)
    assert running.alive, running.end().err
    assert "ForeignWrite" not in watched.events()
    running.kill()
