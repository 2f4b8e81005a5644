"""What the catalog knows of a knob: frozen data, no I/O. Values are in the entry's own unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ktune.kernel.limits import Limit, evaluate_bound, within
from ktune.kernel.tunable import Tunable, sysctl_path
from ktune.kernel.values import Value, ValueType

DEVICE = "{device}"
"""Stands for one path component that names a device, a CPU policy, a page size, a cgroup..."""

Bound = Limit | tuple[Limit, ...] | None
"""A hard limit, one for each element of a vector, or none."""

Version = tuple[int, int]
"""Kernel version: (6, 12)."""


class Kind(StrEnum):
    """Where a knob lives."""

    SYSCTL = "sysctl"
    SYSFS = "sysfs"
    CGROUP = "cgroup"


class Risk(StrEnum):
    """What a wrong value can do."""

    SAFE = "safe"
    """Slower or faster, nothing else; undone by writing the old value."""
    CAUTION = "caution"
    """Can starve memory, refuse connections or stall: needs a guardrail. Undone by writing."""
    NEVER = "never"
    """Changes security, correctness or availability: neither searchable nor settable."""


class TakesEffect(StrEnum):
    """What must be made anew before a written value counts."""

    NOW = "now"
    NEW_SOCKET = "new_socket"
    NEW_OPEN = "new_open"
    NEW_PROCESS = "new_process"
    REMOUNT = "remount"


class CouplingKind(StrEnum):
    """How writing one knob touches others."""

    EITHER_OR = "either_or"
    """Writing one zeroes the other; both are one setting in two units."""
    RESETS = "resets"
    """Writing this sets `keys` back to defaults (globs allowed)."""
    NOT_ABOVE = "not_above"
    """The kernel wants this <= keys."""
    NOT_BELOW = "not_below"
    """The kernel wants this >= keys."""
    MOVES = "moves"
    """The kernel may move `keys` after a write of this."""


@dataclass(frozen=True)
class Coupling:
    """One relation to other knobs, by key (or key pattern with the same device)."""

    kind: CouplingKind
    keys: tuple[str, ...]


@dataclass(frozen=True)
class KnobEntry:
    """One knob as mainline 6.x documents and implements it."""

    name: str
    kind: Kind
    type: ValueType
    meaning: str
    source: str
    risk: Risk
    unit: str = ""
    length: int | None = None
    """Number of elements of a vector."""
    default: Value | None = None
    """The stock kernel's value; None where it depends (`default_note` says on what)."""
    default_note: str = ""
    minimum: Bound = None
    maximum: Bound = None
    choices: tuple[str, ...] | None = None
    """Every word that mainline knows; the running kernel may offer fewer (`choices_from`)."""
    choices_from: str | None = None
    choices_from_netns: str | None = None
    """The file that lists the words allowed in a network namespace other than the initial one."""
    special: tuple[Value, ...] = ()
    """Values with a meaning of their own, inside or outside the limits; always acceptable."""
    reason: str = ""
    """Why the risk is `caution` or `never`."""
    couplings: tuple[Coupling, ...] = ()
    zero_unwritable: bool = False
    """Reads as 0 while its partner is in force, but 0 can't be written."""
    takes_effect: TakesEffect = TakesEffect.NOW
    needs_capability: str | None = None
    """Needed beyond uid 0, as in `CAP_SYS_ADMIN`."""
    settle_s: float = 0.0
    """How long the kernel needs until the new value shows its effect, seconds."""
    namespaced: bool = False
    """Each network namespace has its own value."""
    kernel_moves: bool = False
    """The kernel changes the value by itself: another value found is nobody's write."""
    kernel_rounds: bool = False
    """The kernel may store another value than the one written."""
    since: Version | None = None
    """First kernel that has it; None: older than 5.4."""
    until: Version | None = None
    """Last kernel that has it; None: still there."""
    condition: str = ""
    """What else must be given (configuration, hardware, module) for it to exist."""

    @property
    def tunable(self) -> bool:
        """Whether profiles may search or set it."""
        return self.risk is not Risk.NEVER

    @property
    def pattern(self) -> bool:
        """Whether the name stands for several files."""
        return DEVICE in self.name

    def in_kernel(self, version: Version) -> bool:
        """Whether a kernel of `version` can have it."""
        return (self.since or (0, 0)) <= version <= (self.until or (999, 0))

    def limits(self, facts: Mapping[str, int]) -> tuple[Value | None, Value | None]:
        """Hard minimum and maximum on a machine with `facts`."""
        return evaluate_bound(self.minimum, facts), evaluate_bound(self.maximum, facts)

    def accepts(self, value: Value, facts: Mapping[str, int]) -> bool:
        """Whether `value` is a special value, or inside limits, choices and length."""
        if value in self.special:
            return True
        if self.choices is not None and value not in self.choices:
            return False
        if self.length is not None and isinstance(value, tuple) and len(value) != self.length:
            return False
        return within(value, *self.limits(facts))


@dataclass(frozen=True)
class Match:
    """An entry found for a key, with its file on this host."""

    key: str
    entry: KnobEntry
    path: str
    device: str | None = field(default=None)

    def expand(self, pattern: str) -> str:
        """A name or file of the entry (a coupled key, `choices_from`) for this match's device."""
        return pattern if self.device is None else pattern.replace(DEVICE, self.device)

    def choices_path(self, *, in_netns: bool) -> str | None:
        """The file that lists the words allowed here; None when the entry's choices are all.

        `in_netns`: the scope is a network namespace other than the initial one.
        """
        if in_netns and self.entry.choices_from_netns:
            return self.expand(self.entry.choices_from_netns)
        if self.entry.choices_from:
            return self.expand(self.entry.choices_from)
        return self.path if self.entry.type is ValueType.CHOICE else None

    def to_tunable(self) -> Tunable:
        """What `ktune.kernel` reads and writes."""
        return Tunable(self.key, self.path, self.entry.type, self.entry.kernel_rounds)


def path_of(key: str) -> str:
    """The file of a key: sysctls live below /proc/sys, everything else is its own path."""
    return key if key.startswith("/") else sysctl_path(key)
