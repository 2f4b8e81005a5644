"""What the shipped profiles promise beside being valid: reasons, sources, fitting loads."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ktune.catalog.catalog import load_catalog
from ktune.measure.from_profile import BUNDLED, INSTALLED, workload_spec
from ktune.measure.workloads import load_run
from ktune.measure.workloads.options import parse
from ktune.profile import locate
from ktune.profile.fit import misfits
from ktune.profile.host import HostFacts
from ktune.profile.load import load_profile
from ktune.profile.model import Profile
from ktune.profile.resolve import resolve
from ktune.profile.services.f2fs import F2fsService
from ktune.profile.yaml12 import load_yaml

FOLDER = locate.shipped_dir("profiles")
SHIPPED = sorted(FOLDER.glob("*.yaml"))
BASES = {"server-base", "latency-base", "virtual-guest"}
_SOURCE = re.compile(r"\(.*(\.rst|\.c|\.txt|sysfs-\w+|\w+\(\d\)|the same page)")


def knobs_with_comments(path: Path) -> Iterator[tuple[str, str]]:
    """Each searched knob of a file with the comment right above it (of the knob before, where two
    share one)."""
    groups = load_yaml(path.read_bytes(), file=str(path)).mapping["knobs"].mapping.values()
    lines = path.read_text().splitlines()
    comment = ""
    for group in groups:
        for key, knob in group.mapping.items():
            assert knob.key_mark is not None
            at = knob.key_mark.line - 2
            above = []
            while lines[at].lstrip().startswith("#"):
                above.insert(0, lines[at].strip("# "))
                at -= 1
            comment = " ".join(above) or comment
            if knob.value is not None:
                yield key, comment


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_knob_has_its_reason_default_and_source(path: Path) -> None:
    if "knobs" not in load_yaml(path.read_bytes(), file=str(path)).mapping:
        pytest.skip("no knobs of its own")
    for key, comment in knobs_with_comments(path):
        assert "efault" in comment, key
        assert _SOURCE.search(comment), f"{key}: {comment}"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_bundled_load_understands_its_profile(path: Path, facts: HostFacts) -> None:
    workload = load_profile(path, facts=facts).workload
    if workload is None or workload.command[0] not in {*BUNDLED, *INSTALLED}:
        pytest.skip("no bundled load")
    program, *arguments = workload.command
    module = importlib.import_module(BUNDLED.get(program) or INSTALLED[program][0])
    if program in BUNDLED:
        assert workload_spec(workload).argv == tuple(arguments)
    text = Path(str(module.__file__)).read_text()
    common = load_run.COMMON if "load_run import" in text else {}
    parse(arguments, {**common, **module.DEFAULTS})


@pytest.fixture
def guest(facts: HostFacts) -> HostFacts:
    """This host, as a virtual machine."""
    return replace(facts, virt="kvm")


def planned(name: str, facts: HostFacts) -> Profile:
    """A shipped profile that this host can plan."""
    profile = load_profile(FOLDER / f"{name}.yaml", facts=facts)
    resolve(profile, load_catalog(), facts)
    return profile


@pytest.mark.parametrize("name", sorted(BASES))
def test_a_base_has_no_workload_and_needs_nothing_renewed(name: str, guest: HostFacts) -> None:
    profile = planned(name, guest)
    assert profile.workload is None
    catalog = load_catalog()
    for key in (*profile.knobs.sysctl, *profile.knobs.sysfs):
        match = catalog.find(key)
        assert match is not None, key
        assert match.entry.takes_effect.value == "now", key
        assert match.entry.risk.value == "safe", key


@pytest.mark.parametrize("name", sorted(BASES))
def test_a_base_may_be_extended_with_knobs_dropped(
    name: str, tmp_path: Path, guest: HostFacts
) -> None:
    child = tmp_path / "child.yaml"
    child.write_text(
        f"ktune: 1\nkind: profile\nname: child\nextends: [{name}]\n"
        "workload:\n  command: [true]\n  metrics: {t: {from: duration, plausible: [0.001, 9]}}\n"
        "objectives: [{metric: t, direction: minimize}]\n"
        "knobs: {sysctl: {vm.swappiness: null}}\n".replace("[true]", '["true"]')
    )
    profile = load_profile(child, facts=guest)
    resolve(profile, load_catalog(), guest)
    assert "vm.swappiness" not in profile.knobs.sysctl
    assert profile.knobs.sysctl.keys() == load_profile(
        FOLDER / f"{name}.yaml", facts=guest
    ).knobs.sysctl.keys() - {"vm.swappiness"}
    assert profile.expert
    assert all("vm.swappiness" not in setting for setting in profile.expert)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_profile_can_be_planned(path: Path, guest: HostFacts) -> None:
    profile = load_profile(path, facts=guest)
    unfit = [str(problem) for problem in misfits(profile, guest)]
    if unfit:
        pytest.skip(unfit[0])
    plan = resolve(profile, load_catalog(), guest)
    if any(isinstance(service, F2fsService) for service in profile.services):
        assert plan.skipped and not plan.knobs, "they are there only with the file system of a run"
        return
    assert any(knob.dimensions for knob in plan.knobs)


def test_the_table_of_profiles_lists_each_of_them() -> None:
    rows = re.findall(r"^\| ([a-z0-9-]+) \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    named = [row for row in rows if row != "profile"]
    assert sorted(named) == sorted(path.stem for path in SHIPPED)
