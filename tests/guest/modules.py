"""Kernel modules: found below a folder, read, put in the order in which they load."""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")


@dataclass(frozen=True)
class Module:
    """One module; `name` as lsmod shows it, `content` not compressed."""

    name: str
    content: bytes


def loaded_in_order(folder: Path, names: Iterable[str]) -> list[Module]:
    """The modules of these names and all they depend on, each after what it needs.

    A name without a file is built into the kernel, or a mistake that shows when the guest boots.
    """
    files = {_name(path): path for path in folder.rglob("*.ko*") if path.suffix in (".ko", ".xz")}
    order: dict[str, Module] = {}

    def visit(name: str) -> None:
        if name in order or name not in files:
            return
        module = Module(name, _read(files[name]))
        found = _DEPENDS.search(module.content)
        for needed in found[1].decode().split(",") if found and found[1] else ():
            visit(needed.replace("-", "_"))
        order[name] = module

    for name in names:
        visit(name.replace("-", "_"))
    return list(order.values())


def every_module(folder: Path) -> list[Module]:
    """All modules below a folder, in the order in which they load."""
    return loaded_in_order(folder, sorted(_name(path) for path in folder.rglob("*.ko")))


def _name(path: Path) -> str:
    return path.name.partition(".ko")[0].replace("-", "_")


def _read(path: Path) -> bytes:
    content = path.read_bytes()
    return lzma.decompress(content) if path.suffix == ".xz" else content
