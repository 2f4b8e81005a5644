"""The module builds for Debian's kernels without a warning; the kernel's own checkers pass."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.guest.kernels import Kernel, cache_folder, newest, newest_release
from tests.guest.needs import GuestError
from tests.kmod.core import KMOD

SERIES = ("6.1", "6.12")
TRACE_FORM = ("OPEN_ENDED_LINE", "PARENTHESIS_ALIGNMENT", "MACRO_ARG_REUSE")
"""What TRACE_EVENT() asks for, in every trace header of the kernel."""
MADE_FORM = ("SPLIT_STRING", "LONG_LINE", "LONG_LINE_STRING")
"""Of the generated table."""


def cached(series: str) -> Kernel:
    """A kernel that a run of the guest has fetched already."""
    folder = cache_folder()
    found = [f"linux-image-{path.parent.name}" for path in folder.glob("*/ready")]
    release = newest_release(series, found)
    if release is None:
        pytest.skip(f"needs headers of Linux {series} in {folder} (make test-kernel fetches them)")
    return Kernel(release, folder / release)


def built(kernel: Kernel, folder: Path, *words: str) -> str:
    """What the compiler says."""
    if shutil.which("make") is None or shutil.which("gcc") is None:
        pytest.skip("needs make and gcc")
    target = folder / "kmod"
    shutil.copytree(KMOD, target, ignore=shutil.ignore_patterns("*.o", "*.ko", "*.mod*", ".*"))
    done = subprocess.run(
        ["make", "-s", "-C", str(kernel.headers), f"M={target}", *words, "modules"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert (target / "ktune.ko").exists()
    said = [line for line in done.stdout.splitlines() if "Skipping BTF generation" not in line]
    return "\n".join(said)


@pytest.mark.parametrize("series", SERIES)
def test_it_builds_without_a_word(series: str, tmp_path: Path) -> None:
    assert built(cached(series), tmp_path, "W=1", "PAHOLE=true") == ""


@pytest.mark.full
@pytest.mark.parametrize("series", SERIES)
def test_sparse_finds_nothing(series: str, tmp_path: Path) -> None:
    if shutil.which("sparse") is None:
        pytest.skip("needs sparse (apt-get install sparse)")
    try:
        kernel = newest(series)
    except GuestError as error:
        pytest.skip(str(error))
    assert built(kernel, tmp_path, "W=1", "C=2", "CHECK=sparse", "PAHOLE=true") == ""


@pytest.fixture(scope="module")
def checkpatch() -> Path:
    """The script, out of Debian's source package, once."""
    folder = cache_folder() / "checkpatch"
    script = folder / "checkpatch.pl"
    if script.exists():
        return script
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("needs apt-get and dpkg-deb to fetch checkpatch.pl")
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["apt-get", "-qq", "download", "linux-source-6.1"], cwd=folder)
    if done.returncode:
        pytest.skip("apt-get can't download linux-source-6.1 (apt-get update)")
    (package,) = folder.glob("linux-source-6.1*.deb")
    inner = "./usr/src/linux-source-6.1.tar.xz"
    names = [f"linux-source-6.1/scripts/{name}" for name in (script.name, "spelling.txt")]
    names.append("linux-source-6.1/scripts/const_structs.checkpatch")
    subprocess.run(
        f"dpkg-deb --fsys-tarfile {package.name} | tar -xO {inner} | "
        f"tar -xJ --strip-components=2 {' '.join(names)}",
        shell=True,
        cwd=folder,
        check=True,
    )
    package.unlink()
    return script


SOURCES = sorted(
    path
    for pattern in ("*.c", "*.h", "uapi/*.h", "Kbuild", "Makefile")
    for path in KMOD.glob(pattern)
)


@pytest.mark.full
def test_checkpatch_finds_nothing(checkpatch: Path) -> None:
    if shutil.which("perl") is None:
        pytest.skip("needs perl")
    forms = {"kt_trace.h": TRACE_FORM, "kt_allowlist.h": MADE_FORM}
    for path in SOURCES:
        ignored = ",".join(("FILE_PATH_CHANGES", *forms.get(path.name, ())))
        words = ("--no-tree", "-f", "--strict", "--terse", "--no-summary", f"--ignore={ignored}")
        done = subprocess.run(
            ["perl", str(checkpatch), *words, str(path)], capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (0, "")
