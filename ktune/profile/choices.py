"""A knob with listed values: what of the list can be tried here. Pure."""

from __future__ import annotations

from ktune.kernel.values import Value
from ktune.profile.bounds import (
    Case,
    NothingToSearchError,
    Space,
    WrongForKnobError,
    hull,
    say,
)
from ktune.profile.errors import did_you_mean, shown
from ktune.profile.space import Dimension, DimensionKind


def build(case: Case) -> Space:
    """The choices that the kernel and the catalog allow here; what is dropped is noted.

    Raises WrongForKnobError (not a value of this knob) or NothingToSearchError.
    """
    notes: list[str] = []
    choices: list[Value] = []
    for index, setting in enumerate(case.knob.choices or ()):
        value = case.value(setting, "choices", index)
        why_not = _refusal(case, value, index)
        if why_not:
            notes.append(f"choice {say(value)} dropped: {why_not}")
        elif value not in choices:
            choices.append(value)
    if all(value == case.baseline for value in choices):
        raise NothingToSearchError(
            "; ".join([*notes, f"nothing but the baseline's {say(case.baseline)} is left"])
        )
    dimension = Dimension(case.key, DimensionKind.CHOICE, choices=tuple(choices))
    if isinstance(case.baseline, str):
        return Space((dimension,), choices=_words(case, choices), notes=tuple(notes))
    special = tuple(value for value in choices if not case.limits.hold(value))
    inside = [value for value in (*choices, case.baseline) if case.limits.hold(value)]
    low, high = hull(inside) if inside else (None, None)
    return Space((dimension,), low, high, None, special, tuple(notes))


def _refusal(case: Case, value: Value, index: int) -> str:
    if not isinstance(value, str):
        return "" if case.permits(value) else f"outside the catalog's limits ({case.limits})"
    known = case.entry.choices
    if known is not None and value not in known:
        raise WrongForKnobError(
            f"unknown choice {shown(value)}{did_you_mean(value, known)} "
            f"(the catalog knows: {', '.join(known)})",
            "choices",
            index,
        )
    if case.allowed is not None and value not in case.allowed:
        return f"not allowed here (the kernel offers: {', '.join(case.allowed) or 'nothing'})"
    return ""


def _words(case: Case, choices: list[Value]) -> tuple[str, ...]:
    """The words that may be written: a baseline that could be left but not written again is out."""
    baseline = str(case.baseline)
    if case.allowed is not None and baseline not in case.allowed:
        raise NothingToSearchError(
            f"the baseline's {baseline} could not be set again here: the kernel allows only "
            f"{', '.join(case.allowed)}"
        )
    return tuple(dict.fromkeys([*map(str, choices), baseline]))
