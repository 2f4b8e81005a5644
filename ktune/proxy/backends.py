"""By which way writes reach the kernel: what was asked for, what was got, and why. Standard library
only."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from ktune.kernel.wording import counted
from ktune.proxy.model import Json


class ProxyChoice(StrEnum):
    """What a person asks for (`--proxy`). AUTO takes the strongest that works here and says which
    it is; the others are refused where they do not work."""

    AUTO = "auto"
    FILE = "file"
    BPF = "bpf"
    MODULE = "module"


class Backend(StrEnum):
    """What a lease goes through."""

    FILE = "file"
    FILE_AND_BPF = "file + BPF guard"
    MODULE = "kernel module"
    MODULE_AND_BPF = "kernel module + BPF guard"


@dataclass(frozen=True)
class Standing:
    """How a lease stands. `why`: why there is no guard, empty when there is one.

    `unguarded`: leased knobs that the guard can't see (sysfs does not pass its hook): others'
    writes to these are found by polling. `netns_why`: why an event does not say in which network
    namespace its writer was, empty when it does. `module_why`: why it is not the kernel module's,
    empty when it is, or when nobody asked for it. `by_file`: knobs beside the module's that it
    can't write: these come back by the guardian, or by `recover`, only.
    """

    backend: Backend = Backend.FILE
    why: str = ""
    unguarded: tuple[str, ...] = ()
    netns_why: str = ""
    module_why: str = field(default="", compare=False)
    by_file: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """One line for people: the way, and how others' writes are noticed."""
        way = self.backend.value
        if not self.guarded and self.why:
            way += f" (no BPF guard: {self.why})"
        if self.by_module:
            files = f", except {', '.join(self.by_file)}" if self.by_file else ""
            way += f": the kernel itself restores{files}"
        module = f"; no kernel module: {self.module_why}" if self.module_why else ""
        if not self.guarded:
            return f"{way}; others' writes are found by polling{module}"
        rest = f", {counted(len(self.unguarded), 'knob')} outside /proc/sys by polling"
        where = f"; namespace of writers unknown: {self.netns_why}" if self.netns_why else ""
        return (
            f"{way}; others' writes are seen at once{rest if self.unguarded else ''}{where}{module}"
        )

    @property
    def guarded(self) -> bool:
        """The BPF guard is at work."""
        return self.backend in (Backend.FILE_AND_BPF, Backend.MODULE_AND_BPF)

    @property
    def by_module(self) -> bool:
        """The kernel module writes and restores."""
        return self.backend in (Backend.MODULE, Backend.MODULE_AND_BPF)

    def with_module(self, by_file: tuple[str, ...]) -> Standing:
        """The same guard, or none, beside the kernel module."""
        backend = Backend.MODULE_AND_BPF if self.guarded else Backend.MODULE
        return replace(self, backend=backend, by_file=by_file)

    def to_json(self) -> Json:
        return {
            "backend": self.backend.value,
            "why": self.why,
            "unguarded": list(self.unguarded),
            "netns_why": self.netns_why,
            "module_why": self.module_why,
            "by_file": list(self.by_file),
        }

    @classmethod
    def from_json(cls, raw: Json) -> Standing:
        """Raises ValueError, KeyError."""
        return cls(
            Backend(raw["backend"]),
            str(raw["why"]),
            tuple(str(key) for key in raw["unguarded"]),
            str(raw["netns_why"]),
            str(raw["module_why"]),
            tuple(str(key) for key in raw["by_file"]),
        )
