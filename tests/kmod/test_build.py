"""The module builds for Debian's kernels without a warning; the kernel's own checkers pass."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.guest.kernels import Kernel, cache_folder, newest, newest_cached
from tests.guest.needs import GuestError
from tests.kmod.core import KMOD

SERIES = ("6.1", "6.12")
NEWER = "7"
OF_BTF = re.compile(
    r"Skipping BTF generation|pahole version differs|was built with: |You are using: "
)
"""The headers are used without pahole."""
TRACE_FORM = ("OPEN_ENDED_LINE", "PARENTHESIS_ALIGNMENT", "MACRO_ARG_REUSE")
"""What TRACE_EVENT() asks for, in every trace header of the kernel."""
MADE_FORM = ("SPLIT_STRING", "LONG_LINE", "LONG_LINE_STRING")
"""Of the generated table."""

pytestmark = pytest.mark.timeout(1200)


def cached(series: str) -> Kernel:
    """A kernel that a run of the guest has fetched already."""
    release = newest_cached(series)
    if release is None:
        pytest.skip(
            f"needs headers of Linux {series} in {cache_folder()} (make test-kernel fetches them)"
        )
    return Kernel(release, cache_folder() / release)


def fetched(series: str) -> Kernel:
    """The newest of a series, downloaded if need be."""
    try:
        return newest(series)
    except GuestError as error:
        pytest.skip(str(error))


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
    return "\n".join(line for line in done.stdout.splitlines() if not OF_BTF.search(line))


@pytest.mark.full
@pytest.mark.parametrize("series", SERIES)
def test_it_builds_without_a_word(series: str, tmp_path: Path) -> None:
    assert built(cached(series), tmp_path, "W=1", "PAHOLE=true") == ""


@pytest.mark.full
def test_it_builds_for_a_newer_kernel_without_a_word(tmp_path: Path) -> None:
    """Debian's headers of 7.x have no part of the kernel that runs sparse."""
    assert built(fetched(NEWER), tmp_path, "W=1", "PAHOLE=true") == ""


@pytest.mark.full
@pytest.mark.parametrize("series", SERIES)
def test_sparse_finds_nothing(series: str, tmp_path: Path) -> None:
    if shutil.which("sparse") is None:
        pytest.skip("needs sparse (apt-get install sparse)")
    assert built(fetched(series), tmp_path, "W=1", "C=2", "CHECK=sparse", "PAHOLE=true") == ""


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


DKMS_CONF = (KMOD / "dkms.conf").read_text()


def test_dkms_names_the_modules_own_version() -> None:
    version = re.search(r'^PACKAGE_VERSION="(.*)"$', DKMS_CONF, re.MULTILINE)
    assert version is not None
    assert f'MODULE_VERSION("{version[1]}")' in (KMOD / "ktune_main.c").read_text()


@pytest.mark.parametrize(
    ("release", "wanted"),
    [
        ("5.10.0-32-amd64", False),
        ("6.0.0-6-amd64", False),
        ("6.1.0-56-amd64", True),
        ("6.12.117+deb12-amd64", True),
        ("7.0.1-1-amd64", True),
        ("7.3.4+deb13-amd64", True),
        ("10.2.0-amd64", True),
    ],
)
def test_the_kernels_that_dkms_builds_for(release: str, wanted: bool) -> None:
    rule = re.search(r'^BUILD_EXCLUSIVE_KERNEL="(.*)"$', DKMS_CONF, re.MULTILINE)
    assert rule is not None
    assert (re.search(rule[1], release) is not None) == wanted
