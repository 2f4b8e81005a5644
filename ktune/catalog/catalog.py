"""The catalog: entries by key, and nothing else. What it does not find may not be tuned.

`find` compares whole keys with a closed set of names and patterns, so no spelling of a path can
reach a file that the catalog does not name: it never normalises, resolves or touches the disk.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from ktune.catalog.loader import CatalogError, read_prebuilt
from ktune.catalog.model import DEVICE, KnobEntry, Match, path_of

_KEY = re.compile(r"[A-Za-z0-9_./!:+-]{1,255}\Z")
_DEVICE = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.!:-]+\Z")
_SYSCTL_DEVICE = re.compile(r"[A-Za-z0-9_!:-]+\Z")  # a dot separates components here


class Catalog:
    """Entries by name, with device patterns matched on one path component."""

    def __init__(self, entries: Iterable[KnobEntry] | Mapping[str, KnobEntry]) -> None:
        self._by_name = entries if isinstance(entries, Mapping) else _by_name(entries)
        self._patterns = [(*name.split(DEVICE), name) for name in self._by_name if DEVICE in name]

    def __iter__(self) -> Iterator[KnobEntry]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def find(self, key: str) -> Match | None:
        """The entry of `key`; None for everything the catalog does not know (never tuned).

        Entries of risk `never` are found too, so that their reason can be said.
        """
        if not isinstance(key, str) or not _KEY.match(key):
            return None
        if key in self._by_name:  # never a pattern: a key has no braces
            return Match(key, self._by_name[key], path_of(key))
        for head, tail, name in self._patterns:
            device = key[len(head) : len(key) - len(tail)]
            if key == head + device + tail and _names_device(device, name):
                return Match(key, self._by_name[name], path_of(key), device)
        return None

    def entry(self, name: str) -> KnobEntry | None:
        """The entry with exactly this name (a pattern's own spelling included)."""
        return self._by_name.get(name)

    def tunable(self) -> Iterator[KnobEntry]:
        """Entries that profiles may search or set."""
        return (entry for entry in self if entry.tunable)

    def nearest(self, key: str, count: int = 3) -> list[str]:
        """Tunable names that look like `key`, best first: what the writer may have meant."""
        names = [entry.name for entry in self.tunable()]
        short = key[:255]
        tail = re.split(r"[./]", short)[-1]
        same_tail = [name for name in names if tail and re.split(r"[./]", name)[-1] == tail]
        close = difflib.get_close_matches(short, names, n=count, cutoff=0.7)
        return list(dict.fromkeys([*same_tail, *close]))[:count]


@lru_cache(maxsize=1)
def load_catalog() -> Catalog:
    """The catalog that ships with this version (read once in a process).

    Raises:
        CatalogError: malformed data.
    """
    return Catalog(read_prebuilt())


def _by_name(entries: Iterable[KnobEntry]) -> dict[str, KnobEntry]:
    found: dict[str, KnobEntry] = {}
    for entry in entries:
        if entry.name in found:
            raise CatalogError(f"{entry.name} is in the catalog twice")
        found[entry.name] = entry
    return found


def _names_device(text: str, name: str) -> bool:
    """May `text` stand for the device in a pattern of this name? One path component, no `.`."""
    return bool((_DEVICE if name.startswith("/") else _SYSCTL_DEVICE).match(text))
