"""The guard in the kernel: what it refuses, clamps, lets pass and tells. Refusing happens only in a
group that the test made."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from ktune.kernel.bpf.library import BpfError
from ktune.kernel.bpf.objects import open_object
from ktune.kernel.namespaces import netns_cookie
from ktune.kernel.tunable import sysctl_path
from ktune.proxy.allowlist import load_allowlist
from ktune.proxy.guard import wire
from ktune.proxy.guard.loaded import OBJECTS, LoadedGuard
from ktune.proxy.guard.rules import kept_rule, lease_rule, watched_rule
from ktune.proxy.guard.wire import Action, Kind, Verdict
from ktune.proxy.model import LeaseTunable
from tests.conftest import HostKnobs
from tests.proxy.guarded import Group, new_group, why_no_guard, write_as
from tests.proxy.rig import Net, tunable

SWAP = "vm.swappiness"
SWAP_PATH = sysctl_path(SWAP)
RMEM = "net.ipv4.tcp_rmem"
CONTROL = "net.ipv4.tcp_congestion_control"
FIN = "net.ipv4.tcp_fin_timeout"


@pytest.fixture
def guard() -> Iterator[LoadedGuard]:
    why = why_no_guard()
    if why is not None:
        pytest.skip(f"the guard does not load here: {why}")
    with closing(LoadedGuard()) as made:
        yield made


@pytest.fixture
def group(guard: LoadedGuard) -> Iterator[Group]:
    """Bound to the guard's rules."""
    with new_group("guard") as made:
        guard.bind(made.folder)
        yield made
        guard.unbind(made.folder)


def rule(
    key: str, original: object, action: Action = Action.DENY, netns: int = 0, **limits: object
):
    asked = LeaseTunable(tunable(key), **limits)
    made = lease_rule(load_allowlist().rule(key), asked, original, action=action, netns=netns)
    assert made is not None
    return made


def test_layouts_are_those_of_the_object(guard: LoadedGuard) -> None:
    for name, sizes in wire.SIZES.items():
        found = guard.object.map(name)
        assert (found.key_bytes, found.value_bytes) == sizes, name


@pytest.mark.parametrize("name", OBJECTS)
def test_the_verifier_judges_it_in_few_steps(root: None, name: str) -> None:
    """A tenth of its limit of a million; kernels differ, and older ones tell more states apart."""
    refusals = (errno.EACCES, errno.E2BIG, errno.ETIMEDOUT)
    before = verified_steps()
    try:
        made = open_object(name)
    except BpfError as error:
        pytest.skip(error.why)
    with made:
        try:
            made.load()
        except BpfError as error:
            if error.errno in refusals:
                raise
            pytest.skip(error.why)
        new = [steps for fd, steps in verified_steps().items() if fd not in before]
    if None in new:
        pytest.skip("the kernel does not tell the verifier's steps (verified_insns: 5.16)")
    assert len(new) == 2
    assert all(0 < steps < 100_000 for steps in new if steps is not None), new


def verified_steps() -> dict[int, int | None]:
    """Instructions that the verifier went through, by descriptor of this process's BPF programs."""
    found: dict[int, int | None] = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            kind = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # of the listing itself
            continue
        if kind == "anon_inode:bpf-prog":
            lines = Path("/proc/self/fdinfo", name).read_text().splitlines()
            told = dict(line.split(":", 1) for line in lines)
            found[int(name)] = int(told["verified_insns"]) if "verified_insns" in told else None
    return found


def test_a_write_outside_the_limits_is_refused_with_eperm(
    guard: LoadedGuard, group: Group, host_knobs: HostKnobs
) -> None:
    guard.set_rules([rule(SWAP, 60, minimum=10, maximum=80)])
    assert group.write(SWAP_PATH, "70", "81", "9", "-1", "80") == [
        "ok",
        *("EPERM", "EPERM", "EPERM"),
        "ok",
    ]
    assert host_knobs.read(SWAP_PATH) == "80"
    counted = guard.counters("vm/swappiness")
    assert (counted.allowed, counted.denied, counted.unparsed) == (2, 3, 0)


def test_the_catalogs_limits_hold_whatever_was_asked(
    guard: LoadedGuard, group: Group, host_knobs: HostKnobs
) -> None:
    guard.set_rules([rule(SWAP, 60, minimum=-5, maximum=100_000)])
    assert group.write(SWAP_PATH, "201", "99") == ["EPERM", "ok"]


