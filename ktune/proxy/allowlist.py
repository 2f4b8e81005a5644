"""What the guardian may touch, whatever its client says. Standard library only.

The list is generated from the catalog's tunable set (`python -m ktune.catalog.generate`) and
ships with the program. A key that is not in it does not exist for the guardian.
"""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from ktune.kernel.limits import evaluate, host_facts
from ktune.kernel.tunable import Tunable, sysctl_path
from ktune.kernel.values import Value, ValueType
from ktune.proxy.model import Json, LeaseTunable, ProxyError, thaw, value_from_json

_FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "allowlist.json")
_DEVICE = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_.!:-]+"
_KEY = re.compile(r"[A-Za-z0-9_./!:@-]{1,255}\Z")
_DEBUGFS = "/sys/kernel/debug"
"""The scheduler's tunables went there with Linux 5.13."""
_ROOTS = ("/proc/sys/", "/sys/")


@dataclass(frozen=True)
class Coupling:
    """How a knob hangs together with others (kinds: see docs/architecture.md)."""

    kind: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """One entry of the list, for one key of this host."""

    tunable: Tunable
    minimum: Value | None
    maximum: Value | None
    choices: tuple[str, ...] | None
    special: tuple[Value, ...]
    length: int | None
    namespaced: bool
    kernel_moves: bool
    zero_unwritable: bool
    couplings: tuple[Coupling, ...]

    def check(self, value: Value) -> None:
        """Raise ProxyError("limit") when `value` lies outside the catalog's hard limits."""
        check_limits(self.tunable.key, value, self)
        if self.length is not None and isinstance(value, tuple) and len(value) != self.length:
            raise ProxyError("limit", f"{self.tunable.key}: needs {self.length} numbers")


class Allowlist:
    """The rules by key, with device patterns expanded on demand."""

    def __init__(self, entries: list[Json], facts: Mapping[str, int]) -> None:
        self._facts = facts
        self._exact = {entry["name"]: entry for entry in entries if "{" not in entry["name"]}
        self._patterns = [
            (re.compile(_pattern(entry["name"])), entry)
            for entry in entries
            if "{" in entry["name"]
        ]

    def rule(self, key: str) -> Rule:
        """The rule of `key`.

        Raises:
            ProxyError: `not-allowed` when the key is not in the tunable set.
        """
        if _KEY.match(key) and ".." not in key and "//" not in key:
            entry = self._exact.get(key)
            if entry is not None:
                return self._build(key, entry, None)
            for pattern, entry in self._patterns:
                match = pattern.match(key)
                if match:
                    return self._build(key, entry, match)
        raise ProxyError("not-allowed", f"{key!r} is not in the set of tunable knobs")

    def coupled(self, rule: Rule) -> tuple[Rule, ...]:
        """Rules of everything coupled with `rule` that exists on this host."""
        found: dict[str, Rule] = {}
        for coupling in rule.couplings:
            for name in coupling.keys:
                for key in _expand(name):
                    try:
                        other = self.rule(key)
                    except ProxyError:
                        continue  # coupled with a knob that nobody may tune: nothing to journal
                    if os.path.exists(other.tunable.path):
                        found[key] = other
        return tuple(found.values())

    def _build(self, key: str, entry: Json, match: re.Match[str] | None) -> Rule:
        kind = ValueType(entry["type"])
        path = key if key.startswith("/") else sysctl_path(key)
        names = match.groupdict() if match else {}
        couplings = tuple(
            Coupling(
                item["kind"],
                tuple(_fill(name, names) for name in item["keys"]),
            )
            for item in entry["couplings"]
        )
        choices = entry["choices"]
        return Rule(
            tunable=Tunable(key, path, kind, bool(entry["kernel_rounds"])),
            minimum=self._limit(entry["min"]),
            maximum=self._limit(entry["max"]),
            choices=None if choices is None else tuple(choices),
            special=tuple(thaw(item) for item in entry["special"]),
            length=entry["length"],
            namespaced=bool(entry["namespaced"]),
            kernel_moves=bool(entry["kernel_moves"]),
            zero_unwritable=bool(entry["zero_unwritable"]),
            couplings=couplings,
        )

    def _limit(self, raw: Any) -> Value | None:
        if raw is None:
            return None
        if isinstance(raw, list):
            return tuple(evaluate(item, self._facts) for item in raw)
        return evaluate(raw, self._facts)


