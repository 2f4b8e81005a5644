"""Plans on the running kernel: scopes, what is dropped, skipped, coupled; and pure parts of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ktune.catalog.catalog import load_catalog
from ktune.errors import RefusedError
from ktune.kernel.namespaces import NamespaceRef
from ktune.kernel.nsread import NamespaceError, Reading, read_here, read_in
from ktune.profile.errors import PlanRefusedError
from ktune.profile.host import HostFacts
from ktune.profile.knobs import parse_relation
from ktune.profile.load import load_profile, parse_profile
from ktune.profile.plan import Plan
from ktune.profile.resolve import resolve
from ktune.profile.space import Dimension, DimensionKind, compose, point_of
from ktune.profile.tuners import _processes, _which
from tests.profile.examples import GOOD, HEAD, HERE, PARENTS

CATALOG = load_catalog()
RMEM = "/proc/sys/net/ipv4/tcp_rmem"


def _text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8").strip()


def _plan(body: str, host: HostFacts, values: Mapping[str, str] | None = None) -> Plan:
    """A plan of a profile's text; with `values` the files of a made-up kernel."""
    profile = parse_profile((HEAD + body).encode(), file="f", search_path=(), facts=host)
    if values is None:
        return resolve(profile, CATALOG, host)

    def read(paths: Iterable[str]) -> dict[str, Reading]:
        return {p: Reading(values.get(p), 0 if p in values else 2, True) for p in paths}

    return resolve(profile, CATALOG, host, read=read)


@pytest.fixture
def namespaces() -> None:
    try:
        read_in(None, [])
    except NamespaceError as error:
        pytest.skip(f"no namespaces here: {error}")


@pytest.mark.usefixtures("namespaces")
def test_an_ephemeral_plan_reads_in_a_namespace_of_its_own(facts: HostFacts) -> None:
    before = _text(RMEM)

    plan = resolve(load_profile(HERE / "good" / "long-link.yaml", facts=facts), CATALOG, facts)

    knobs = {knob.key: knob for knob in plan.knobs}
    assert knobs["net.ipv4.tcp_rmem"].baseline == (4096, 131072, 6291456)
    assert [d.name for d in knobs["net.ipv4.tcp_wmem"].dimensions] == [
        "net.ipv4.tcp_wmem[1]",
        "net.ipv4.tcp_wmem[2]",
    ]
    assert [knob.key for knob in plan.fixed] == ["net.ipv4.tcp_window_scaling"]
    assert "net.ipv4.tcp_wmem[1] <= net.ipv4.tcp_wmem[2]" in map(str, plan.relations)
    assert plan.expert[0]["net.ipv4.tcp_rmem"] == (4096, 131072, 33554432)
    assert _text(RMEM) == before, "a plan touches nothing"