def test_outside_the_group_nothing_is_refused(
    guard: LoadedGuard, group: Group, host_knobs: HostKnobs
) -> None:
    guard.set_rules([rule(SWAP, 60, minimum=10, maximum=80)])
    assert write_as("", SWAP_PATH, "90")[1] == ["ok"]


def test_the_original_outside_the_limits_is_always_allowed(
    guard: LoadedGuard, group: Group, host_knobs: HostKnobs
) -> None:
    guard.set_rules([rule(SWAP, 150, minimum=10, maximum=80)])
    assert group.write(SWAP_PATH, "150", "151") == ["ok", "EPERM"]


def test_special_values_pass_and_only_those(
    guard: LoadedGuard, group: Group, host_knobs: HostKnobs
) -> None:
    guard.set_rules([rule(SWAP, 60, minimum=50, maximum=80, special=(0, 7))])
    assert group.write(SWAP_PATH, "0", "7", "8") == ["ok", "ok", "EPERM"]


@pytest.mark.parametrize(
    "text", ["seventy", "70x", "70 71", " ", "0x", "7.5", "9" * 19 + "9", "70" + " " * 70]
)
def test_what_does_not_parse_is_refused(
    guard: LoadedGuard, group: Group, host_knobs: HostKnobs, text: str
) -> None:
    guard.set_rules([rule(SWAP, 60, minimum=10, maximum=80)])
    assert group.write(SWAP_PATH, text) == ["EPERM"]
    assert guard.counters("vm/swappiness").unparsed == 1


@pytest.mark.parametrize("text", ["70\n", " 70", "0x46", "0106", "+70"])
def test_numbers_are_read_as_the_kernel_reads_them(
    guard: LoadedGuard, group: Group, host_knobs: HostKnobs, text: str
) -> None:
    free = write_as("", SWAP_PATH, text)[1]
    said = host_knobs.read(SWAP_PATH)
    guard.set_rules([rule(SWAP, 60, minimum=70, maximum=70)])
    assert write_as("", SWAP_PATH, "61")[1] == ["ok"]
    bound = group.write(SWAP_PATH, text)
    # Whatever the kernel takes as 70 passes; the guard may be stricter, never laxer.
    assert bound == free if said == "70" and free == ["ok"] else bound in (["EPERM"], free)
    assert host_knobs.read(SWAP_PATH) in ("70", "61")


@pytest.mark.parametrize(
    "case",
    [(10, 80, "120", "80"), (10, 80, "3", "10"), (8, 8, "200", "8"), (0, 100, "-7", "0")],
)
def test_clamping_writes_the_nearest_limit_without_leading_zeros(
    guard: LoadedGuard,
    group: Group,
    host_knobs: HostKnobs,
    case: tuple[int, int, str, str],
) -> None:
    low, high, written, expected = case
    guard.set_rules([rule(SWAP, 60, Action.CLAMP, minimum=low, maximum=high)])
    assert group.write(SWAP_PATH, written) == ["ok"]
    assert host_knobs.read(SWAP_PATH) == expected
    [event] = guard.events()
    assert (event.verdict, event.new) == (Verdict.CLAMPED, written)


def test_what_does_not_parse_can_not_be_clamped_and_is_refused(
    guard: LoadedGuard, group: Group, host_knobs: HostKnobs
) -> None:
    guard.set_rules([rule(SWAP, 60, Action.CLAMP, minimum=10, maximum=80)])
    assert group.write(SWAP_PATH, "many") == ["EPERM"]


def test_auditing_lets_everything_pass_and_tells(
    guard: LoadedGuard, group: Group, host_knobs: HostKnobs
) -> None:
    guard.set_rules([rule(SWAP, 60, Action.AUDIT, minimum=10, maximum=80)])
    assert group.write(SWAP_PATH, "70", "120") == ["ok", "ok"]
    [event] = guard.events()
    assert (event.verdict, event.old, event.new) == (Verdict.AUDITED, "70", "120")


