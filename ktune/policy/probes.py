"""What works on this host: found out by trying, never by version or by name.

Each probe undoes what it did (in a child process where that is the simplest way) and says what
the ability is used for, so that a missing one can be judged.
"""

from __future__ import annotations

import errno
import fcntl
import importlib.util
import os
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ktune.errors import KtuneError
from ktune.kernel import energy, namespaces
from ktune.kernel.bpf.features import features
from ktune.kernel.bpf.library import BpfError
from ktune.kernel.bpf.sensors import KINDS, open_sensor
from ktune.kernel.cgroup2 import cgroup2_root
from ktune.policy.inside import in_child
from ktune.proxy.guard.loaded import LoadedGuard
from ktune.proxy.module.hold import module_state
from ktune.records.paths import StatePaths


class Answer(StrEnum):
    """What a probe found."""

    WORKS = "works"
    PARTLY = "partly"
    MISSING = "missing"
    BROKEN = "broken"
    """There, but wrong: somebody has to put it right."""


@dataclass(frozen=True)
class Finding:
    """One line of `ktune doctor`."""

    name: str
    answer: Answer
    detail: str
    """What was found, or why it is missing."""
    used_for: str


_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
_PACKAGES = {
    "pydantic": "profiles and policies",
    "yaml": "profiles and policies",
    "optuna": "the search",
    "numpy": "statistics",
    "rich": "the live view",
    "prometheus_client": "metrics of attached services from Prometheus pages and logs",
}
_EXTRAS = {
    "torch": "--sampler gp (extra: gp)",
    "cmaes": "--sampler cmaes (extra: cmaes)",
    "scipy": "--sampler gp and qmc (extras: gp, qmc)",
}


def examine(paths: StatePaths) -> list[Finding]:
    """Every probe, in reading order."""
    return [
        *_platform(),
        *_namespaces(),
        *_kernel_files(),
        *_bpf(),
        *_sensors(),
        _module(),
        *_guardian(),
        *_state(paths),
        *_catalog(),
        *_packages(),
    ]


def _module() -> Finding:
    works, said = module_state()
    return Finding(
        "kernel module",
        Answer.WORKS if works else Answer.MISSING,
        said,
        "leases of the host that the kernel itself undoes (kmod/, optional)",
    )


def _platform() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Finding(
        "python", Answer.WORKS if good else Answer.MISSING, version, "everything (>= 3.11)"
    )
    uname = os.uname()
    yield Finding("kernel", Answer.WORKS, f"{uname.release} {uname.machine}", "everything")
    if os.geteuid() == 0:
        yield Finding("root", Answer.WORKS, "uid 0", "settings of the host")
    else:
        yield Finding(
            "root",
            Answer.MISSING,
            f"uid {os.geteuid()}: settings of the host are readable only",
            "settings of the host; namespaces of one's own work without",
        )


def _namespaces() -> Iterator[Finding]:
    own = "tuning in a network namespace of one's own without root (quickstart)"
    yield _tried(
        "user namespaces",
        lambda: namespaces.new_network(with_user_namespace=True),
        own,
        remedy=_userns_remedy(),
    )
    if os.geteuid() == 0:
        yield _tried(
            "network namespaces",
            lambda: namespaces.new_network(with_user_namespace=False),
            "tuning in a network namespace of one's own as root",
        )
    yield _tried("TUN with offload", _tun, "the emulated long link (quickstart)")
    yield _tried(
        "namespace cookie", namespaces.netns_cookie, "knowing a namespace again (Linux >= 5.14)"
    )


def _kernel_files() -> Iterator[Finding]:
    yield _writable("/proc/sys", "sysctls")
    yield _writable("/sys", "block queues, huge pages, CPU settings")
    yield _cgroup2()
    yield _tried("PSI", lambda: _read_one("/proc/pressure/memory"), "memory and I/O guardrails")
    yield _energy()


def _energy() -> Finding:
    use = "metrics of energy: work per joule"
    try:
        found = energy.counters()
        energy.EnergyMeter(found)
    except energy.NoEnergy as error:
        return Finding("energy counters", Answer.MISSING, str(error), use)
    return Finding("energy counters", Answer.WORKS, ", ".join(item.name for item in found), use)


def _bpf() -> Iterator[Finding]:
    for item in features():
        answer = Answer.WORKS if item.works else Answer.MISSING
        yield Finding(item.name, answer, item.why, item.used_for)
    yield _guard()


def _guard() -> Finding:
    """The guard itself, loaded and attached as a lease does it."""
    name = "BPF guard"
    use = "limits on sysctls kept by the kernel; others' writes told at once (else: polling)"
    try:
        guard = LoadedGuard()
    except OSError as error:
        return Finding(name, Answer.MISSING, error.strerror or str(error), use)
    try:
        guard.audit_everybody()
    except OSError as error:
        return Finding(name, Answer.MISSING, error.strerror or str(error), use)
    finally:
        guard.close()
    if not guard.sees_netns:
        why = f"works, but not in which network namespace a writer was: {guard.netns_why}"
        return Finding(name, Answer.PARTLY, why, use)
    return Finding(name, Answer.WORKS, f"audited all of {guard.root} for a moment", use)


def _sensors() -> Iterator[Finding]:
    """Each sensor loaded and attached for a moment; a fallback is named."""
    for kind in KINDS.values():
        name, use = f"sensor: {kind.name}", f"metrics `from: sensor`: {kind.what}"
        try:
            with open_sensor(kind.name) as sensor:
                answer = Answer.PARTLY if sensor.note else Answer.WORKS
                yield Finding(name, answer, sensor.note or f"by {sensor.way}", use)
        except BpfError as error:
            yield Finding(name, Answer.MISSING, error.why, use)


