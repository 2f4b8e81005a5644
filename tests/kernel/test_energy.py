"""Energy counters in folders laid out like sysfs, and what this very host says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.kernel.energy import EnergyCounter, EnergyMeter, NoEnergy, added_uj, counters

RANGE = 262143328850
"""`max_energy_range_uj` of an Intel desktop processor."""


def zone(sysfs: Path, folder: str, name: str, uj: int = 0) -> Path:
    path = sysfs / "class" / "powercap" / folder
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{uj}\n")
    (path / "max_energy_range_uj").write_text(f"{RANGE}\n")
    return path / "energy_uj"


def sensor(sysfs: Path, device: str, number: int, uj: int, label: str = "") -> Path:
    path = sysfs / "class" / "hwmon" / device
    path.mkdir(parents=True, exist_ok=True)
    (path / "name").write_text("amd_energy\n")
    if label:
        (path / f"energy{number}_label").write_text(f"{label}\n")
    (path / f"energy{number}_input").write_text(f"{uj}\n")
    return path / f"energy{number}_input"


@pytest.fixture
def two_packages(tmp_path: Path) -> Path:
    """A server with two sockets as the kernel lays it out."""
    for package in (0, 1):
        zone(tmp_path, f"intel-rapl:{package}", f"package-{package}", 1000)
        zone(tmp_path, f"intel-rapl:{package}:0", "core")
        zone(tmp_path, f"intel-rapl:{package}:1", "dram", 500)
    zone(tmp_path, "intel-rapl:2", "psys", 9000)
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 1000)
    (tmp_path / "class" / "powercap" / "intel-rapl").mkdir()
    return tmp_path


def test_packages_are_added_up_and_nothing_is_counted_twice(two_packages: Path) -> None:
    found = counters(sysfs=two_packages)

    assert [item.name for item in found] == ["package-0", "package-1"]
    assert {item.wraps_at_uj for item in found} == {RANGE}


def test_a_counter_can_be_named(two_packages: Path) -> None:
    assert [item.name for item in counters("dram", sysfs=two_packages)] == ["dram", "dram"]
    with pytest.raises(NoEnergy, match=r"is called gpu \(there: core, dram, pack"):
        counters("gpu", sysfs=two_packages)


def test_joules_go_on_over_a_wrap(two_packages: Path) -> None:
    file = two_packages / "class" / "powercap" / "intel-rapl:0" / "energy_uj"
    file.write_text(f"{RANGE - 2_000_000}\n")
    meter = EnergyMeter(counters("package-0", sysfs=two_packages))

    file.write_text("3000000\n")
    assert meter.joules() == 5.0
    file.write_text("4000000\n")
    assert meter.joules() == 6.0


def test_hwmon_counts_sockets_not_their_cores(tmp_path: Path) -> None:
    sensor(tmp_path, "hwmon1", 1, 5, "Ecore000")
    sensor(tmp_path, "hwmon1", 2, 5, "Ecore001")
    file = sensor(tmp_path, "hwmon1", 3, 1_000_000, "Esocket0")
    meter = EnergyMeter(counters(sysfs=tmp_path))

    file.write_text("3500000\n")

    assert meter.joules() == 2.5
    file.write_text("1\n")
    with pytest.raises(NoEnergy, match="went backwards"):
        meter.joules()


def test_several_counters_that_nobody_explains_are_not_added_up(tmp_path: Path) -> None:
    sensor(tmp_path, "hwmon0", 1, 5)
    assert [item.name for item in counters(sysfs=tmp_path)] == ["amd_energy.energy1"]
    sensor(tmp_path, "hwmon0", 2, 5)

    with pytest.raises(NoEnergy, match=r"amd_energy\.energy1, amd_energy\.energy2"):
        counters(sysfs=tmp_path)


def test_a_machine_without_counters_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(NoEnergy, match="looked for /sys/class/powercap/intel-rapl"):
        counters(sysfs=tmp_path)


def test_a_counter_that_is_no_number_is_no_energy(tmp_path: Path) -> None:
    file = zone(tmp_path, "intel-rapl:0", "package-0")
    file.write_text("\n")

    with pytest.raises(NoEnergy, match="energy_uj"):
        EnergyMeter(counters(sysfs=tmp_path))
    with pytest.raises(NoEnergy):
        EnergyMeter([EnergyCounter("gone", tmp_path / "gone")])


@given(st.integers(0, RANGE), st.integers(0, RANGE - 1))
def test_what_was_added_is_found_again_over_at_most_one_wrap(before: int, added: int) -> None:
    now = (before + added) % RANGE if before + added >= RANGE else before + added

    assert added_uj(before, now, RANGE) == added
