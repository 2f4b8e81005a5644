"""Debian's kernels, unpacked into a cache folder: nothing is installed on this machine.

apt-get downloads and verifies (signed lists, hashes), `dpkg -x` unpacks. A version is unpacked
beside its place and renamed, under a lock: several processes may ask for it at the same time.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .needs import BOOT, GuestError, check, program

CACHE_VARIABLE = "KTUNE_GUEST_CACHE"
_READY = "ready"


@dataclass(frozen=True)
class Kernel:
    """One unpacked kernel; `release` is what `uname -r` says in it."""

    release: str
    folder: Path

    @property
    def image(self) -> Path:
        return self.folder / "boot" / f"vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        """/lib/modules/RELEASE, with what depmod makes."""
        return self.folder / "lib" / "modules" / self.release

    @property
    def headers(self) -> Path:
        """What an out-of-tree module is built against."""
        return self.folder / "usr" / "src" / f"linux-headers-{self.release}"


def cache_folder() -> Path:
    """$KTUNE_GUEST_CACHE, else ~/.cache/ktune/kernels."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given).resolve()
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(cache).resolve() / "ktune" / "kernels"


def newest(series: str) -> Kernel:
    """The newest generic kernel of a series ("6.1") that apt offers, fetched if need be.

    Where apt knows none (no package lists) the newest one in the cache will do. Raises GuestError.
    """
    check(BOOT)
    release = newest_release(series, _offered(f"linux-image-{series}."))
    if release is not None:
        return fetch(release)
    folder = cache_folder()
    cached = [f"linux-image-{path.parent.name}" for path in folder.glob(f"*/{_READY}")]
    release = newest_release(series, cached)
    if release is None:
        raise GuestError(
            f"apt offers no linux-image-{series}.*-amd64 and {folder} holds none; needed are "
            "current package lists (apt-get update) of Debian 12 with bookworm-security"
        )
    return fetch(release)


def newest_release(series: str, packages: list[str]) -> str | None:
    """The newest generic release among package names; clouds, real-time and meta packages are not.

    >>> newest_release("6.1", ["linux-image-6.1.0-9-amd64", "linux-image-6.1.0-10-amd64"])
    '6.1.0-10-amd64'
    """
    shape = re.compile(rf"linux-image-({re.escape(series)}\.\d+[\w.+~]*(?:-\d+)?-amd64)")
    releases = [found[1] for name in packages if (found := shape.fullmatch(name))]
    return max(releases, key=lambda text: [int(x) for x in re.findall(r"\d+", text)], default=None)


def fetch(release: str) -> Kernel:
    """The kernel of this release from the cache, downloaded first if it is not there."""
    cache = cache_folder()
    kernel = Kernel(release, cache / release)
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f".{release}.lock"):
        if _is_ready(kernel):
            return kernel
        shutil.rmtree(kernel.folder, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=f".{release}-") as made:
            os.chmod(made, 0o755)  # apt downloads as a user of its own
            _unpack(release, Path(made), kernel)
            os.rename(Path(made) / "root", kernel.folder)
    return kernel


def _is_ready(kernel: Kernel) -> bool:
    """Complete, and at the place for which its headers were adapted."""
    try:
        return (kernel.folder / _READY).read_text() == str(kernel.folder)
    except FileNotFoundError:
        return False


def _unpack(release: str, work: Path, kernel: Kernel) -> None:
    packages = [f"linux-image-{release}", f"linux-headers-{release}"]
    packages += _headers_need(release)
    done = subprocess.run(
        [program("apt-get"), "-qq", "download", *packages], cwd=work, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise GuestError(
            f"apt-get download {' '.join(packages)} failed (old package lists? apt-get update):\n"
            f"{done.stderr.strip()}"
        )
    root = work / "root"
    for package in sorted(work.glob("*.deb")):
        subprocess.run([program("dpkg"), "-x", str(package), str(root)], check=True)
        package.unlink()
    made = Kernel(release, root)
    # The only absolute path in the headers; links to scripts/ and tools/ are relative.
    makefile = made.headers / "Makefile"
    makefile.write_text(
        makefile.read_text().replace("include /usr/src", f"include {kernel.folder}/usr/src")
    )
    subprocess.run([program("depmod"), "-b", str(root), release], check=True)
    (root / _READY).write_text(str(kernel.folder))


def _offered(prefix: str) -> list[str]:
    """Packages whose names begin so and that can be installed, not only named by others."""
    listed = subprocess.run(
        [program("apt-cache"), "pkgnames", prefix], capture_output=True, text=True, check=True
    ).stdout.split()
    if not listed:
        return []
    shown = subprocess.run(
        [program("apt-cache"), "madison", *listed], capture_output=True, text=True
    ).stdout
    return sorted({line.partition("|")[0].strip() for line in shown.splitlines()})


def _headers_need(release: str) -> list[str]:
    shown = subprocess.run(
        [program("apt-cache"), "depends", f"linux-headers-{release}"],
        capture_output=True,
        text=True,
    ).stdout
    found = re.findall(r"Depends: (linux-(?:headers-\S+-common|kbuild-\S+))", shown)
    if not found:
        raise GuestError(f"apt does not know linux-headers-{release}: apt-get update")
    return sorted(set(found))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
