"""The surfaces: which workload, which knobs, what it is compared with, and where else to measure.

Each has a profile in `profiles/`: the same that `ktune tune` would read, but for @AMOUNT@, the work
of a window, which the recorder fits to the length that is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ktune.kernel.values import Value
from ktune.profile.load import parse_profile
from ktune.profile.model import Profile

_PROFILES = Path(__file__).resolve().parent / "profiles"
_DISK = "/sys/block/{disk}/queue"
_THP = "/sys/kernel/mm/transparent_hugepage"
_LIMITS = {"net.ipv4.tcp_notsent_lowat": 4294967295, "net.ipv4.tcp_limit_output_bytes": 4194304}


@dataclass(frozen=True)
class Definition:
    """One surface. `{disk}` in a key stands for the block device of the scratch folder.

    `reference`: what gains are gains over: a stock kernel's values, whatever this host has.
    `probes`: settings measured besides the Sobol points, each for a question of its own (a knob
    alone, what TuneD sets); what they leave out is the reference's.
    """

    name: str
    points: int
    amount: int
    reference: Mapping[str, Value]
    probes: tuple[Mapping[str, Value], ...]
    settle_s: float = 0.0
    """The catalog's settling times are for programs that run already; these windows start new ones
    (the disk's queue is given a moment, for requests on their way)."""

    def profile(
        self, amount: int, state_dir: str, *, any_load: bool = False, more: str = ""
    ) -> Profile:
        """The profile with so much work in a window, and `more` sections; with `any_load` a busy
        machine is no reason to void a window."""
        text = (_PROFILES / f"{self.name}.yaml").read_text()
        text = text.replace("@AMOUNT@", str(amount)).replace("@PAGES@", str(amount // 32))
        if any_load:
            text += "fairness: {steal: off, others: off, memory: off}\n"
        return parse_profile((text + more).encode(), file=self.name, state_dir=state_dir)


def _net(receive: int, send: int, congestion: str = "reno") -> Mapping[str, Value]:
    return {
        "net.ipv4.tcp_rmem": (4096, 131072, receive),
        "net.ipv4.tcp_wmem": (4096, 16384, send),
        "net.ipv4.tcp_congestion_control": congestion,
        **_LIMITS,
    }


def _disk(read_ahead_kb: int, scheduler: str) -> Mapping[str, Value]:
    return {
        f"{_DISK}/read_ahead_kb": read_ahead_kb,
        f"{_DISK}/scheduler": scheduler,
        f"{_DISK}/nomerges": 0,
        f"{_DISK}/rq_affinity": 1,
    }


def _thp(enabled: str, huge: str = "inherit") -> Mapping[str, Value]:
    return {
        f"{_THP}/enabled": enabled,
        f"{_THP}/defrag": "madvise",
        f"{_THP}/hugepages-64kB/enabled": "never",
        f"{_THP}/hugepages-2048kB/enabled": huge,
    }


def _vm(pressure: int, background: int, ratio: int) -> Mapping[str, Value]:
    return {
        "vm.vfs_cache_pressure": pressure,
        "vm.dirty_background_ratio": background,
        "vm.dirty_ratio": ratio,
        "vm.dirty_expire_centisecs": 3000,
        "vm.dirty_writeback_centisecs": 500,
    }


DEFINITIONS: tuple[Definition, ...] = (
    Definition(
        "long-link",
        points=250,
        amount=32 << 10,  # KiB each way
        reference=_net(6291456, 4194304),
        # each buffer alone, both, and what TuneD's network-throughput sets
        probes=(
            _net(33554432, 4194304),
            _net(6291456, 33554432),
            _net(33554432, 33554432),
            _net(16777216, 16777216),
        ),
    ),
    Definition(
        "scan-and-random",
        points=250,
        amount=32 << 10,  # KiB scanned; a page touched for each 32 KiB
        reference=_disk(128, "mq-deadline"),
        # read-ahead alone, the scheduler alone, and TuneD's throughput-performance
        probes=(_disk(32, "mq-deadline"), _disk(128, "none"), _disk(4096, "mq-deadline")),
        settle_s=0.02,
    ),
    Definition(
        "pointer-chase",
        points=100,
        amount=1_000_000,  # steps
        reference=_thp("madvise"),
        probes=(_thp("always"), _thp("always", "never"), _thp("madvise", "always")),
    ),
    Definition(
        "small-files",
        points=100,
        amount=3000,  # files
        reference=_vm(100, 10, 20),
        probes=(_vm(100, 10, 40), _vm(10, 10, 20), _vm(100, 1, 5)),
    ),
)
"""In the order of importance: a recording that is cut short has the first ones."""

NAMES = tuple(item.name for item in DEFINITIONS)


def definition(name: str) -> Definition:
    """By its name."""
    return next(item for item in DEFINITIONS if item.name == name)


def on_disk(values: Mapping[str, Value], disk: str) -> dict[str, Value]:
    """With the device's name in the keys."""
    return {key.replace("{disk}", disk): value for key, value in values.items()}


def without_disk(key: str, disk: str) -> str:
    """The key as definitions have it."""
    return key.replace(f"/sys/block/{disk}/", "/sys/block/{disk}/")