def test_each_number_of_a_vector_has_its_own_limits(
    guard: LoadedGuard, group: Group, net: Net
) -> None:
    guard.set_rules(
        [
            rule(
                RMEM,
                net.read(RMEM),
                minimum=(4096, 65_536, 100_000),
                maximum=(8192, 131_072, 900_000),
            )
        ]
    )
    path = sysctl_path(RMEM)
    wide = "4096 65536 6000000"
    assert group.write(
        path,
        *("4096 65536 900000", wide, "8193 65536 900000", "4096\t70000\t800000\n", "5000 70000"),
        *("5000 170000", "1 2 3 4", "4096 65536 "),
        netns=net.ref.netns,
    ) == ["ok", "EPERM", "EPERM", "ok", "ok", "EPERM", "EPERM", "ok"]
    assert net.read(RMEM) == (4096, 65_536, 800_000)


def test_a_vectors_original_passes_whole(guard: LoadedGuard, group: Group, net: Net) -> None:
    original = net.read(RMEM)
    assert isinstance(original, tuple)
    guard.set_rules(
        [rule(RMEM, original, minimum=(4096, 65_536, 100_000), maximum=(4096, 65_536, 100_000))]
    )
    text = " ".join(map(str, original))
    assert group.write(sysctl_path(RMEM), text, netns=net.ref.netns) == ["ok"]


def test_a_vector_is_clamped_number_by_number(guard: LoadedGuard, group: Group, net: Net) -> None:
    limits = {"minimum": (4096, 65_536, 100_000), "maximum": (8192, 131_072, 900_000)}
    guard.set_rules([rule(RMEM, net.read(RMEM), Action.CLAMP, **limits)])
    path = sysctl_path(RMEM)
    assert group.write(path, "9000 70000 99", netns=net.ref.netns) == ["ok"]
    assert net.read(RMEM) == (8192, 70_000, 100_000)


def test_words_are_chosen_from_a_list_and_the_original(
    guard: LoadedGuard, group: Group, net: Net
) -> None:
    original = net.read(CONTROL)
    other = "reno" if original != "reno" else "cubic"
    guard.set_rules([rule(CONTROL, original, choices=(other,))])
    path = sysctl_path(CONTROL)
    assert group.write(
        path, other, f"{other}\n", str(original), "bic", f"{other}x", netns=net.ref.netns
    ) == ["ok", "ok", "ok", "EPERM", "EPERM"]


def test_a_rule_of_one_namespace_does_not_bind_in_another(
    guard: LoadedGuard, group: Group, net: Net
) -> None:
    if not guard.sees_netns:
        pytest.skip(f"the writer's namespace is unknown here: {guard.netns_why}")
    cookie = net.inside(netns_cookie)
    guard.set_rules([rule(FIN, 60, netns=cookie, minimum=10, maximum=20)])
    path = sysctl_path(FIN)
    other = Net()
    try:
        assert group.write(path, "30", netns=net.ref.netns) == ["EPERM"]
        assert group.write(path, "30", netns=other.ref.netns) == ["ok"]
    finally:
        other.close()


def test_an_event_says_who_wrote_what_where(guard: LoadedGuard, net: Net) -> None:
    guard.audit_everybody()
    guard.set_rules([watched_rule(sysctl_path(FIN), netns=net.inside(netns_cookie))])
    pid, _ = write_as("", sysctl_path(FIN), "33", netns=net.ref.netns)
    [event] = guard.events()
    assert (event.pid, event.uid, event.knob) == (pid, 0, "net/ipv4/tcp_fin_timeout")
    assert (event.old, event.new, event.verdict) == ("60", "33", Verdict.SEEN)
    assert event.comm.startswith("python")
    if guard.sees_netns:
        assert event.netns == net.inside(netns_cookie)
    else:
        assert event.netns is None and guard.netns_why


def test_our_own_writes_are_not_told(guard: LoadedGuard, net: Net) -> None:
    guard.audit_everybody()
    guard.set_rules([watched_rule(sysctl_path(FIN), netns=net.inside(netns_cookie))])
    net.write(FIN, "33")
    assert guard.events() == []


def test_a_refused_write_is_told_once(
    guard: LoadedGuard, group: Group, host_knobs: HostKnobs
) -> None:
    guard.audit_everybody()
    guard.set_rules([rule(SWAP, 60, minimum=10, maximum=80)])
    assert group.write(SWAP_PATH, "81", "70") == ["EPERM", "ok"]
    assert [event.verdict for event in guard.events()] == [Verdict.DENIED, Verdict.SEEN]


