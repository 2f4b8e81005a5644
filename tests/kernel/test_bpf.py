"""BPF objects are what their sources say, load here, and say why where they can't."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ktune.kernel.bpf import build
from ktune.kernel.bpf.features import features
from ktune.kernel.bpf.library import BpfError, library
from ktune.kernel.bpf.objects import open_object
from ktune.kernel.cgroup2 import visible_root

HOME = Path(__file__).resolve().parents[2]
TELL = (
    "import json; from ktune.kernel.bpf.features import features; "
    "print(json.dumps([(f.name, f.works, f.why) for f in features()]))"
)


@pytest.fixture
def bpf(root: None) -> None:
    """The test loads BPF programs."""
    try:
        library()
    except BpfError as error:
        pytest.skip(error.why)


def test_the_objects_are_what_their_sources_compile_to() -> None:
    for tool in (build.CLANG, build.STRIP):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    if not Path("/usr/include/bpf/bpf_helpers.h").exists():
        pytest.skip("needs libbpf-dev")
    assert build.sources()
    assert build.differing() == []


@pytest.mark.full
def test_a_changed_source_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which(build.CLANG) is None or shutil.which(build.STRIP) is None:
        pytest.skip(f"needs {build.CLANG} and {build.STRIP}")
    programs = tmp_path / "programs"
    shutil.copytree(build.PROGRAMS, programs)
    monkeypatch.setattr(build, "PROGRAMS", programs)
    source = programs / "probe.bpf.c"
    source.write_text(source.read_text().replace("return 1;", "return 0;"))
    (programs / "orphan.bpf.o").write_bytes(b"")
    assert build.differing() == ["probe.bpf.o", "orphan.bpf.o"]


def test_every_feature_says_what_was_found_and_what_it_is_for(root: None) -> None:
    found = features()
    assert found[0].name == "libbpf"
    assert all(item.why and item.used_for for item in found)
    assert len({item.name for item in found}) == len(found)


def test_probes_leave_no_group_behind(bpf: None) -> None:
    features()
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    roots = [Path(line[1]) for line in mounts if line[2] == "cgroup2"]
    assert not [path for root in roots for path in root.glob("ktune-probe-*")]


def test_without_libbpf_only_that_is_said(bpf: None) -> None:
    maps = Path("/proc/self/maps").read_text().splitlines()
    library_file = next(line.split()[-1] for line in maps if "libbpf.so" in line)
    done = subprocess.run(
        [
            *("unshare", "--mount", "sh", "-ec"),
            f'mount --bind /dev/null {library_file}; exec "$@"',
            *("sh", sys.executable, "-c", TELL),
        ],
        capture_output=True,
        text=True,
        cwd=HOME,
        check=True,
    )
    [(name, works, why)] = json.loads(done.stdout)
    assert (name, works) == ("libbpf", False)
    assert "libbpf.so.1 can't be loaded" in why and "apt install libbpf1" in why


def test_without_the_right_to_load_the_kernels_no_is_told(bpf: None) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv (util-linux)")
    done = subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", TELL],
        capture_output=True,
        text=True,
        cwd=HOME,
        check=True,
    )
    told = {name: (works, why) for name, works, why in json.loads(done.stdout)}
    works, why = told["BPF cgroup/sysctl"]
    assert not works
    assert "Operation not permitted" in why


def test_what_can_not_be_attached_says_where_and_why(bpf: None, tmp_path: Path) -> None:
    with open_object("probe") as probe:
        probe.choose("probe_sysctl")
        try:
            probe.load()
        except BpfError as error:
            pytest.skip(error.why)
        with pytest.raises(BpfError, match=f"probe_sysctl to {tmp_path}: Bad file descriptor"):
            probe.attach_cgroup("probe_sysctl", str(tmp_path))


def test_an_object_that_is_not_there_is_an_incomplete_installation(bpf: None) -> None:
    with pytest.raises(BpfError, match="installation is incomplete"):
        open_object("nothing")


def test_the_visible_cgroup2_mount_is_found() -> None:
    whole = "30 20 0:2 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
    part = "31 20 0:2 /a /mnt/part rw - cgroup2 cgroup2 rw"
    over = "32 30 0:2 /b /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
    hidden = "33 30 0:9 / /sys/fs/cgroup/unified rw - tmpfs tmpfs rw"
    assert visible_root("\n".join([part, whole])) == "/sys/fs/cgroup/unified"
    assert visible_root("\n".join([whole, over])) == "/sys/fs/cgroup/unified"
    assert visible_root("\n".join([whole, hidden, part])) == "/mnt/part"
    assert visible_root("\n".join([whole, hidden])) is None
