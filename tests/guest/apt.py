"""Packages by apt: from this machine's lists, or from a newer Debian's in a folder of their own.

apt verifies what it downloads (signed lists, hashes); nothing is installed, no root is needed.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .needs import GuestError, program

SUITES = ("trixie", "trixie-backports")
"""Of Debian: the libraries, then the kernels that it makes for its stable release."""
MIRROR = "http://deb.debian.org/debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
FRESH_S = 24 * 3600.0


@dataclass(frozen=True)
class Apt:
    """`options`: words for apt-get and apt-cache that say where the lists are."""

    options: Sequence[str] = ()

    def offered(self, prefix: str) -> list[str]:
        """Packages whose names begin so and that can be installed, not only named by others."""
        listed = self._asked("pkgnames", prefix).split()
        if not listed:
            return []
        shown = self._asked("madison", *listed)
        return sorted({line.partition("|")[0].strip() for line in shown.splitlines()})

    def depends(self, package: str, shape: str) -> list[str]:
        """What it depends on directly, of names of this shape (a regular expression)."""
        shown = self._asked("depends", package)
        return sorted(set(re.findall(rf"^ *Depends: ({shape})$", shown, re.MULTILINE)))

    def download(self, packages: Sequence[str], folder: Path) -> None:
        """Their files into `folder`. Raises GuestError."""
        done = subprocess.run(
            [program("apt-get"), *self.options, "-qq", "download", *packages],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise GuestError(
                f"apt-get download {' '.join(packages)} failed (old package lists? apt-get "
                f"update):\n{done.stderr.strip()}"
            )

    def _asked(self, *words: str) -> str:
        return subprocess.run(
            [program("apt-cache"), *self.options, *words], capture_output=True, text=True
        ).stdout


HOST = Apt()


def newer_debian(cache: Path) -> Apt:
    """The lists of SUITES, fetched when those in `cache` are a day old. Raises GuestError."""
    if not KEYRING.exists():
        raise GuestError(f"needs {KEYRING}: apt-get install debian-archive-keyring")
    root = cache / "apt"
    for name in ("etc/apt.conf.d", "etc/preferences.d", "lists/partial", "archives/partial"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "status").touch()
    sources = "".join(f"deb [signed-by={KEYRING}] {MIRROR} {suite} main\n" for suite in SUITES)
    (root / "etc" / "sources.list").write_text(sources)
    settings = {
        "Dir::Etc": root / "etc",
        "Dir::State::lists": root / "lists",
        "Dir::State::status": root / "status",
        "Dir::Cache": root,
        "Acquire::Languages": "none",
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "",  # its own user can't see into a home
    }
    apt = Apt([word for key, value in settings.items() for word in ("-o", f"{key}={value}")])
    fetched = root / "fetched"
    if not fetched.exists() or time.time() - fetched.stat().st_mtime > FRESH_S:
        done = subprocess.run(
            [
                program("apt-get"),
                *apt.options,
                "-qq",
                "-o",
                "APT::Update::Error-Mode=any",
                "update",
            ],
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise GuestError(f"no package lists of {', '.join(SUITES)}:\n{done.stderr.strip()}")
        fetched.touch()
    return apt