def test_events_of_writers_at_the_same_time_are_not_mixed(guard: LoadedGuard, net: Net) -> None:
    guard.audit_everybody()
    guard.set_rules([watched_rule(sysctl_path(FIN), netns=net.inside(netns_cookie))])
    values = range(100, 108)

    def written(value: int) -> int:
        return write_as("", sysctl_path(FIN), *[str(value)] * 50, netns=net.ref.netns)[0]

    with ThreadPoolExecutor(len(values)) as pool:
        pids = dict(zip(pool.map(written, values), values, strict=True))
    events = [event for event in guard.events() if event.pid in pids]
    assert len(events) == 50 * len(values)
    assert all(event.new == str(pids[event.pid]) for event in events)
    assert {event.old for event in events} <= {"60", *map(str, values)}
    assert guard.counters("net/ipv4/tcp_fin_timeout").lost == 0
    assert list(guard.object.map("making").keys()) == []


def test_events_of_other_knobs_are_not_told(guard: LoadedGuard, net: Net) -> None:
    guard.audit_everybody()
    guard.set_rules([watched_rule(sysctl_path(FIN), netns=net.inside(netns_cookie))])
    path = sysctl_path("net.ipv4.tcp_keepalive_time")
    pid, _ = write_as("", path, "7000", netns=net.ref.netns)
    assert pid not in {event.pid for event in guard.events()}


def test_a_full_ring_is_counted_and_the_limits_still_hold(
    guard: LoadedGuard, group: Group, host_knobs: HostKnobs
) -> None:
    guard.set_rules([rule(SWAP, 60, minimum=10, maximum=80)])
    assert set(group.write(SWAP_PATH, *["90"] * 1499, "91")) == {"EPERM"}
    counted = guard.counters("vm/swappiness")
    assert counted.denied == 1500
    assert counted.lost == 1500 - len(guard.events()) > 0
    raw = guard.object.map("last").lookup(wire.encode_name("vm/swappiness"))
    assert raw is not None and wire.decode_event(raw).new == "91"


def test_closing_the_guard_frees_the_group(
    guard: LoadedGuard, group: Group, host_knobs: HostKnobs
) -> None:
    guard.set_rules([rule(SWAP, 60, minimum=10, maximum=80)])
    assert group.write(SWAP_PATH, "90") == ["EPERM"]
    guard.close()
    assert group.write(SWAP_PATH, "90") == ["ok"]


def test_the_guard_without_btf_judges_all_the_same(host_knobs: HostKnobs) -> None:
    """The object for kernels without BTF, which this kernel loads as well."""
    why = why_no_guard()
    if why is not None:
        pytest.skip(f"the guard does not load here: {why}")
    with closing(LoadedGuard(prefer=("guard_plain",))) as plain, new_group("plain") as group:
        assert not plain.sees_netns and plain.netns_why
        plain.audit_everybody()
        plain.bind(group.folder)
        plain.set_rules([rule(SWAP, 60, minimum=10, maximum=80)])
        assert group.write(SWAP_PATH, "81", "70") == ["EPERM", "ok"]
        assert [(e.verdict, e.netns) for e in plain.events()] == [
            (Verdict.DENIED, None),
            (Verdict.SEEN, None),
        ]
    assert OBJECTS[0] == "guard"


# --- rules, without a kernel ----------------------------------------------------------------------


def test_sysfs_has_no_rule() -> None:
    assert watched_rule("/sys/kernel/mm/ksm/run", netns=0) is None


def test_a_kept_knob_may_hold_its_value_or_go_back() -> None:
    made = kept_rule(SWAP_PATH, tunable(SWAP).type, (10, 60), action=Action.DENY, netns=0)
    assert made is not None
    assert (made.kind, made.exact) == (Kind.RANGE, ((10,), (60,)))
    assert made.low > made.high


def test_a_stepping_stone_of_a_restore_passes() -> None:
    made = rule("vm.dirty_ratio", 0, minimum=5, maximum=50)
    assert (0,) in made.exact and (1,) in made.exact


def test_an_event_survives_its_layout() -> None:
    raw = wire._EVENT.pack(
        2_500_000_000, 0, 7, 1000, 1, 1, b"sh", b"vm/swappiness", b"60\n", b"\xff"
    )
    event = wire.decode_event(raw)
    assert (event.time_s, event.netns, event.uid, event.old, event.unparsed) == (
        2.5,
        None,
        1000,
        "60",
        True,
    )
