"""The modes in the kernel: emergency, schedules, trees; whatever becomes of user space."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from ktune.kernel.values import ValueType
from ktune.policy.kernel_tree import KernelPace, features_in, kernel_tree
from ktune.policy.tree import Question, Switching, Tree
from ktune.profile.features import FEATURES
from ktune.proxy.module import device as wire
from ktune.proxy.module import modes
from ktune.proxy.module.device import Device
from ktune.proxy.module.modes import Keeps, KernelEvent, KernelMode, StampFlag
from tests.knobs import read_knob, write_knob
from tests.proxy.rig import wait_until

KNOB = "/proc/sys/vm/swappiness"
SYSRQ = "/proc/sysrq-trigger"
BASELINE, BUSY, QUIET = "60", "11", "22"
TREE: Tree = Question("packets", 200, "busy", "quiet")
NAMES = ("busy", "quiet")
PACE = KernelPace(0.2, Switching(dwell_s=0.2, looks=2))
KEEPS = {"keeps": Keeps.ON, "until its lease ends": Keeps.LEASE, "paused": Keeps.LEASE}

pytestmark = pytest.mark.skipif(
    not os.path.exists(wire.DEVICE), reason="needs the ktune module (/dev/ktune)"
)


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    write_knob(KNOB, BASELINE)
    yield
    write_mode("low_kib", "0")
    write_mode("quiet_s", "0")
    if modes.shown("mode") != "idle":
        write_mode("mode", "idle")
    wait_until(lambda: modes.shown("mode") == "idle")
    write_knob(KNOB, BASELINE)


def write_mode(name: str, text: str) -> None:
    write_knob(str(modes.SYSFS / name), text)


def knob() -> str:
    return read_knob(KNOB)


@contextmanager
def session(lasts_s: float = 60.0) -> Iterator[Device]:
    """A lease on the knob, with an assignment in slot 1 and one in slot 2."""
    with closing(Device()) as device:
        device.add("vm.swappiness", ValueType.INT)
        device.begin(lasts_s)
        device.stage(1, [(0, BUSY)])
        device.stage(2, [(0, QUIET)])
        yield device


def refused(call: Callable[[], object]) -> int:
    """The errno with which it was refused; 0: it was not."""
    try:
        call()
    except OSError as error:
        return error.errno or -1
    return 0


def collaborating(device: Device) -> None:
    modes.tell(device, KernelEvent.STARTED)
    assert modes.tell(device, KernelEvent.FINALISTS).mode == KernelMode.COLLABORATION


def watching(device: Device, *, keeps: Keeps = Keeps.NOT, tree: Tree = TREE) -> None:
    assert modes.tell(device, KernelEvent.WATCH).mode == KernelMode.RECOMMENDATION
    pace = KernelPace(PACE.sample_s, PACE.switching, keeps)
    modes.start_tree(device, kernel_tree(tree, NAMES, "quiet", pace))


def send_packets(until: Callable[[], bool], limit: int = 400_000) -> None:
    """Packets on the loopback of the host's namespace."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as out:
        for sent in range(limit):
            out.sendto(b"x" * 64, ("127.0.0.1", 9))
            if sent % 50 == 0 and until():
                return
    raise AssertionError(f"not so after {limit} packets: {modes.shown('tree/found')}")


CHILD = """
import sys, time
sys.path.insert(0, {root!r})
from tests.guest.inside.test_modes import child
child(sys.argv[1])
"""


def child(what: str) -> None:
    """A process of its own that holds the session, says so, and lives on."""
    with session(lasts_s=15.0 if what in KEEPS else 60.0) as device:
        if what == "schedule":
            collaborating(device)
            modes.start_schedule(device, [True, False, False, True], 0.3)
        else:
            watching(device, keeps=KEEPS.get(what, Keeps.NOT))
        if what == "paused":
            modes.pause_tree(device)
            device.apply([(0, BASELINE)])
        print("ready", flush=True)
        sys.stdin.read()
        windows = modes.stamps(device).windows
        print(json.dumps([[w.candidate, w.begun_ns, w.ended_ns, w.flags] for w in windows]))


@contextmanager
def child_process(what: str) -> Iterator[subprocess.Popen[str]]:
    root = str(Path(__file__).parents[3])
    words = [sys.executable, "-c", CHILD.format(root=root), what]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.kill()


# ---- the machine ----


