"""What the knobs of a plan read now, in its scope, and why one can't be read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ktune.catalog.catalog import Catalog
from ktune.catalog.model import Match
from ktune.kernel.nsread import Reading, read_here
from ktune.kernel.values import Value, ValueFormatError, choices_of, parse
from ktune.kernel.versions import kernel_version
from ktune.profile import couplings
from ktune.profile.errors import shown
from ktune.profile.host import HostFacts
from ktune.profile.knobs import Relation
from ktune.profile.readings import Reader


@dataclass(frozen=True)
class Observed:
    """Readings by path, values by key."""

    values: Mapping[str, Value]
    """In force now: the profile's knobs, their neighbours, what relations speak about."""
    readings: Mapping[str, Reading]
    in_netns: bool
    host: HostFacts

    def allowed(self, match: Match) -> tuple[str, ...] | None:
        """The words that the kernel offers in this scope; None where no file lists them."""
        path = match.choices_path(in_netns=self.in_netns)
        text = self.readings[path].text if path is not None else None
        return None if text is None else choices_of(text)

    def writable(self, match: Match) -> bool:
        """Whether the file's mode lets the caller write."""
        return self.readings[match.path].writable

    def why_not(self, match: Match) -> str:
        """Why a knob has no value here."""
        entry, reading = match.entry, self.readings[match.path]
        if reading.text is not None:
            return f"its content {shown(reading.text.strip())} is not of type {entry.type.value}"
        major, minor = (*kernel_version(self.host.kernel), 0)[:2]
        if not entry.in_kernel((major, minor)):
            first, last = (_version(item) for item in (entry.since, entry.until))
            return f"missing on this kernel: Linux {first or '...'} to {last or 'now'} has it"
        place = "in this namespace" if self.in_netns else "on this host"
        condition = f" (there with: {entry.condition})" if entry.condition else ""
        return f"can't be read {place}: {os.strerror(reading.errno)}{condition}"


def observe(
    matches: Mapping[str, Match],
    relations: Iterable[Relation],
    *,
    catalog: Catalog,
    host: HostFacts,
    read: Reader,
    in_netns: bool,
) -> Observed:
    """Read the knobs, their ordering neighbours, what relations name, and lists of words."""
    all_matches = dict(matches)
    keys = [key for match in matches.values() for _, key in couplings.neighbours(match)]
    keys += [key for relation in relations for key in relation.keys]
    for key in keys:
        match = catalog.find(key)
        if match is not None:
            all_matches.setdefault(key, match)
    lists = [
        path
        for match in all_matches.values()
        if (path := match.choices_path(in_netns=in_netns)) is not None
    ]
    readings = dict(read([*(match.path for match in all_matches.values()), *lists]))
    # A list that only the initial namespace has is read there.
    readings.update(read_here(path for path in lists if readings[path].text is None))
    return Observed(_values(all_matches, readings), readings, in_netns, host)


def _values(matches: Mapping[str, Match], readings: Mapping[str, Reading]) -> dict[str, Value]:
    found = {}
    for key, match in matches.items():
        text = readings[match.path].text
        if text is not None:
            try:
                value = parse(match.entry.type, text)
            except ValueFormatError:
                continue
            if match.entry.length in (None, len(value) if isinstance(value, tuple) else None):
                found[key] = value
    return found


def _version(version: tuple[int, int] | None) -> str:
    return ".".join(map(str, version)) if version else ""
