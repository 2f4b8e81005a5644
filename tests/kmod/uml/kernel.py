"""A User-Mode-Linux kernel with KASAN, lockdep and KUnit, built once and kept outside the tree.

It runs as an ordinary process, without QEMU; the host's / is its root, read-only (hostfs). The
first build takes 5 to 30 minutes, so only full tests ask for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.guest.machine import GUEST_WORD

CONFIG = Path(__file__).with_name("uml.config")
PACKAGE = "linux-source-6.1"
NEEDS = ("apt-get", "apt-cache", "dpkg", "tar", "make", "gcc", "flex", "bison", "bc", "busybox")
MEMORY = "768M"
REPORTS = re.compile(
    r"BUG:|KASAN:|WARNING:|Oops|possible (?:circular|recursive) locking|inconsistent lock state|"
    r"suspicious RCU usage|Kernel panic|Kernel BUG|ODEBUG:|unreferenced object|"
    r"INFO: task .* blocked|workqueue lockup"
)
"""What a debugging kernel says when it has found something."""


class UmlError(Exception):
    """The kernel can't be had or run here; the text says why."""


@dataclass(frozen=True)
class Verdict:
    """How a run ended: the command's exit code, all of its output, and the kernel's complaints."""

    code: int | None
    output: str
    kernel_log: str

    @property
    def reports(self) -> list[str]:
        """Lines by which the kernel reports a bug."""
        return [line for line in self.kernel_log.splitlines() if REPORTS.search(line)]


def missing() -> list[str]:
    """Programs that are not there."""
    return [name for name in NEEDS if shutil.which(name) is None]


def cache_folder() -> Path:
    """$KTUNE_GUEST_CACHE, else ~/.cache/ktune/kernels: where the guests' kernels are, too."""
    given = os.environ.get("KTUNE_GUEST_CACHE")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(given or f"{cache}/ktune/kernels").resolve()


def kernel() -> Path:
    """The folder of the built kernel, built first if it is not there. Raises UmlError."""
    version = _version()
    if version is None:
        raise UmlError(f"apt offers no {PACKAGE} (apt-get update), and none is in the cache")
    folder = cache_folder() / f"uml-{version}"
    wanted = hashlib.sha256(CONFIG.read_bytes()).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / ".lock"):
        ready = folder / "ready"
        if ready.exists() and ready.read_text() == wanted:
            return folder
        if not (folder / "source" / "Makefile").exists():
            _unpack(folder)
        _build(folder)
        ready.write_text(wanted)
    return folder


def build_module(source: Path, work: Path, folder: Path, subfolder: str = "") -> list[Path]:
    """Build a copy of `source` for the kernel; the .ko files. Raises UmlError."""
    target = work / source.name
    shutil.copytree(
        source, target, ignore=shutil.ignore_patterns("*.o", "*.ko", "*.mod*", ".*.cmd")
    )
    _make(folder, "modules", f"M={target / subfolder}")
    found = sorted((target / subfolder).glob("*.ko"))
    if not found:
        raise UmlError(f"{source} built no .ko file")
    return found


def run(
    folder: Path, modules: Sequence[Path], command: str, work: Path, *, limit_s: float = 300
) -> Verdict:
    """Boot, load the modules, run `command` with sh, unload them, power off.

    `work` is where the host keeps the files of the run. Raises UmlError: no end in time.
    """
    init = work / "init"
    init.write_text(
        _INIT.format(
            modules=" ".join(shlex.quote(str(path)) for path in modules),
            names=" ".join(path.stem for path in modules),
            reversed=" ".join(path.stem for path in reversed(modules)),
            command=shlex.quote(command),
        )
    )
    init.chmod(0o755)
    words = [
        str(folder / "build" / "linux"),
        f"mem={MEMORY}",
        "rootfstype=hostfs",
        "rootflags=/",
        "ro",
        f"init={init}",
        "con0=fd:0,fd:1",
        "quiet",
        "kasan_multi_shot",
        GUEST_WORD,
        "oops=panic",
        "panic=-1",
    ]
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=limit_s,
            env={**os.environ, "TMPDIR": str(work)},
        )
    except subprocess.TimeoutExpired as error:
        text = (error.stdout or b"").decode(errors="replace")
        raise UmlError(f"no end within {limit_s:g} s:\n{text[-4000:]}") from error
    text = done.stdout.decode(errors="replace").replace("\r", "")
    return _verdict(text)