@pytest.mark.usefixtures("namespaces")
def test_a_plan_can_be_made_for_a_live_namespace(facts: HostFacts) -> None:
    holder = subprocess.Popen(
        ["unshare", "--net", *([] if os.geteuid() == 0 else ["-Ur"]), "sh", "-c",
         f"echo 4096 8192 1234567 > {RMEM}; echo ready; exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        user = None if os.geteuid() == 0 else f"/proc/{holder.pid}/ns/user"
        profile = load_profile(HERE / "good" / "long-link.yaml", facts=facts)

        plan = resolve(
            profile,
            CATALOG,
            facts,
            namespace=NamespaceRef(f"/proc/{holder.pid}/ns/net", user),
        )

        found = {knob.key: knob for knob in plan.knobs}["net.ipv4.tcp_rmem"]
        assert found.current == (4096, 8192, 1234567)
        assert found.baseline == (4096, 131072, 6291456)
    finally:
        holder.communicate()


def test_reading_here_says_what_is_missing_and_what_may_be_written() -> None:
    found = read_here(["/proc/sys/vm/swappiness", "/proc/sys/vm/no_such_knob"])

    assert int(found["/proc/sys/vm/swappiness"].text or "") >= 0
    assert found["/proc/sys/vm/no_such_knob"] == Reading(None, 2, False)


def test_a_namespace_that_is_not_there_is_an_error_with_its_reason() -> None:
    with pytest.raises(NamespaceError, match="No such file"):
        read_in(NamespaceRef("/run/netns/ktune-no-such"), [])


def test_every_good_example_has_a_plan_that_is_json(facts: HostFacts) -> None:
    for path in GOOD:
        profile = load_profile(path, search_path=PARENTS, facts=facts)
        try:
            plan = resolve(profile, CATALOG, facts)
        except RefusedError as error:
            assert profile.scope == "ephemeral", error
            continue
        data = json.loads(json.dumps(plan.to_json(), allow_nan=False))
        assert data["profile_digest"] == profile.digest
        assert plan.point(plan.baseline) is None or plan.assignment(
            plan.point(plan.baseline) or {}
        ) == dict(plan.baseline)


def test_limits_are_cut_to_the_catalogs_and_said(small_host: HostFacts) -> None:
    plan = _plan(
        "knobs: {sysctl: {vm.swappiness: {range: [0, 1000]}}}\n",
        small_host,
        {"/proc/sys/vm/swappiness": "60\n"},
    )

    assert plan.dimensions[0].high == 200
    assert plan.knobs[0].notes == ("highest value cut from 1000 to 200",)


def test_choices_that_the_kernel_does_not_offer_are_dropped_and_said(
    small_host: HostFacts,
) -> None:
    folder = "/proc/sys/net/ipv4/tcp_"
    plan = _plan(
        "scope: ephemeral\nknobs:\n  sysctl:\n"
        "    net.ipv4.tcp_congestion_control: {choices: [cubic, bbr, reno]}\n",
        small_host,
        {
            f"{folder}congestion_control": "reno\n",
            f"{folder}allowed_congestion_control": "reno bbr\n",
        },
    )

    assert plan.dimensions[0].choices == ("bbr", "reno")
    assert "cubic dropped: not allowed here" in plan.knobs[0].notes[0]


def test_a_word_that_could_not_be_set_again_is_not_searched(small_host: HostFacts) -> None:
    folder = "/proc/sys/net/ipv4/tcp_"
    plan = _plan(
        "scope: ephemeral\nknobs:\n  sysctl:\n"
        "    net.ipv4.tcp_congestion_control: {choices: [bbr, reno]}\n",
        small_host,
        {
            f"{folder}congestion_control": "cubic\n",
            f"{folder}allowed_congestion_control": "reno bbr\n",
        },
    )

    assert not plan.knobs
    assert "could not be set again" in plan.skipped[0].reason


def test_missing_knobs_are_skipped_with_the_reason(small_host: HostFacts) -> None:
    body = "knobs: {sysctl: {vm.swappiness: {range: [0, 100]}, vm.page-cluster: {range: [0, 5]}}}\n"
    plan = _plan(body, small_host, {"/proc/sys/vm/swappiness": "60"})

    assert [knob.key for knob in plan.knobs] == ["vm.swappiness"]
    assert plan.skipped[0].key == "vm.page-cluster"
    assert "No such file" in plan.skipped[0].reason


@pytest.mark.parametrize(
    ("flag", "now", "low", "high"),
    [("only_raise", "40", 40, 100), ("only_lower", "40", 0, 40)],
)
def test_a_direction_is_relative_to_the_baseline(
    flag: str, now: str, low: int, high: int, small_host: HostFacts
) -> None:
    body = f"knobs: {{sysctl: {{vm.swappiness: {{range: [0, 100], {flag}: true}}}}}}\n"
    plan = _plan(body, small_host, {"/proc/sys/vm/swappiness": now})

    assert (plan.dimensions[0].low, plan.dimensions[0].high) == (low, high)


def test_a_knob_that_is_beyond_its_direction_already_is_skipped(small_host: HostFacts) -> None:
    body = "knobs: {sysctl: {vm.swappiness: {range: [50, 100], only_lower: true}}}\n"
    plan = _plan(body, small_host, {"/proc/sys/vm/swappiness": "10"})

    assert "only_lower, and the baseline's 10 is below 50" in plan.skipped[0].reason


def test_a_neighbour_that_stays_cuts_the_limits(small_host: HostFacts) -> None:
    folder = "/proc/sys/net/ipv4/ipfrag_"
    body = "knobs: {sysctl: {net.ipv4.ipfrag_high_thresh: {range: [1M, 64M]}}}\n"
    plan = _plan(
        body,
        small_host,
        {f"{folder}high_thresh": str(4 << 20), f"{folder}low_thresh": str(3 << 20)},
    )

    assert plan.dimensions[0].low == 3 << 20
    assert "net.ipv4.ipfrag_low_thresh" in plan.journaled


def test_neighbours_that_both_move_get_a_relation(small_host: HostFacts) -> None:
    folder = "/proc/sys/net/ipv4/ipfrag_"
    knobs = ", ".join(f"net.ipv4.ipfrag_{w}_thresh: {{range: [1M, 64M]}}" for w in ("low", "high"))
    plan = _plan(
        f"knobs: {{sysctl: {{{knobs}}}}}\n",
        small_host,
        {f"{folder}high_thresh": str(4 << 20), f"{folder}low_thresh": str(3 << 20)},
    )

    assert not plan.feasible({"net.ipv4.ipfrag_high_thresh": 2 << 20})
    assert plan.feasible({"net.ipv4.ipfrag_high_thresh": 5 << 20})


def test_a_relation_with_a_knob_that_stays_becomes_a_number(small_host: HostFacts) -> None:
    plan = _plan(
        "knobs: {sysctl: {vm.dirty_background_ratio: {range: [1, 50]}}}\n"
        "relations: [vm.dirty_ratio > vm.dirty_background_ratio]\n",
        small_host,
        {"/proc/sys/vm/dirty_background_ratio": "10", "/proc/sys/vm/dirty_ratio": "20"},
    )

    assert "vm.dirty_background_ratio < 20" in map(str, plan.relations)
    assert "vm.dirty_background_bytes" in plan.journaled


def test_expert_settings_outside_the_limits_or_relations_are_left_out_and_said(
    small_host: HostFacts,
) -> None:
    plan = _plan(
        "knobs:\n  sysctl:\n"
        "    vm.dirty_background_ratio: {range: [1, 50]}\n"
        "    vm.dirty_ratio: {range: [5, 60]}\n"
        "relations: [vm.dirty_background_ratio < vm.dirty_ratio]\n"
        "expert:\n"
        "  - {vm.dirty_ratio: 99}\n"
        "  - {vm.dirty_background_ratio: 30}\n"
        "  - {vm.dirty_background_ratio: 5}\n",
        small_host,
        {"/proc/sys/vm/dirty_background_ratio": "10", "/proc/sys/vm/dirty_ratio": "20"},
    )

    assert plan.expert == ({"vm.dirty_background_ratio": 5, "vm.dirty_ratio": 20},)
    assert any("setting 1 is left out: outside" in note for note in plan.notes)
    assert any("setting 2 is left out: it breaks a relation" in note for note in plan.notes)


def test_elements_that_stay_bound_the_element_that_moves(small_host: HostFacts) -> None:
    plan = _plan(
        "scope: ephemeral\nknobs: {sysctl: {net.ipv4.tcp_rmem: {element: 1, range: [1K, 64M]}}}\n",
        small_host,
        {RMEM: "4096 131072 6291456"},
    )

    assert (plan.dimensions[0].low, plan.dimensions[0].high) == (4096, 6291456)
    assert plan.assignment({"net.ipv4.tcp_rmem[1]": 8192}) == {
        "net.ipv4.tcp_rmem": (4096, 8192, 6291456)
    }


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("kernel: '>= 6.1'", True),
        ("kernel: '> 6.1'", False),
        ("kernel: '== 6.1, < 6.2'", True),
        ("kernel: ['>= 6', '!= 6.1']", False),
        ("kernel: '< 6.1.1'", True),
        ("cpus: '== 4'", True),
        ("mem: '>= 8GiB'", True),
        ("mem: '< 8GiB'", False),
        ("virt: none", True),
        ("virt: any", False),
        ("virt: [kvm, none]", True),
        ("file_exists: [/proc, /no/such]", False),
    ],
)
def test_when_is_held_against_the_host(text: str, fits: bool, small_host: HostFacts) -> None:
    if fits:
        assert _plan(f"when: {{{text}}}\n", small_host, {}).profile.name == "test"
    else:
        with pytest.raises(PlanRefusedError, match="not for this host"):
            _plan(f"when: {{{text}}}\n", small_host, {})


