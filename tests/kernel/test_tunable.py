"""Outcomes of writes on the real kernel."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

from ktune.kernel.held_files import HeldFiles
from ktune.kernel.tunable import Outcome, Tunable, WriteResult, read_value, sysctl_path, write_value
from ktune.kernel.values import Value, ValueType
from tests.conftest import HostKnobs
from tests.proxy.rig import LoopDevice, tunable

SWAPPINESS = tunable("vm.swappiness")
REPO = Path(__file__).resolve().parents[2]

READ_ONLY = """
import json
import os
from ktune.kernel.tunable import read_value, write_value
from tests.proxy.rig import tunable
knob = tunable("vm.swappiness")
result = write_value(knob, 17, read_value(knob))
print(json.dumps([result.outcome.value, result.errno, result.observed]))
"""


PROGRAM = (sys.executable, "-c", READ_ONLY)


def write(knob: Tunable, value: Value) -> WriteResult:
    return write_value(knob, value, read_value(knob))


def test_a_value_taken_by_the_kernel_is_applied(host_knobs: HostKnobs) -> None:
    result = write(SWAPPINESS, 17)
    assert (result.outcome, result.observed) == (Outcome.APPLIED, 17)
    assert host_knobs.read(SWAPPINESS.path) == "17"


def test_a_value_in_force_already_is_unchanged_and_not_written(root: None) -> None:
    before = read_value(SWAPPINESS)
    result = write_value(SWAPPINESS, before, before)
    assert (result.outcome, result.before, result.observed) == (Outcome.UNCHANGED, before, before)


def test_a_value_the_kernel_forbids_is_refused_with_its_errno(host_knobs: HostKnobs) -> None:
    result = write(SWAPPINESS, 100_000)
    assert (result.outcome, result.errno) == (Outcome.REFUSED, errno.EINVAL)
    assert result.observed == result.before
    assert "refused" in result.message


def test_a_zero_to_the_bytes_form_is_refused(host_knobs: HostKnobs) -> None:
    result = write_value(tunable("vm.dirty_bytes"), 0, None)
    assert (result.outcome, result.errno) == (Outcome.REFUSED, errno.EINVAL)


def test_a_knob_this_kernel_lacks_is_missing(root: None) -> None:
    result = write_value(tunable("vm.no_such_knob"), 1, None)
    assert (result.outcome, result.observed) == (Outcome.MISSING, None)


def test_a_knob_mounted_read_only_says_so(host_knobs: HostKnobs) -> None:
    mounts = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys"
    done = subprocess.run(
        [*("unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh"), *PROGRAM],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=True,
    )
    outcome, code, observed = json.loads(done.stdout)
    assert (outcome, code) == ("read_only", errno.EROFS)
    assert str(observed) == host_knobs.read(SWAPPINESS.path)


def test_a_value_the_kernel_changes_is_clamped_unless_the_catalog_says_that_it_rounds(
    loop: LoopDevice,
) -> None:
    path = loop.knob("read_ahead_kb")  # kept in pages: 5 KiB becomes 4
    result = write(Tunable(path, path, ValueType.INT), 5)
    assert (result.outcome, result.observed, result.intended) == (Outcome.CLAMPED, 4, 5)
    loop.write("read_ahead_kb", "128")
    result = write(Tunable(path, path, ValueType.INT, kernel_rounds=True), 5)
    assert (result.outcome, result.observed) == (Outcome.ROUNDED, 4)
    assert result.outcome.success


def test_a_choice_is_written_bare_and_read_from_its_brackets(loop: LoopDevice) -> None:
    result = write(tunable(loop.knob("scheduler")), "mq-deadline")
    assert (result.outcome, result.before) == (Outcome.APPLIED, "none")


def test_only_what_the_kernel_took_as_meant_counts_as_success() -> None:
    assert {outcome for outcome in Outcome if outcome.success} == {
        Outcome.APPLIED,
        Outcome.UNCHANGED,
        Outcome.ROUNDED,
    }


def test_a_dot_in_a_device_name_is_spelt_with_a_slash() -> None:
    assert sysctl_path("net.ipv4.conf.eth0/100.mtu") == "/proc/sys/net/ipv4/conf/eth0.100/mtu"


def test_a_file_that_takes_no_offset_is_opened_for_each_look(tmp_path: Path) -> None:
    """Most of debugfs; a FIFO refuses pread(2) likewise."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    files = HeldFiles()
    for text in ("17\n", "18\n"):
        os.write(writer, text.encode())
        assert files.text(str(path)) == text
    files.close()
    os.close(writer)
