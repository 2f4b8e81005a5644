"""Keys come from profiles written by strangers: only exact names reach a file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.catalog import load_catalog

_CATALOG = load_catalog()
_NAMES = [entry.name for entry in _CATALOG if not entry.pattern]

_HOSTILE = [
    "",
    ".",
    "/",
    "vm",
    "vm.",
    "vm..swappiness",
    "vm.//.kernel",
    "vm.swappiness\n",
    "vm.swappiness\0",
    " vm.swappiness",
    "vm/swappiness",
    "VM.SWAPPINESS",
    "vm.swappiness ",
    "vm.swappiness/../../kernel.core_pattern",
    "vm.../kernel/core_pattern",
    "/proc/sys/vm/swappiness",
    "/proc/sys/kernel/core_pattern",
    "/sys/block/../../proc/sys/kernel/core_pattern",
    "/sys/block/./queue/scheduler",
    "/sys/block/../queue/scheduler",
    "/sys/block/vda/../vda/queue/scheduler",
    "/sys/block/vda//queue/scheduler",
    "/sys/block//queue/scheduler",
    "/sys/block/vda/vdb/queue/scheduler",
    "/sys/block/vda/queue/scheduler/",
    "/sys/block/vda/queue/scheduler\n",
    "/sys/block/vd\0a/queue/scheduler",
    "/sys/block/vd a/queue/scheduler",
    "/sys/block/{device}/queue/scheduler",
    "/sys/block/*/queue/scheduler",
    "/sys/block/vda%2f..%2f..%2f/queue/scheduler",
    "/sys/block/\uff0e\uff0e/queue/scheduler",
    "/sys/class/block/vda/queue/scheduler",
    "sys/block/vda/queue/scheduler",
    "//sys/block/vda/queue/scheduler",
    "/sys/./block/vda/queue/scheduler",
    "/sys/fs/cgroup/a/b/cpu.weight",
    "/sys/fs/cgroup/../cpu.weight",
    "net.ipv4.conf.a.b.rp_filter",
    "net.ipv4.conf.a/b.rp_filter",
    "net.ipv4.conf...rp_filter",
    "x" * 5000,
    "/sys/block/" + "v" * 5000 + "/queue/scheduler",
]


@pytest.mark.parametrize("key", _HOSTILE)
def test_a_hostile_key_finds_nothing(key):
    assert _CATALOG.find(key) is None


@pytest.mark.parametrize("key", [None, 3, b"vm.swappiness", ["vm.swappiness"]])
def test_what_is_no_text_finds_nothing(key):
    assert _CATALOG.find(key) is None


@given(st.text(), st.text(), st.sampled_from(_NAMES))
def test_nothing_but_the_exact_name_finds_an_entry(before, after, name):
    match = _CATALOG.find(before + name + after)
    assert (match is not None and match.key == name) == (not before and not after)


@given(st.text(alphabet="./\\\0\n {}*%vda", max_size=12))
def test_a_device_is_one_plain_component(device):
    match = _CATALOG.find(f"/sys/block/{device}/queue/scheduler")
    plain = device and set(device) <= set(".vda") and device not in (".", "..")
    assert (match is not None) == bool(plain)
    if match:
        assert match.device == device
        assert match.path == f"/sys/block/{device}/queue/scheduler"


@given(st.text(max_size=300))
def test_nearest_never_fails_and_names_only_tunable_knobs(key):
    for name in _CATALOG.nearest(key):
        entry = _CATALOG.entry(name)
        assert entry is not None and entry.tunable


def test_a_match_knows_its_file():
    match = _CATALOG.find("vm.swappiness")
    assert match is not None
    assert (match.path, match.device) == ("/proc/sys/vm/swappiness", None)
    assert match.to_tunable().path == match.path


def test_a_match_fills_its_device_into_coupled_names():
    match = _CATALOG.find("/sys/block/nvme0n1/queue/scheduler")
    assert match is not None
    assert [
        match.expand(key) for item in match.entry.couplings for key in item.keys if "nr_" in key
    ] == ["/sys/block/nvme0n1/queue/nr_requests"]


def test_a_namespace_has_its_own_list_of_congestion_controls():
    match = _CATALOG.find("net.ipv4.tcp_congestion_control")
    assert match is not None
    assert match.choices_path(in_netns=False).endswith("tcp_available_congestion_control")
    assert match.choices_path(in_netns=True).endswith("tcp_allowed_congestion_control")


def test_a_choice_is_listed_by_its_own_file():
    match = _CATALOG.find("/sys/block/vda/queue/scheduler")
    assert match is not None
    assert match.choices_path(in_netns=True) == match.path


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("vm.swapiness", "vm.swappiness"),
        ("net.ipv4.tcp_rmen", "net.ipv4.tcp_rmem"),
        ("swappiness", "vm.swappiness"),
        ("/sys/block/vda/read_ahead_kb", "/sys/block/{device}/queue/read_ahead_kb"),
    ],
)
def test_a_typo_is_answered_with_the_name_that_was_meant(typo, meant):
    assert _CATALOG.find(typo) is None
    assert _CATALOG.nearest(typo)[0] == meant
