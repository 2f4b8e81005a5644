"""What is compiled into the module is the catalog's tunable set and nothing else."""

from __future__ import annotations

import re

import pytest

from ktune.catalog import kernel_rules
from ktune.catalog.generate import KERNEL_RULES
from ktune.catalog.loader import read_entries

NAMES = re.findall(r'\.name = "([^"]+)"', KERNEL_RULES.read_text())


def test_every_reachable_tunable_knob_is_in_it_once() -> None:
    wanted = [entry for entry in read_entries() if kernel_rules.reachable(entry)]
    assert len(NAMES) == len(set(NAMES)) == len(wanted) > 400
    assert set(NAMES) == {kernel_rules.pattern(entry.name) for entry in wanted}


def test_what_runs_programs_or_names_files_is_not_in_it() -> None:
    bad = re.compile(
        r"core_pattern|modprobe|hotplug|uevent_helper|poweroff_cmd|sysrq|binfmt|release_agent"
        r"|notify_on_release|usermodehelper|/debug/|/proc/|firmware|kexec|panic|yama|kptr|dmesg"
        r"|overcommit_(memory|ratio|kbytes)|drop_caches|ip_forward"
    )
    assert [name for name in NAMES if bad.search(name)] == []


def test_names_are_plain_and_patterns_narrow() -> None:
    for name in NAMES:
        assert re.fullmatch(r"(/sys/)?[A-Za-z0-9_./*-]+", name)
        assert ".." not in name and "//" not in name
        assert all(part == "*" or "*" not in part for part in name.split("/"))
        assert name.count("*") <= 1


@pytest.mark.parametrize(
    "name",
    [
        "/sys/block/../x",
        "/proc/sys/vm/swappiness",
        "vm..x",
        "vm",
        "/sys/a{device}b/c",
        "/sys/a b",
        '/sys/a"b',
        "/etc/passwd",
        "vm.x\n",
    ],
)
def test_an_unsafe_name_stops_the_generator(name: str) -> None:
    with pytest.raises(ValueError, match="not a safe name"):
        kernel_rules.pattern(name)
