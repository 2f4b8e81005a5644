"""Facts of this machine that profiles and policies speak about. Reads only."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ktune.kernel import limits

_VENDORS = (
    ("KVM", "kvm"),
    ("QEMU", "kvm"),
    ("Google", "kvm"),
    ("Amazon EC2", "kvm"),
    ("VMware", "vmware"),
    ("Microsoft Corporation", "hyperv"),
    ("innotek", "virtualbox"),
    ("Xen", "xen"),
)
"""Text in DMI vendor or product -> virtualisation (as in systemd's detect-virt table)."""


@dataclass(frozen=True)
class HostFacts:
    """What `when:` and variables may ask about a machine."""

    kernel: str
    """Release as uname(2) tells it: `6.1.0-28-amd64`."""
    arch: str
    virt: str
    """`none`, or the kind of guest (`other` where a hypervisor doesn't say which)."""
    numbers: Mapping[str, int]
    """The facts of hard limits (ktune.kernel.limits.FACTS)."""

    @property
    def cpus(self) -> int:
        """Online CPUs."""
        return self.numbers["cpu.count"]

    @property
    def mem_bytes(self) -> int:
        """MemTotal in bytes."""
        return self.numbers["mem.total_bytes"]

    @property
    def page_bytes(self) -> int:
        """Size of a page in bytes."""
        return self.numbers["page.bytes"]


def host_facts() -> HostFacts:
    """The facts of this machine. Raises OSError without /proc."""
    uname = os.uname()
    return HostFacts(uname.release, uname.machine, _virtualisation(), limits.host_facts())


def disk_of(path: str) -> str:
    """The whole disk that holds `path` (or its nearest existing parent): `vda`, `nvme0n1`.

    Raises OSError or ValueError where that is no block device (tmpfs, overlay, network).
    """
    existing = Path(path)
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    device = os.stat(existing).st_dev
    link = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"
    if not os.path.exists(link):
        link = _device_of_mount(device, path)
    folder = Path(os.path.realpath(link))
    return folder.parent.name if (folder / "partition").exists() else folder.name


def _device_of_mount(device: int, path: str) -> str:
    """File systems with anonymous devices (btrfs) name their disk as the mount's source."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            fields, _, rest = line.partition(" - ")
            source = rest.split(" ")[1:2]
            if fields.split(" ")[2:3] == [wanted] and source and source[0].startswith("/dev/"):
                number = os.stat(source[0]).st_rdev
                return f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"
    raise ValueError(f"{path} is not on a disk of this machine")


def _virtualisation() -> str:
    for name in ("sys_vendor", "product_name", "bios_vendor"):
        text = _read(f"/sys/class/dmi/id/{name}")
        for needle, kind in _VENDORS:
            if needle in text:
                return kind
    if _read("/sys/hypervisor/type").strip() == "xen":
        return "xen"
    flagged = re.search(r"^flags\s*:.*\bhypervisor\b", _read("/proc/cpuinfo"), re.MULTILINE)
    return "other" if flagged else "none"


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(65536)
    except OSError:
        return ""