def test_a_guest_of_any_kind_is_any(small_host: HostFacts) -> None:
    guest = replace(small_host, virt="other")

    assert _plan("when: {virt: any}\n", guest, {}).host.virt == "other"


def test_the_expected_duration_grows_with_trials_and_says_when_it_guesses(
    small_host: HostFacts,
) -> None:
    body = (
        "workload:\n  command: [x]\n  timeout: 20s\n{usual}"
        "  metrics: {{t: {{from: duration, plausible: [0.1, 60]}}}}\n"
        "search: {{trials: {trials}}}\n"
    )
    short = _plan(body.format(usual="  usual_time: 1s\n", trials=10), small_host, {})
    long = _plan(body.format(usual="  usual_time: 1s\n", trials=100), small_host, {})
    guess = _plan(body.format(usual="", trials=10), small_host, {})

    assert short.estimate.expected_s < long.estimate.expected_s
    assert short.estimate.window_is_known
    assert not guess.estimate.window_is_known
    assert short.estimate.expected_s < short.estimate.longest_s


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("a.x < 5", True),
        ("a.x >= 5", False),
        ("a.x <= a.v[1]", True),
        ("a.v[0] > a.v[1]", False),
        ("a.v[9] > 1", True),
        ("a.missing > 1", True),
    ],
)
def test_relations_hold_or_not(text: str, holds: bool) -> None:
    assert parse_relation(text).holds({"a.x": 4, "a.v": (1, 9)}) is holds
    assert str(parse_relation(text)) == text