def _guardian() -> Iterator[Finding]:
    """The hardenings that the guardian tries for itself, tried the same way."""
    from ktune.proxy.guardian.isolate import isolate

    def attempt() -> dict[str, str]:
        done = isolate(lock_memory=True)
        done.leave()
        return done.report

    use = "restoring even when the tuner's whole group is killed"
    try:
        report: dict[str, str] = in_child(attempt)
    except (OSError, KtuneError) as error:
        yield Finding("guardian", Answer.MISSING, str(error), use)
        return
    failed = {name: said for name, said in report.items() if said != "ok"}
    detail = "; ".join(f"{name}: {said}" for name, said in failed.items()) or ", ".join(report)
    yield Finding("guardian hardening", Answer.PARTLY if failed else Answer.WORKS, detail, use)


def _state(paths: StatePaths) -> Iterator[Finding]:
    def write() -> str:
        from ktune.proxy.folders import private_folder
        from ktune.records import atomic

        probe = private_folder(paths.state) / ".doctor"
        atomic.write_text(probe, "probe\n")
        atomic.remove(probe)
        return str(paths.state)

    yield _tried("state folder", write, "studies, journals, policies (--state-dir)", child=False)


def _catalog() -> Iterator[Finding]:
    from ktune.catalog.catalog import load_catalog
    from ktune.catalog.model import path_of
    from ktune.kernel.tunable import read_text
    from ktune.kernel.values import ValueFormatError, parse

    total = readable = 0
    for entry in load_catalog().tunable():
        if entry.pattern:
            continue
        total += 1
        try:
            parse(entry.type, read_text(path_of(entry.name)))
            readable += 1
        except (OSError, ValueFormatError):
            continue
    yield Finding(
        "catalog",
        Answer.WORKS if readable else Answer.MISSING,
        f"{readable} of {total} tunable knobs (without device patterns) are readable here",
        "what can be tuned (`ktune knobs check` compares in detail)",
    )
    yield _other_tuners()


def _packages() -> Iterator[Finding]:
    for name, use in _PACKAGES.items():
        found = importlib.util.find_spec(name) is not None
        answer = Answer.WORKS if found else Answer.MISSING
        yield Finding(name, answer, "installed" if found else "not installed", use)
    for name, use in _EXTRAS.items():
        found = importlib.util.find_spec(name) is not None
        answer = Answer.WORKS if found else Answer.MISSING
        yield Finding(name, answer, "installed" if found else "not installed (optional)", use)


def _other_tuners() -> Finding:
    from ktune.profile.tuners import active_tuners

    found = active_tuners()
    said = ", ".join(f"{item.name} (pid {item.pid})" for item in found)
    return Finding(
        "no other tuner",
        Answer.MISSING if found else Answer.WORKS,
        f"{said}: tune and apply refuse without --coexist" if found else "none runs",
        "settings that stay what they were measured with",
    )


def _tried(
    name: str,
    attempt: Callable[[], Any],
    used_for: str,
    *,
    remedy: str = "",
    child: bool = True,
) -> Finding:
    def call() -> str:
        result = attempt()
        return result if isinstance(result, str) else ""

    try:
        detail = str(in_child(call) if child else call())
    except OSError as error:
        why = os.strerror(error.errno or errno.EIO)
        return Finding(name, Answer.MISSING, f"{why}{remedy and f'; {remedy}'}", used_for)
    except KtuneError as error:
        return Finding(name, Answer.MISSING, error.message, used_for)
    return Finding(name, Answer.WORKS, detail or "tried", used_for)


def _tun() -> str:
    """As the emulated link does it: a TUN interface with offload in a namespace of its own."""
    namespaces.new_network(with_user_namespace=os.geteuid() != 0)
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        flags = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", b"ktune%d", flags))
    finally:
        os.close(fd)
    return "made and removed one"


def _writable(root: str, used_for: str) -> Finding:
    name = f"{root} writable"
    read_only = bool(os.statvfs(root).f_flag & os.ST_RDONLY)
    if read_only:
        return Finding(name, Answer.MISSING, "mounted read-only (container?)", used_for)
    if os.geteuid() != 0:
        detail = "needs root, except net.* in a namespace of one's own"
        return Finding(name, Answer.PARTLY, detail, used_for)
    return Finding(name, Answer.WORKS, "mounted read-write", used_for)


def _cgroup2() -> Finding:
    name, use = "cgroup2", "a group of its own for the workload: limits, accounting, clean kills"
    root = cgroup2_root()
    if root is None:
        return Finding(name, Answer.MISSING, "not mounted", use)
    controllers = _read_one(f"{root}/cgroup.controllers") or "no controllers"
    probe = f"{root}/ktune-doctor-{os.getpid()}"
    try:
        os.mkdir(probe)
        os.rmdir(probe)
    except OSError as error:
        why = os.strerror(error.errno or errno.EIO)
        return Finding(name, Answer.PARTLY, f"{root}: {why} ({controllers})", use)
    answer = Answer.PARTLY if controllers == "no controllers" else Answer.WORKS
    return Finding(name, answer, f"{root}: {controllers}", use)


def _read_one(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:
        return file.readline().strip()


def _userns_remedy() -> str:
    for path, value in (
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
        ("/proc/sys/user/max_user_namespaces", "0"),
    ):
        try:
            if _read_one(path) == value:
                name = path.removeprefix("/proc/sys/").replace("/", ".")
                return f"{name} = {value} restricts them: use root"
        except OSError:
            continue
    return ""