def test_the_third_trip_restores_and_refuses_until_somebody_clears_it() -> None:
    with session() as device:
        modes.tell(device, KernelEvent.STARTED, max_trips=3)
        for trip in (1, 2):
            device.apply([(0, "70")])
            now = modes.tell(device, KernelEvent.TRIPPED)
            assert (now.mode, now.trips, knob()) == (KernelMode.LEARNING, trip, BASELINE)
        device.apply([(0, "70")])
        assert modes.tell(device, KernelEvent.TRIPPED).mode == KernelMode.EMERGENCY
        wait_until(lambda: knob() == BASELINE)
    assert refused(lambda: session().__enter__()) == errno.EPERM
    assert refused(lambda: write_mode("mode", "learning")) == errno.EINVAL
    write_mode("mode", "idle")
    with session() as device:
        modes.tell(device, KernelEvent.STARTED)
        device.apply([(0, "70")])
        assert knob() == "70"


def test_one_session_holds_the_mode() -> None:
    with session() as holder, closing(Device()) as other:
        modes.tell(holder, KernelEvent.STARTED)
        other.add("vm.vfs_cache_pressure", ValueType.INT)
        assert refused(lambda: modes.tell(other, KernelEvent.STARTED)) == errno.EBADFD
        other.begin(60)
        assert refused(lambda: modes.tell(other, KernelEvent.STARTED)) == errno.EBUSY
        assert refused(lambda: modes.tell(other, KernelEvent.CONFIRMED)) == errno.ESRCH
        assert refused(lambda: modes.tell(holder, KernelEvent.WATCH)) == errno.EBADFD
        assert refused(lambda: write_mode("mode", "idle")) == errno.EBUSY
    assert modes.shown("mode") == "idle"


def test_a_lease_that_is_not_renewed_while_learning_is_an_emergency() -> None:
    with session(lasts_s=0.5) as device:
        modes.tell(device, KernelEvent.STARTED)
        device.apply([(0, "70")])
        wait_until(lambda: modes.shown("mode") == "emergency")
        assert modes.shown("reason") == "the lease was not renewed"
        wait_until(lambda: knob() == BASELINE)


def test_a_search_whose_process_dies_leaves_nothing_and_no_emergency() -> None:
    with child_process("schedule") as process:
        process.kill()
        process.wait()
        wait_until(lambda: modes.shown("mode") == "idle")
        wait_until(lambda: knob() == BASELINE)


# ---- emergency ----


def test_emergency_in_sysfs_restores_what_is_leased_and_refuses_more() -> None:
    before = int(modes.shown("stats/emergencies"))
    with session() as device:
        device.apply([(0, "70")])
        write_mode("mode", "emergency")
        wait_until(lambda: knob() == BASELINE)
        assert refused(lambda: device.apply([(0, "70")])) in (errno.EPERM, errno.ESTALE)
    assert modes.shown("mode") == "emergency"
    assert int(modes.shown("stats/emergencies")) == before + 1


def test_an_emergency_ends_after_the_quiet_time_that_was_set() -> None:
    write_mode("quiet_s", "1")
    write_mode("mode", "emergency")
    assert modes.shown("mode") == "emergency"
    wait_until(lambda: modes.shown("mode") == "idle")
    assert modes.shown("reason") == "quiet again"


