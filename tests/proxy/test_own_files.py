"""Only the kernel's own files are leased: what lies over or behind them by a mount is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SWAPPINESS = "/proc/sys/vm/swappiness"
AHEAD = "/sys/kernel/mm/ksm/run"
COST = "/sys/kernel/debug/sched/migration_cost_ns"
FORGED = "mkdir -p /sys/kernel/debug/sched; echo 1 > /sys/kernel/debug/sched/migration_cost_ns; "
_ASIDE = ("unshare", "--mount", "--propagation", "private", "sh", "-e", "-c")
CHECK = """
import sys
from ktune.proxy.allowlist import check_file
from ktune.proxy.model import ProxyError
try:
    check_file(sys.argv[1])
except ProxyError as error:
    print(error)
else:
    print("taken")
"""


def checked(mounts: str, path: str, tmp_path: Path) -> str:
    """What is said of a file after these commands, in a mount namespace of its own."""
    (tmp_path / "forged").write_text("1\n")
    done = subprocess.run(
        [*_ASIDE, f'{mounts}\nexec "$@"', "sh", sys.executable, "-c", CHECK, path],
        cwd=Path(__file__).parents[2],
        env={"forged": str(tmp_path / "forged"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
    )
    if "mount:" in done.stderr and "debugfs" in mounts:
        pytest.skip(f"no debugfs can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def _needs(root: None) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")


@pytest.mark.parametrize("path", [SWAPPINESS, AHEAD])
def test_a_file_of_procfs_and_of_sysfs_is_taken(path: str, tmp_path: Path) -> None:
    assert checked("", path, tmp_path) == "taken"
    said = checked(f'mount --bind "$forged" {path}', path, tmp_path)
    assert f"{path} is not the kernel's own file" in said


def test_a_file_of_debugfs_is_taken(tmp_path: Path) -> None:
    assert checked("mount -t debugfs d /sys/kernel/debug", COST, tmp_path) == "taken"


@pytest.mark.parametrize(
    "mounts",
    [
        "mount -t tmpfs t /sys/kernel/debug; " + FORGED,
        'mount -t debugfs d /sys/kernel/debug; mount --bind "$forged" ' + COST,
        "mount -t tmpfs t /mnt; mkdir /mnt/d; mount -t debugfs d /mnt/d; "
        "mount -t tmpfs t /sys/kernel/debug; " + FORGED,
    ],
)
def test_what_only_looks_like_debugfs_is_not(mounts: str, tmp_path: Path) -> None:
    assert "not the kernel's own file" in checked(mounts, COST, tmp_path)
