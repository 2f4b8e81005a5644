"""From a leased knob's limits to a rule of the guard: decisions only. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ktune.kernel.values import Value, ValueType
from ktune.proxy.allowlist import Limits, Rule, check_limits
from ktune.proxy.guard.wire import NUMBERS, TEXT_BYTES, Action, GuardRule, Kind
from ktune.proxy.model import ProxyError

_SYSCTLS = "/proc/sys/"
_LEAST, _MOST = -(2**63), 2**63 - 1


def guarded_name(path: str) -> str | None:
    """What the kernel calls a sysctl (`vm/swappiness`); None for any other file: sysfs does not
    pass the hook."""
    return path.removeprefix(_SYSCTLS) if path.startswith(_SYSCTLS) else None


def lease_rule(
    rule: Rule, asked: Limits, original: Value, *, action: Action, netns: int
) -> GuardRule | None:
    """What may be written while a knob is leased: within the catalog's *and* the profile's limits,
    or the original wherever that lies.

    None where the guard can't judge the knob (not a sysctl, a vector or word too long).
    """
    name = guarded_name(rule.tunable.path)
    if name is None:
        return None
    originals: list[Value] = [original]
    if original == 0 and any(coupling.kind == "either_or" for coupling in rule.couplings):
        originals.append(1)  # the stepping stone of a restore (ktune.proxy.actuator)
    both = (rule, asked)
    specials = [
        value
        for limits in both
        for value in limits.special
        if all(_inside(rule.tunable.key, value, each) for each in both)
    ]
    space = netns if rule.namespaced else 0
    if rule.tunable.type in (ValueType.INT, ValueType.VECTOR):
        low_high = _bounds(_vector(original), both)
        exact = tuple(dict.fromkeys(_vector(value) for value in [*originals, *specials]))
        return (
            None
            if low_high is None
            else GuardRule(name, action, Kind.RANGE, *low_high, exact, space)
        )
    words = [
        word
        for limits in both
        for word in limits.choices or ()
        if all(_inside(rule.tunable.key, word, each) for each in both)
    ]
    if all(limits.choices is None for limits in both):
        return GuardRule(name, action, Kind.ANY, netns=space)
    return _words(name, [*originals, *specials, *words], action, space)


def watched_rule(path: str, *, netns: int) -> GuardRule | None:
    """A knob that is only watched: anything passes, every other writer is reported."""
    name = guarded_name(path)
    return None if name is None else GuardRule(name, Action.AUDIT, Kind.ANY, netns=netns)


def kept_rule(
    path: str, kind: ValueType, values: Iterable[Value], *, action: Action, netns: int
) -> GuardRule | None:
    """A knob that shall hold one of `values`: a policy's own, and the original, so that it can
    always be undone."""
    name = guarded_name(path)
    if name is None:
        return None
    if kind not in (ValueType.INT, ValueType.VECTOR):
        return _words(name, list(values), action, netns)
    exact = tuple(_vector(value) for value in values)
    size = len(exact[0])
    if size > NUMBERS:
        return None
    nothing = ((1,) * size, (0,) * size)
    return GuardRule(name, action, Kind.RANGE, *nothing, exact, netns)


def _bounds(
    original: tuple[int, ...], both: tuple[Limits, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Lowest and highest for each element, None for a vector too long, or of numbers too large."""
    size = len(original)
    if size > NUMBERS or not all(_LEAST <= number <= _MOST for number in original):
        return None
    low, high = [_LEAST] * size, [_MOST] * size
    for limits in both:
        low = _each(max, low, limits.minimum)
        high = _each(min, high, limits.maximum)
    return tuple(low), tuple(high)


def _each(pick: Callable[[int, int], int], bounds: list[int], limit: Value | None) -> list[int]:
    if limit is None:
        return bounds
    found = _vector(limit)
    wide = found * len(bounds) if len(found) == 1 else found
    return [pick(a, b) for a, b in zip(bounds, wide, strict=True)]


def _words(name: str, words: list[Value], action: Action, netns: int) -> GuardRule | None:
    texts = tuple(dict.fromkeys(str(word) for word in words))
    if any(len(text.encode()) >= TEXT_BYTES for text in texts):
        return None
    return GuardRule(name, action, Kind.WORDS, exact=texts, netns=netns)


def _vector(value: Value) -> tuple[int, ...]:
    if isinstance(value, tuple):
        return value
    return (int(value),)


def _inside(key: str, value: Value, limits: Limits) -> bool:
    try:
        check_limits(key, value, limits)
    except ProxyError:
        return False
    return True