def test_points_and_assignments_round_trip() -> None:
    dimensions = (
        Dimension("a", DimensionKind.INT, 1, 9, special=(0,)),
        Dimension("b", DimensionKind.CHOICE, choices=("x", "y")),
        Dimension("c", DimensionKind.VECTOR, 1, 9, element=1),
    )
    baseline = {"a": 5, "b": "x", "c": (1, 2, 3)}
    point = {"a": 0, "b": "y", "c[1]": 7}

    assignment = compose(dimensions, baseline, point)

    assert assignment == {"a": 0, "b": "y", "c": (1, 7, 3)}
    assert point_of(dimensions, assignment) == point
    assert point_of(dimensions, {**assignment, "a": 10}) is None


@pytest.mark.parametrize(
    ("name", "argv", "found"),
    [
        ("irqbalance", ["/usr/sbin/irqbalance"], "irqbalance"),
        ("python3", ["/usr/bin/python3", "-Es", "/usr/sbin/tuned", "-l"], "tuned"),
        ("python3", ["python3", "my-tuned-script.py"], None),
        ("vim", ["vim", "/usr/sbin/tuned"], None),
    ],
)
def test_other_tuners_are_known_by_name_or_script(
    name: str, argv: list[str], found: str | None
) -> None:
    assert _which(name, argv) == found


def test_the_process_list_has_names_and_the_arguments_of_interpreters() -> None:
    script = [sys.executable, "-c", "input()", "--of-a-test"]
    with (
        subprocess.Popen(script, stdin=subprocess.PIPE) as python,
        subprocess.Popen(["cat"], stdin=subprocess.PIPE) as cat,
    ):
        # Popen returns when its pipe is closed, a moment before the process has its new name.
        while Path(f"/proc/{cat.pid}/comm").read_text() != "cat\n":
            time.sleep(0.01)
        found = {pid: (name, argv) for pid, name, argv in _processes()}
        for process in (python, cat):
            process.kill()

    name, argv = found[python.pid]
    assert name.startswith("python")
    assert argv[1:4] == script[1:]
    assert found[cat.pid] == ("cat", [])