def _verdict(text: str) -> Verdict:
    output, _, rest = text.partition("UML-BEGIN\n")[2].partition("UML-LOG\n")
    log = rest.partition("UML-END")[0] if rest else text
    code = re.search(r"^UML-RC (\d+)$", text, re.MULTILINE)
    return Verdict(int(code[1]) if code else None, output, log)


_INIT = """#!/bin/busybox sh
box=/bin/busybox
$box mount -t proc proc /proc
$box mount -t sysfs sys /sys
$box mount -t tmpfs run /run
for module in {modules}; do $box cp $module /run/; done  # before their folders are covered
$box mount -t tmpfs tmp /tmp
$box mount -t devtmpfs dev /dev
$box mount -t debugfs debug /sys/kernel/debug
$box ip link set lo up
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp TMPDIR=/tmp
export PYTHONDONTWRITEBYTECODE=1
$box dmesg -n 5  # warnings are printed, for a kernel that does not live to show its log
$box dmesg -c > /dev/null  # what this kernel says of itself while it boots
echo "UML-BEGIN"
rc=0
for module in {names}; do $box insmod /run/$module.ko || rc=90; done
if [ $rc = 0 ]; then /bin/sh -c {command}; rc=$?; fi
for module in {reversed}; do $box rmmod $module || rc=91; done
echo
echo "UML-RC $rc"
echo "UML-LOG"
$box dmesg
echo "UML-END"
$box poweroff -f
"""


def available() -> bool:
    """Is there a source to build from, or a kernel built already?"""
    return _version() is not None


def _version() -> str | None:
    """Of the source package that apt offers, else the newest in the cache."""
    shown = subprocess.run(["apt-cache", "policy", PACKAGE], capture_output=True, text=True).stdout
    found = re.search(r"Candidate: (\d\S+)", shown)
    if found:
        return found[1]
    cached = sorted(path.parent.name for path in cache_folder().glob("uml-*/ready"))
    return cached[-1].removeprefix("uml-") if cached else None


def _unpack(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as made:
        os.chmod(made, 0o755)  # apt downloads as a user of its own
        _run(["apt-get", "-qq", "download", PACKAGE], cwd=Path(made))
        (package,) = Path(made).glob("*.deb")
        _run(["dpkg", "-x", str(package), made])
        (archive,) = Path(made, "usr", "src").glob("linux-source-*.tar.xz")
        _run(["tar", "-xf", str(archive), "-C", made])
        (unpacked,) = Path(made).glob("linux-source-*/")
        shutil.rmtree(folder / "source", ignore_errors=True)
        unpacked.rename(folder / "source")


def _build(folder: Path) -> None:
    build = folder / "build"
    build.mkdir(exist_ok=True)
    source = folder / "source"
    _run(["make", "-s", "-C", str(source), f"O={build}", "ARCH=um", "tinyconfig"])
    merge = [str(source / "scripts" / "kconfig" / "merge_config.sh"), "-m", "-O", str(build)]
    _run([*merge, str(build / ".config"), str(CONFIG)], cwd=build)
    _make(folder, "olddefconfig")
    _check_config(build / ".config")
    _make(folder, f"-j{os.cpu_count() or 1}", "linux", "modules")


def _check_config(made: Path) -> None:
    """Every wish was granted: an option that was dropped would check nothing, silently."""
    lines = set(made.read_text().splitlines())
    wishes = [
        line for line in CONFIG.read_text().splitlines() if re.match(r"CONFIG_\w+=[^n]", line)
    ]
    dropped = [wish for wish in wishes if wish not in lines]
    if dropped:
        raise UmlError(f"the kernel's configuration did not take {', '.join(dropped)}")


def _make(folder: Path, *words: str) -> None:
    _run(["nice", "-n", "10", "make", "-s", "-C", str(folder / "build"), "ARCH=um", *words])


def _run(words: Sequence[str], cwd: Path | None = None) -> None:
    done = subprocess.run(
        words, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode != 0:
        raise UmlError(f"{shlex.join(words)} failed:\n{done.stdout[-4000:]}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