class Limits(Protocol):
    """What bounds a value: the catalog's rule or the profile's wish."""

    @property
    def minimum(self) -> Value | None: ...
    @property
    def maximum(self) -> Value | None: ...
    @property
    def choices(self) -> tuple[str, ...] | None: ...
    @property
    def special(self) -> tuple[Value, ...]: ...


def check_limits(key: str, value: Value, limits: Limits) -> None:
    """Raise ProxyError("limit") when `value` is outside; special values are always inside."""
    if value in limits.special:
        return
    if limits.choices is not None and value not in limits.choices:
        allowed = ", ".join(limits.choices)
        raise ProxyError("limit", f"{key}: {value!r} is not one of {allowed}")
    for number, low in _pairs(key, value, limits.minimum):
        if number < low:
            raise ProxyError("limit", f"{key}: {number} is below the limit {low}")
    for number, high in _pairs(key, value, limits.maximum):
        if number > high:
            raise ProxyError("limit", f"{key}: {number} is above the limit {high}")


def check_request(raw: Json, rule: Rule) -> LeaseTunable:
    """The profile's limits as the client sent them, for a knob of `rule`'s type.

    Raises:
        ProxyError: malformed.
    """
    kind = rule.tunable.type
    choices = raw.get("choices")
    if choices is not None and not all(isinstance(item, str) for item in choices):
        raise ProxyError("bad-value", "choices must be words")
    return LeaseTunable(
        tunable=rule.tunable,
        minimum=None if raw.get("min") is None else value_from_json(kind, raw["min"]),
        maximum=None if raw.get("max") is None else value_from_json(kind, raw["max"]),
        choices=None if choices is None else tuple(choices),
        special=tuple(value_from_json(kind, item) for item in raw.get("special", [])),
    )


def check_file(path: str) -> None:
    """Raise ProxyError unless `path` really lies in procfs, sysfs, cgroup2 or debugfs (no bind
    mount, no link out).

    The kernel names devices by links inside sysfs (`/sys/block/vda`), so links are followed, but
    the file behind must be on the same device number as the root it is reached by.
    """
    for root in _ROOTS:
        if path.startswith(root):
            base = root.rstrip("/") if root == "/sys/" else "/proc"
            try:
                device = os.stat(path).st_dev
            except FileNotFoundError:
                return  # a knob that this kernel lacks: reading it says so
            if device == os.stat(base).st_dev:
                return
            if os.path.realpath(path).startswith("/sys/fs/cgroup/"):
                return
            if path.startswith(f"{_DEBUGFS}/") and _is_debugfs(device):
                return
            raise ProxyError("not-allowed", f"{path} is not the kernel's own file")
    raise ProxyError("not-allowed", f"{path} is not below /proc/sys or /sys")


def _is_debugfs(device: int) -> bool:
    """Is this the device number of debugfs, whole and at its place (proc_pid_mountinfo(5))?"""
    wanted = [f"{os.major(device)}:{os.minor(device)}", "/", _DEBUGFS]
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields, _, tail = line.partition(" - ")
            if fields.split()[2:5] == wanted and tail.startswith("debugfs "):
                return True
    return False


@lru_cache(maxsize=1)
def load_allowlist() -> Allowlist:
    """The list that ships with the program, with limits for this machine."""
    with open(_FILE, encoding="ascii") as file:
        document = json.load(file)
    return Allowlist(document["knobs"], host_facts())


def _pairs(key: str, value: Value, limit: Value | None) -> list[tuple[int, int]]:
    if limit is None:
        return []
    if isinstance(value, int) and isinstance(limit, int):
        return [(value, limit)]
    if isinstance(value, tuple) and isinstance(limit, tuple) and len(value) == len(limit):
        return list(zip(value, limit, strict=True))
    if isinstance(value, tuple) and isinstance(limit, int):
        return [(item, limit) for item in value]
    raise ProxyError("limit", f"{key}: {value!r} can't be compared with the limit {limit!r}")


def _pattern(name: str) -> str:
    parts = re.split(r"(\{[a-z]+\})", name)
    built = [
        f"(?P<{part[1:-1]}>{_DEVICE})" if part.startswith("{") else re.escape(part)
        for part in parts
    ]
    return "".join(built) + r"\Z"


def _fill(name: str, values: Mapping[str, str]) -> str:
    for word, value in values.items():
        name = name.replace("{" + word + "}", value)
    return name


def _expand(name: str) -> list[str]:
    if "*" not in name:
        return [name]
    return sorted(glob.glob(name)) if name.startswith("/") else []
