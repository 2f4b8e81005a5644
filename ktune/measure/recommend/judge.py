"""Whether a profile fits what was seen, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ktune.measure.recommend.seen import Seen
from ktune.profile.features import FEATURES
from ktune.profile.fits import Fits, Statement

_COMM_BYTES = 15
_PROGRAM, _MIX, _PLACE = 4, 2, 1


@dataclass(frozen=True)
class Match:
    """One profile. `reasons`: what speaks for it; `against`: what it would also want to see."""

    score: int
    reasons: tuple[str, ...]
    against: tuple[str, ...] = ()


def judge(fits: Fits, seen: Seen) -> Match | None:
    """None: it does not fit. A program counts most, then the mix, then a place.

    Of programs, ports, sockets and file systems one is enough. A mix must hold whole where it is
    all that the profile names; beside a program it decides who comes first, for a server that is
    idle at the moment is one all the same.
    """
    running = list(_programs(fits, seen))
    places = [*_ports(fits, seen), *_sockets(fits, seen), *_mounts(fits, seen)]
    holding = [item for item in fits.parsed_mix if _holds(item, seen)]
    failing = [item for item in fits.parsed_mix if item not in holding]
    mixed = bool(fits.mix) and not failing
    if fits.someone:
        if not (running or places):
            return None
    elif not mixed:
        return None
    score = _PROGRAM * bool(running) + _PLACE * bool(places) + _MIX * mixed
    reasons = (*running, *places, *((_said(item, seen) for item in holding) if mixed else ()))
    return Match(score, reasons, tuple(_wanted(item, seen) for item in failing))


def _programs(fits: Fits, seen: Seen) -> Iterator[str]:
    for name in fits.programs:
        cut = name.encode()[:_COMM_BYTES].decode("utf-8", "ignore")
        count = max(seen.programs.get(name, 0), seen.programs.get(cut, 0))
        if count:
            yield f"{name} runs ({count} process{'' if count == 1 else 'es'})"


def _ports(fits: Fits, seen: Seen) -> Iterator[str]:
    for port in fits.ports:
        if port in seen.ports:
            yield f"somebody listens on TCP port {port}"


def _sockets(fits: Fits, seen: Seen) -> Iterator[str]:
    for pattern in fits.sockets:
        found = sorted(path for path in seen.sockets if fnmatchcase(path, pattern))
        if found:
            yield f"somebody listens on {found[0]}"


def _mounts(fits: Fits, seen: Seen) -> Iterator[str]:
    for kind in fits.filesystems:
        if kind in seen.filesystems:
            yield f"a file system of kind {kind} is mounted"


def _holds(item: Statement, seen: Seen) -> bool:
    value = seen.mix.get(item.feature)
    return value is not None and item.holds(value)


def _said(item: Statement, seen: Seen) -> str:
    return f"{_meaning(item)}: {seen.mix[item.feature]} (asked: {item.op} {item.number})"


def _wanted(item: Statement, seen: Seen) -> str:
    value = seen.mix.get(item.feature)
    now = "not known here" if value is None else f"now {value}"
    return f"{_meaning(item)} {item.op} {item.number} ({now})"


def _meaning(item: Statement) -> str:
    """Without the source."""
    return f"{item.feature}, {FEATURES[item.feature].partition(' (')[0].partition(';')[0]}"
