"""Which knobs to write, in which order: decisions only, no kernel. Standard library only.

Restore is three-way (docs/architecture.md): live == what we last observed -> back to the original;
live == original -> nothing; an intent without acknowledgement -> original, unless a foreign write
was witnessed; anything else -> somebody else's, kept and reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ktune.kernel.tunable import Tunable
from ktune.kernel.values import Value
from ktune.proxy.allowlist import Coupling

_RESETTING = ("resets", "moves")


class Verdict(StrEnum):
    """What restore does with one knob."""

    NOTHING = "nothing"
    RESTORE = "restore"
    FOREIGN = "foreign"
    GONE = "gone"


@dataclass
class Held:
    """One knob of a set as the journal knows it.

    `observed` is what we last read back (None: never written by us); `pending` marks an intent
    whose read-back is not on record; `foreign` that somebody else's write was witnessed.
    """

    tunable: Tunable
    original: Value
    observed: Value | None = None
    pending: bool = False
    foreign: bool = False
    kernel_moves: bool = False
    zero_unwritable: bool = False
    couplings: tuple[Coupling, ...] = ()
    also: tuple[Value, ...] = ()
    """What the kernel may have put there for us since."""

    @property
    def expected(self) -> Value:
        """What the kernel should show now."""
        return self.original if self.observed is None else self.observed


def verdict(held: Held, live: Value | None, *, pending: bool | None = None) -> Verdict:
    """Decide for one knob from its record and its live value (None: unreadable or gone).

    `pending` says that also the intent of a knob which drags this one along is unacknowledged.
    """
    if live is None:
        return Verdict.GONE
    if live == held.original:
        return Verdict.NOTHING
    if held.foreign:
        return Verdict.FOREIGN
    unsure = held.pending if pending is None else pending
    if live == held.observed or live in held.also or unsure or held.kernel_moves:
        return Verdict.RESTORE
    return Verdict.FOREIGN


def verdicts(held: Mapping[str, Held], live: Mapping[str, Value | None]) -> dict[str, Verdict]:
    """Decide for a set.

    A write between its intent and its read-back may have dragged other knobs along: these are as
    unsure as itself, and so is what hangs on a knob that the kernel switched for us and left
    there. One foreign member of an either-or pair keeps the whole pair: writing the other member
    would zero the foreign one. What a restored knob resets or moves must be written again after it,
    also when it is at its original now, or went away meanwhile (the settings of an I/O scheduler).
    """
    intents = {key for key, item in held.items() if item.pending}
    switched = {
        key for key, item in held.items() if live.get(key) in set(item.also) - {item.original}
    }
    unsure = intents | dragged_along(intents | switched, held)
    decided = {
        key: verdict(item, live.get(key), pending=key in unsure) for key, item in held.items()
    }
    cut_short = {key for key, item in held.items() if _is_half_restored(item, live.get(key))}
    for key in dragged_along(cut_short, held, kinds=_RESETTING):
        if decided[key] is Verdict.FOREIGN and not held[key].foreign:
            decided[key] = Verdict.RESTORE
    for key, item in held.items():
        if not item.foreign and _is_stepping_stone(item, held, live, live.get(key)):
            decided[key] = Verdict.RESTORE
    for key, item in held.items():
        if decided[key] is Verdict.FOREIGN:
            for partner in _partners(item, held):
                if decided[partner] is Verdict.RESTORE:
                    decided[partner] = Verdict.FOREIGN
    restoring = {key for key, what in decided.items() if what is Verdict.RESTORE}
    for key in dragged_along(restoring, held, kinds=_RESETTING):
        if decided[key] in (Verdict.NOTHING, Verdict.GONE):
            decided[key] = Verdict.RESTORE
    return decided


def dragged_along(
    keys: Iterable[str],
    held: Mapping[str, Held],
    *,
    kinds: Sequence[str] = ("either_or", *_RESETTING),
) -> set[str]:
    """Knobs of the set that the kernel may change when `keys` are written."""
    patterns = [
        (key, coupling.keys)
        for key in keys
        for coupling in held[key].couplings
        if coupling.kind in kinds
    ]
    return {name for name in held for key, names in patterns if name != key and covers(names, name)}


def uncoupled(held: Mapping[str, Held]) -> frozenset[str]:
    """Knobs of the set that hang together with no other: what they read after their own write is
    what they read at the end of a set of writes."""
    patterns = [(key, c.keys) for key, item in held.items() for c in item.couplings]
    moved = {
        name for name in held for key, names in patterns if name != key and covers(names, name)
    }
    return frozenset(
        key
        for key, item in held.items()
        if not (item.couplings or item.kernel_moves or key in moved)
    )


def apply_order(keys: Sequence[str], held: Mapping[str, Held]) -> list[str]:
    """The order to write `keys` in: as given, but a knob that resets or moves others always
    before these (a later one would undo what was written to them)."""
    if not any(c.kind in _RESETTING for item in held.values() for c in item.couplings):
        return list(keys)
    placed: list[str] = []
    waiting = list(keys)
    while waiting:
        free = next(
            (key for key in waiting if not _before(key, held) & (set(waiting) - {key})), waiting[0]
        )
        placed.append(free)
        waiting.remove(free)
    return placed


def restore_order(written: Sequence[str], held: Mapping[str, Held]) -> list[str]:
    """The order to restore in: the reverse of `written`, then what was only moved along.

    >>> restore_order(["a", "b"], {})
    ['b', 'a']
    """
    moved_along = [key for key in held if key not in written]
    return apply_order([*reversed(written), *moved_along], held)


def writable_targets(targets: Mapping[str, Value], held: Mapping[str, Held]) -> dict[str, Value]:
    """The writes that reach `targets`: in an either-or pair only one member is written, since
    writing one zeroes the other (vm.dirty_ratio and vm.dirty_bytes; kernel mm/page-writeback.c).

    The member to write is the one whose target is not zero; with both zero, the one that takes a
    zero.
    """
    writes = dict(targets)
    for key, value in targets.items():
        item = held.get(key)
        if item is None or value != 0 or key not in writes:
            continue
        for partner in _partners(item, held):
            if partner in targets and (targets[partner] != 0 or item.zero_unwritable):
                writes.pop(key, None)
    return writes


def either_or_conflicts(targets: Mapping[str, Value], held: Mapping[str, Held]) -> list[str]:
    """Keys of either-or pairs of which both members are asked for at once."""
    return [
        key
        for key, value in targets.items()
        if value != 0
        and key in held
        and any(targets.get(partner, 0) != 0 for partner in _partners(held[key], held))
    ]


def without_foreign(wanted: Mapping[str, Value], held: Mapping[str, Held]) -> dict[str, Value]:
    """`wanted` without knobs that somebody else wrote, and without their either-or partners."""
    foreign = {key for key, item in held.items() if item.foreign}
    kept = foreign | {name for key in foreign for name in _partners(held[key], held)}
    return {key: value for key, value in wanted.items() if key not in kept}


def _partners(item: Held, held: Mapping[str, Held]) -> list[str]:
    return [
        name
        for coupling in item.couplings
        if coupling.kind == "either_or"
        for name in coupling.keys
        if name in held
    ]


def _is_half_restored(item: Held, live: Value | None) -> bool:
    """We changed it and it is back already: a restore was cut short right after it, and what it
    resets holds the kernel's default, which nobody wrote."""
    return item.observed is not None and live == item.original != item.observed


def _is_stepping_stone(
    item: Held, held: Mapping[str, Held], live: Mapping[str, Value | None], now: Value | None
) -> bool:
    """The 1 that a restore writes where both members of an either-or pair go back to 0 (see
    ktune.proxy.actuator), left there by one that was cut short."""
    return (
        item.original == 0
        and now == 1
        and any(
            held[name].zero_unwritable
            and held[name].observed not in (None, 0)
            and live.get(name) == held[name].original == 0
            for name in _partners(item, held)
        )
    )


def _before(key: str, held: Mapping[str, Held]) -> set[str]:
    """Knobs of the set that must be written before `key`: those that reset or move it."""
    found: set[str] = set()
    for name, item in held.items():
        for coupling in item.couplings:
            if coupling.kind in _RESETTING and covers(coupling.keys, key):
                found.add(name)
    return found


def covers(patterns: Iterable[str], key: str) -> bool:
    """`key` is one of `patterns`; a pattern may end in `*`."""
    return any(
        key == pattern or (pattern.endswith("*") and key.startswith(pattern[:-1]))
        for pattern in patterns
    )
