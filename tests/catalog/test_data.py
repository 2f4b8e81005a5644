"""The data that ships: complete, consistent, and said in one way."""

import time
from collections import Counter

import pytest

from ktune.catalog import CouplingKind, Risk, load_catalog
from ktune.catalog.check import Context, judge_catalog
from ktune.catalog.loader import CatalogError, parse_entries, read_entries
from ktune.kernel.limits import host_facts
from ktune.kernel.values import ValueType, format_value, parse

_CATALOG = load_catalog()
_TUNABLE = list(_CATALOG.tunable())

_SMALL = {"mem.total_bytes": 2**30, "mem.total_kib": 2**20, "mem.total_pages": 2**18}
_LARGE = {"mem.total_bytes": 2**44, "mem.total_kib": 2**34, "mem.total_pages": 2**32}

_NEVER = [
    "kernel.core_pattern",
    "kernel.modprobe",
    "kernel.randomize_va_space",
    "kernel.sysrq",
    "kernel.panic",
    "kernel.panic_on_oops",
    "kernel.kptr_restrict",
    "kernel.dmesg_restrict",
    "kernel.yama.ptrace_scope",
    "kernel.unprivileged_bpf_disabled",
    "kernel.modules_disabled",
    "kernel.hotplug",
    "kernel.usermodehelper.bset",
    "fs.suid_dumpable",
    "fs.protected_symlinks",
    "vm.overcommit_memory",
    "vm.panic_on_oom",
    "vm.drop_caches",
    "net.ipv4.ip_forward",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.conf.eth0.rp_filter",
    "/sys/devices/system/cpu/cpu1/online",
    "/sys/block/vda/queue/write_cache",
]


@pytest.mark.parametrize("key", _NEVER)
def test_what_changes_security_or_availability_is_never_tunable(key):
    match = _CATALOG.find(key)
    assert match is not None
    assert match.entry.risk is Risk.NEVER
    assert match.entry.reason


@pytest.mark.parametrize("machine", [_SMALL, _LARGE], ids=["1 GiB", "16 TiB"])
def test_the_catalog_holds_together_on_small_and_large_machines(machine):
    facts = {**machine, "cpu.count": 1, "page.bytes": 4096}
    assert list(judge_catalog(_CATALOG, Context((6, 12), facts))) == []


def test_every_tunable_entry_says_what_it_is_and_where_it_is_documented():
    for entry in _TUNABLE:
        assert entry.meaning and entry.source, entry.name
        assert len(entry.meaning) <= 130, entry.name
        assert entry.risk is Risk.SAFE or entry.reason, entry.name


def test_every_number_that_may_be_set_has_limits():
    for entry in _TUNABLE:
        if entry.type in (ValueType.INT, ValueType.VECTOR):
            assert entry.minimum is not None and entry.maximum is not None, entry.name


def test_every_word_that_may_be_set_is_listed():
    for entry in _TUNABLE:
        if entry.type in (ValueType.CHOICE, ValueType.WORD, ValueType.STRING):
            assert entry.choices, entry.name


def test_defaults_and_special_values_are_written_as_the_kernel_reads_them():
    for entry in _TUNABLE:
        for value in (*entry.special, *(() if entry.default is None else (entry.default,))):
            assert parse(entry.type, format_value(entry.type, value)) == value, entry.name


def test_ordered_knobs_name_each_other():
    opposite = {
        CouplingKind.NOT_ABOVE: CouplingKind.NOT_BELOW,
        CouplingKind.NOT_BELOW: CouplingKind.NOT_ABOVE,
        CouplingKind.EITHER_OR: CouplingKind.EITHER_OR,
    }
    for entry in _TUNABLE:
        for coupling in entry.couplings:
            if coupling.kind not in opposite:
                continue
            for key in coupling.keys:
                partner = _CATALOG.entry(key)
                assert partner is not None, key
                back = {(item.kind, name) for item in partner.couplings for name in item.keys}
                assert (opposite[coupling.kind], entry.name) in back, (entry.name, key)


def test_the_bytes_forms_of_the_dirty_limits_do_not_take_back_their_zero():
    flagged = [entry.name for entry in _TUNABLE if entry.zero_unwritable]
    assert flagged == ["vm.dirty_bytes", "vm.dirty_background_bytes"]
    assert not _CATALOG.find("vm.dirty_bytes").entry.accepts(0, host_facts())


def test_only_knobs_below_net_can_be_namespaced():
    assert all(entry.name.startswith("net.") for entry in _TUNABLE if entry.namespaced)


def test_names_are_unique():
    assert max(Counter(entry.name for entry in read_entries()).values()) == 1


def test_parsing_takes_a_fraction_of_a_tenth_of_a_second():
    best = min(_timed() for _ in range(3))
    assert best < 0.1


def _timed() -> float:
    start = time.process_time()
    list(read_entries())
    return time.process_time() - start


_GOOD = "type: int, default: 1, min: 0, max: 1, risk: safe, kind: sysctl, meaning: m, source: s"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("bogus: 1", "unknown fields: bogus"),
        ("default: true", "expected an integer"),
        ("default: [1, 2]", "not a value of type int"),
        ("since: 6.10", "quote"),
        ("min: cpu.fans", "unknown fact"),
        ("risk: perhaps", "perhaps"),
        ("risk: never", "needs a reason"),
        ("special: [x]", "not a value of type int"),
        ("length: 3", "have a length"),
        ("needs_capability: root", "CAP_"),
        ("kernel_moves: 1", "true or false"),
        ("choices: [off]", "quote"),
    ],
)
def test_a_mistake_in_the_data_is_named(fields, said):
    with pytest.raises(CatalogError, match=r"f\.yaml: vm\.x: ") as caught:
        _parse("vm.x", fields)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "name", ["vm", "vm..x", "vm.x/y", "VM.x", "vm.{device}", "/sys/a", "/sys/../x"]
)
def test_a_name_that_is_no_sysctl_is_refused(name):
    with pytest.raises(CatalogError):
        _parse(name, "unit: x")


def test_a_key_given_twice_is_refused():
    with pytest.raises(CatalogError, match="duplicate"):
        list(parse_entries(f"knobs: {{vm.x: {{{_GOOD}}}, vm.x: {{{_GOOD}}}}}", "f.yaml"))


def test_a_file_that_is_no_catalog_is_refused():
    for text in ("[]", "knobs: [", "other: {}"):
        with pytest.raises(CatalogError):
            list(parse_entries(text, "f.yaml"))


def _parse(name: str, fields: str) -> None:
    base = dict(item.split(": ") for item in _GOOD.split(", "))
    key, value = fields.split(": ", 1)
    base[key] = value
    body = ", ".join(f"{key}: {value}" for key, value in base.items())
    list(parse_entries(f"knobs: {{'{name}': {{{body}}}}}", "f.yaml"))