def test_low_memory_is_an_emergency() -> None:
    with session() as device:
        device.apply([(0, "70")])
        total_kib = int(Path("/proc/meminfo").read_text().split()[1])
        write_mode("low_kib", str(total_kib // 4 * 3))
        with chunk_of_memory(total_kib // 5 * 2):  # a tmpfs takes half, and has other files
            wait_until(lambda: reclaimed() and modes.shown("mode") == "emergency")
            assert modes.shown("reason") == "memory is low"
            wait_until(lambda: knob() == BASELINE)


@pytest.mark.skipif(not os.path.exists(SYSRQ), reason=f"needs {SYSRQ}")
def test_the_oom_killer_is_an_emergency() -> None:
    victim = (
        "open('/proc/self/oom_score_adj', 'w').write('1000'); print('ready', flush=True); input()"
    )
    words = [sys.executable, "-I", "-S", "-c", victim]
    with (
        session() as device,
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        device.apply([(0, "70")])
        write_knob(SYSRQ, "f")  # asks for the OOM killer (Documentation/admin-guide/sysrq.rst)
        assert process.wait(60) == -signal.SIGKILL
        wait_until(lambda: modes.shown("mode") == "emergency")
        assert modes.shown("reason") == "out of memory"
        wait_until(lambda: knob() == BASELINE)


@contextmanager
def chunk_of_memory(kib: int) -> Iterator[None]:
    """So much is taken, by pages of a tmpfs."""
    path = Path("/tmp/chunk")
    try:
        with path.open("wb") as file:
            for _ in range(kib // 1024):
                file.write(b"\1" * (1 << 20))
        yield
    finally:
        path.unlink(missing_ok=True)


def reclaimed() -> bool:
    """Have the kernel ask its shrinkers."""
    write_knob("/proc/sys/vm/drop_caches", "2")
    return True


def test_nonsense_in_sysfs_is_refused() -> None:
    for name, text, why in (
        ("mode", "recommendation", errno.EINVAL),
        ("mode", "", errno.EINVAL),
        ("low_kib", "-1", errno.EINVAL),
        ("low_kib", "99999999999999", errno.ERANGE),
        ("quiet_s", "86401", errno.ERANGE),
    ):
        assert refused(lambda name=name, text=text: write_mode(name, text or "\n")) == why


# ---- collaboration by a schedule ----


def test_the_kernel_switches_as_the_coins_say_and_stamps_it() -> None:
    coins = [True, False, False, True]
    with session() as device:
        collaborating(device)
        modes.start_schedule(device, coins, 0.2)
        assert refused(lambda: device.apply([(0, "5")])) == errno.EBUSY
        seen: set[tuple[str, str]] = set()
        while not (found := modes.stamps(device)).over:
            arm = modes.shown("schedule/arm")
            value = knob()
            if arm == modes.shown("schedule/arm"):
                seen.add((arm, value))
        assert [w.candidate for w in found.windows] == [
            arm for first in coins for arm in (first, not first)
        ]
        assert {("1", BUSY), ("0", BASELINE)} <= seen
        wait_until(lambda: knob() == BASELINE)
        for before, after in zip(found.windows, found.windows[1:], strict=False):
            assert before.asked_ns <= before.begun_ns < before.ended_ns <= after.asked_ns
            assert before.ended_ns - before.begun_ns >= 200_000_000


def test_a_stalled_user_space_does_not_skew_the_halves() -> None:
    with child_process("schedule") as process:
        os.kill(process.pid, signal.SIGSTOP)  # for longer than all the windows together
        wait_until(lambda: modes.shown("schedule/over") == "1")
        os.kill(process.pid, signal.SIGCONT)
        out, _ = process.communicate("")
    rows = json.loads(out)
    assert [row[0] for row in rows] == [True, False, False, True, False, True, True, False]
    lengths = [(end - begun) / 1e9 for _, begun, end, _ in rows]
    for length, (*_, flags) in zip(lengths, rows, strict=True):
        assert length >= 0.3
        assert bool(flags & StampFlag.LATE) == (length > 0.33)
        assert not flags & (StampFlag.FAILED | StampFlag.CUT)


def test_a_schedule_has_its_place_in_collaboration_with_a_staged_candidate() -> None:
    with session() as device:
        assert refused(lambda: modes.start_schedule(device, [True], 0.2)) == errno.ESRCH
        modes.tell(device, KernelEvent.STARTED)
        assert refused(lambda: modes.start_schedule(device, [True], 0.2)) == errno.EBADFD
        modes.tell(device, KernelEvent.FINALISTS)
        assert refused(lambda: modes.start_schedule(device, [True], 0.2, 3)) == errno.ENOENT
        assert refused(lambda: modes.start_schedule(device, [True], 0.001)) == errno.EINVAL
        assert refused(lambda: modes.stamps(device)) == errno.ENODATA
        modes.start_schedule(device, [True], 0.2)


def test_a_foreign_write_on_the_way_ends_the_schedule_and_stays() -> None:
    with session() as device:
        collaborating(device)
        modes.start_schedule(device, [True, True, True], 0.3)
        wait_until(lambda: knob() == BUSY)
        write_knob(KNOB, "33")
        wait_until(lambda: modes.stamps(device).over)
        flags = [window.flags for window in modes.stamps(device).windows]
        assert StampFlag.FAILED in flags[-1]
        assert len(flags) < 6
    assert knob() == "33"


def test_stopping_a_schedule_brings_the_baseline() -> None:
    with session() as device:
        collaborating(device)
        modes.start_schedule(device, [True] * 50, 0.5)
        wait_until(lambda: knob() == BUSY)
        modes.stop(device)
        assert knob() == BASELINE
        found = modes.stamps(device)
        assert (found.over, found.windows[-1].flags) == (True, StampFlag.CUT)
        assert refused(lambda: modes.stop(device)) == errno.ESRCH


def test_the_window_that_an_emergency_cuts_short_is_told() -> None:
    with session() as device:
        collaborating(device)
        modes.start_schedule(device, [True] * 50, 0.5)
        wait_until(lambda: knob() == BUSY)
        write_mode("mode", "emergency")
        wait_until(lambda: knob() == BASELINE)
        found = modes.stamps(device)
        assert found.over and StampFlag.CUT in found.windows[-1].flags
        assert len(found.windows) < found.planned
    wait_until(lambda: modes.shown("sessions") == "0")


# ---- a tree ----


def test_the_tree_follows_the_load() -> None:
    with session() as device:
        watching(device)
        wait_until(lambda: knob() == QUIET)
        send_packets(lambda: knob() == BUSY)
        assert modes.shown("tree/leaf") == "0"
        wait_until(lambda: knob() == QUIET)
        assert refused(lambda: device.apply([(0, "5")])) == errno.EBUSY
    assert knob() == BASELINE


def test_a_tree_that_keeps_goes_on_when_its_process_is_killed() -> None:
    with child_process("keeps") as process:
        wait_until(lambda: knob() == QUIET)
        process.kill()
        process.wait()
        send_packets(lambda: knob() == BUSY)
        wait_until(lambda: knob() == QUIET)
        assert (modes.shown("mode"), modes.shown("unguarded")) == ("recommendation", "1")
        assert subprocess.run(["rmmod", "ktune"], capture_output=True).returncode != 0
        write_mode("mode", "idle")
        wait_until(lambda: knob() == BASELINE)
        wait_until(lambda: modes.shown("sessions") == "0")


def test_a_tree_that_does_not_keep_falls_back_when_its_process_is_killed() -> None:
    with child_process("falls") as process:
        wait_until(lambda: knob() == QUIET)
        process.kill()
        process.wait()
        wait_until(lambda: knob() == BASELINE)
        assert modes.shown("mode") == "idle"


def test_a_tree_that_keeps_renews_its_lease_and_an_emergency_ends_it() -> None:
    with child_process("keeps") as process:
        process.kill()
        process.wait()
        looks = int(modes.shown("stats/looks"))
        wait_until(lambda: int(modes.shown("stats/looks")) > looks + 3)
        write_mode("mode", "emergency")
        wait_until(lambda: knob() == BASELINE)
        wait_until(lambda: modes.shown("sessions") == "0")


def test_a_kept_lease_outlasts_its_first_deadline() -> None:
    with session(lasts_s=1.5) as device:
        watching(device, keeps=Keeps.ON)
        looks = int(modes.shown("stats/looks"))
        wait_until(lambda: int(modes.shown("stats/looks")) > looks + 15)  # of 0.2 s each
        assert modes.shown("mode") == "recommendation"
        assert int(modes.shown("lease")) > 0


def test_a_tree_that_keeps_until_its_lease_ends_goes_back_then_without_an_emergency() -> None:
    with child_process("until its lease ends") as process:
        wait_until(lambda: knob() == QUIET)
        process.kill()
        process.wait()
        assert (modes.shown("mode"), modes.shown("unguarded")) == ("recommendation", "1")
        send_packets(lambda: knob() == BUSY)
        wait_until(lambda: knob() == BASELINE)
        wait_until(lambda: modes.shown("mode") == "idle")
        wait_until(lambda: modes.shown("sessions") == "0")


def test_a_tree_that_is_paused_leaves_the_knobs_to_its_session_and_remembers() -> None:
    with session() as device:
        assert refused(lambda: modes.pause_tree(device)) == errno.ESRCH
        watching(device)
        send_packets(lambda: knob() == BUSY)
        modes.pause_tree(device)
        assert modes.shown("tree/paused") == "1"
        chosen = (modes.shown("tree/leaf"), modes.shown("tree/changes"))
        looks = modes.shown("stats/looks")
        device.apply([(0, BASELINE)])
        time.sleep(5 * PACE.sample_s)
        assert (knob(), modes.shown("stats/looks")) == (BASELINE, looks)
        assert (modes.shown("tree/leaf"), modes.shown("tree/changes")) == chosen
        modes.resume_tree(device)
        assert refused(lambda: device.apply([(0, BASELINE)])) == errno.EBUSY
        wait_until(lambda: knob() in (BUSY, QUIET))
        wait_until(lambda: modes.shown("stats/looks") != looks)


def test_pausing_again_and_again_never_leaves_a_switch_behind() -> None:
    """What the tree was about to write must not come after the session's own write."""
    with session() as device:
        watching(device)
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as out:
            for turn in range(60):
                for _ in range(40 * (turn % 3)):
                    out.sendto(b"x" * 64, ("127.0.0.1", 9))
                modes.pause_tree(device)
                device.apply([(0, "71")])
                assert knob() == "71"
                time.sleep(0.01)
                assert knob() == "71"
                modes.resume_tree(device)


def test_a_paused_tree_goes_on_when_its_process_is_killed() -> None:
    with child_process("paused") as process:
        assert knob() == BASELINE
        process.kill()
        process.wait()
        wait_until(lambda: knob() == QUIET)
        assert modes.shown("tree/paused") == "0"
        write_mode("mode", "idle")
        wait_until(lambda: knob() == BASELINE)


def test_a_schedule_can_not_be_paused() -> None:
    with session() as device:
        collaborating(device)
        modes.start_schedule(device, [True] * 5, 0.5)
        assert refused(lambda: modes.pause_tree(device)) == errno.EBADFD


def test_what_the_kernel_counts_is_what_user_space_counts() -> None:
    known = features_in(modes.known_features())
    assert {"packets", "major_faults", "cpu_busy", "context_switches", "forks"} <= set(known)
    assert not {name for name in known if name.endswith("_pressure")}
    with session() as device:
        watching(device)
        send_packets(lambda: int(modes.shown("tree/found").split()[10]) > 200)
        found = dict(zip(FEATURES, modes.shown("tree/found").split(), strict=True))
    assert int(found["packets"]) > 200
    assert found["forks"] == "0", "nobody asks for it"


@pytest.mark.parametrize("feature", ["cpu_pressure", "memory_pressure", "io_pressure"])
def test_a_feature_that_the_kernel_does_not_export_is_refused(feature: str) -> None:
    with session() as device:
        modes.tell(device, KernelEvent.WATCH)
        tree = kernel_tree(Question(feature, 5, "busy", "quiet"), NAMES, "quiet", PACE)
        assert refused(lambda: modes.start_tree(device, tree)) == errno.EOPNOTSUPP


def test_a_tree_without_its_leaves_is_refused() -> None:
    four = Question("forks", 9, Question("packets", 5, "a", "b"), Question("packets", 3, "c", "d"))
    with session() as device:
        tree = kernel_tree(four, ("a", "b", "c", "d"), "a", PACE)
        modes.tell(device, KernelEvent.WATCH)
        assert refused(lambda: modes.start_tree(device, tree)) == errno.ENOENT


def test_a_tree_has_its_place_in_recommendation() -> None:
    with session() as device:
        tree = kernel_tree(TREE, NAMES, "quiet", PACE)
        assert refused(lambda: modes.start_tree(device, tree)) == errno.ESRCH
        modes.tell(device, KernelEvent.STARTED)
        assert refused(lambda: modes.start_tree(device, tree)) == errno.EBADFD


def test_a_foreign_write_stays_while_the_tree_goes_on() -> None:
    with session() as device:
        watching(device)
        wait_until(lambda: knob() == QUIET)
        write_knob(KNOB, "33")
        send_packets(lambda: modes.shown("tree/leaf") == "0")
        wait_until(lambda: modes.shown("tree/leaf") == "1")
        assert (knob(), modes.shown("mode")) == ("33", "recommendation")
    assert knob() == "33"


def test_a_tree_that_leads_outside_is_refused() -> None:
    good = kernel_tree(TREE, NAMES, "quiet", PACE)
    then = 24 + 3 * 8 + 1  # of the first node: kmod/uapi/ktune_modes.h
    with session() as device:
        modes.tell(device, KernelEvent.WATCH)
        for place, references in ((then, range(128)), (then, range(130, 256)), (16, range(8, 256))):
            for reference in references:
                raw = bytearray(good)
                raw[place] = reference
                assert refused(lambda raw=raw: modes.start_tree(device, bytes(raw))) == errno.EINVAL
        modes.start_tree(device, good)


def test_nonsense_over_ioctl_changes_nothing() -> None:
    chance = random.Random(7)
    requests = (modes.IOC_MODE, modes.IOC_SCHEDULE, modes.IOC_STAMPS, modes.IOC_TREE)
    tree = kernel_tree(TREE, NAMES, "quiet", PACE)
    with session() as device:
        modes.tell(device, KernelEvent.WATCH)
        for turn in range(400):
            request = requests[turn % len(requests)]
            raw = bytearray(chance.randbytes(request >> 16 & 0x3FFF))
            if request == modes.IOC_TREE and turn % 3:
                raw = bytearray(tree)
                raw[chance.randrange(24)] = chance.randrange(256)
            with suppress(OSError):
                fcntl.ioctl(device.fd, request, raw)
        for request in requests:
            size = request >> 16 & 0x3FFF
            number = request & 0xC000FFFF
            with pytest.raises(OSError):
                fcntl.ioctl(device.fd, number | (size + 8) << 16, bytearray(size + 8))
