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

from .apt import HOST, SUITES, Apt, newer_debian
from .needs import BOOT, GuestError, check, program
from .newer import LIBRARIES, adapt

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

    Where this machine's lists have none, Debian's backports may ("7": the newest 7.x), then the
    cache. Raises GuestError.
    """
    check(BOOT)
    folder = cache_folder()
    release = newest_release(series, HOST.offered(f"linux-image-{series}."))
    if release is not None:
        return fetch(release)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(folder / ".apt.lock"):
            newer = newer_debian(folder)
    except GuestError as error:
        told = str(error)
    else:
        told = f"those of {', '.join(SUITES)} have none"
        release = newest_release(series, newer.offered(f"linux-image-{series}."))
        if release is not None:
            return fetch(release, newer)
    release = newest_cached(series)
    if release is None:
        raise GuestError(
            f"no linux-image-{series}.*-amd64: this machine's package lists have none (apt-get "
            f"update; Debian 12 with bookworm-security has 6.1 and 6.12), {told}, and {folder} "
            "holds none"
        )
    return fetch(release)


def newest_cached(series: str) -> str | None:
    """The newest release of a series that was fetched before."""
    cached = [f"linux-image-{path.parent.name}" for path in cache_folder().glob(f"*/{_READY}")]
    return newest_release(series, cached)


def newest_release(series: str, packages: list[str]) -> str | None:
    """The newest generic release among package names; clouds, real-time and meta packages are not.

    A series is how a release begins, up to a dot.

    >>> newest_release("6.1", ["linux-image-6.1.0-9-amd64", "linux-image-6.1.0-10-amd64"])
    '6.1.0-10-amd64'
    """
    shape = re.compile(rf"linux-image-({re.escape(series)}\.\d+[\w.+~]*(?:-\d+)?-amd64)")
    found = [match[1] for name in packages if (match := shape.fullmatch(name))]
    releases = [release for release in found if release.count(".") >= 2]  # 7.3-amd64 is a meta
    return max(releases, key=lambda text: [int(x) for x in re.findall(r"\d+", text)], default=None)


def fetch(release: str, apt: Apt = HOST) -> Kernel:
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
            _unpack(release, Path(made), kernel, apt)
            os.rename(Path(made) / "root", kernel.folder)
    return kernel


def _is_ready(kernel: Kernel) -> bool:
    """Complete, and at the place for which its headers were adapted."""
    try:
        return (kernel.folder / _READY).read_text() == str(kernel.folder)
    except FileNotFoundError:
        return False


def _unpack(release: str, work: Path, kernel: Kernel, apt: Apt) -> None:
    headers, image = f"linux-headers-{release}", f"linux-image-{release}"
    needed = apt.depends(headers, r"linux-(?:headers-\S+-common|kbuild-\S+)")
    if not needed:
        raise GuestError(f"apt does not know {headers}: apt-get update")
    parts = apt.depends(image, r"linux-(?:base|binary|modules)-\S+")
    libraries = LIBRARIES if apt != HOST else ()
    apt.download([image, headers, *needed, *parts, *libraries], work)
    root = work / "root"
    for package in sorted(work.glob("*.deb")):
        subprocess.run([program("dpkg"), "-x", str(package), str(root)], check=True)
        package.unlink()
    made = Kernel(release, root)
    # The only file of the headers with absolute paths; links to scripts/ and tools/ are relative.
    makefile = made.headers / "Makefile"
    text = makefile.read_text()
    makefile.write_text(re.sub(r"(?<=[ =])/usr/src/", f"{kernel.folder}/usr/src/", text))
    if apt != HOST:
        adapt(root, release, kernel.folder)
    subprocess.run([program("depmod"), "-b", str(root), release], check=True)
    (root / _READY).write_text(str(kernel.folder))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
