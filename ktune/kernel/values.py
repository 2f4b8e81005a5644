"""Values of kernel knobs: one parser and one formatter for each format the kernel uses.

Standard library only: the guardian imports this. Formats follow the kernel's own handlers:
integers `proc_dointvec` (Documentation/admin-guide/sysctl), vectors `proc_dointvec_minmax` on
arrays (tcp_rmem), bracketed choices (Documentation/admin-guide/mm/transhuge.rst,
Documentation/block/switching-sched.rst), booleans of module parameters
(Documentation/admin-guide/kernel-parameters.rst), bitmaps as in `cpumask` files.
"""

from __future__ import annotations

import re
from enum import StrEnum

Value = int | str | tuple[int, ...]
"""A typed value: int (INT), tuple of int (VECTOR), str (all others)."""


class ValueType(StrEnum):
    """How the kernel prints and accepts a value."""

    INT = "int"
    """One decimal integer."""
    VECTOR = "vector"
    """Several integers separated by blanks or tabs: `4096 131072 6291456`."""
    CHOICE = "choice"
    """Words with the one in force in brackets: `none [mq-deadline] kyber`."""
    WORD = "word"
    """One word out of a list that another file holds: `cubic`, a cpufreq governor."""
    SWITCH = "switch"
    """A boolean that prints `Y`/`N` (module parameters); canonical form `Y` or `N`."""
    BITMAP = "bitmap"
    """Hexadecimal words joined by commas: `ff,00000003`; canonical form has no leading zeros."""
    STRING = "string"
    """Anything else, compared after stripping and folding blanks."""


class ValueFormatError(ValueError):
    """A text does not have the format its type asks for."""


_INT = re.compile(r"[+-]?[0-9]+\Z")
_BRACKET = re.compile(r"\[([^\[\]\s]+)\]")
_HEX_WORDS = re.compile(r"[0-9a-fA-F]+(,[0-9a-fA-F]+)*\Z")
_TRUE = frozenset({"y", "1", "yes", "true", "on"})
_FALSE = frozenset({"n", "0", "no", "false", "off"})


def parse(kind: ValueType, text: str) -> Value:
    """Read `text`, as the kernel prints it or a person writes it, into its canonical value.

    Raises:
        ValueFormatError: the text is not of that format.
    """
    stripped = text.strip()
    match kind:
        case ValueType.INT:
            return _integer(stripped)
        case ValueType.VECTOR:
            words = stripped.split()
            if not words:
                raise ValueFormatError("expected integers separated by blanks, found nothing")
            return tuple(_integer(word) for word in words)
        case ValueType.CHOICE:
            return _chosen(stripped)
        case ValueType.WORD:
            if not stripped or len(stripped.split()) != 1:
                raise ValueFormatError(f"expected one word, found {text!r}")
            return stripped
        case ValueType.SWITCH:
            return _switch(stripped)
        case ValueType.BITMAP:
            return _bitmap(stripped)
        case ValueType.STRING:
            return " ".join(stripped.split())


def format_value(kind: ValueType, value: Value) -> str:
    """The text to write for `value`; no leading zeros (`080` is octal to the kernel).

    Raises:
        ValueFormatError: the value is not of that type.
    """
    if kind is ValueType.INT and isinstance(value, int):
        return str(int(value))
    if kind is ValueType.VECTOR and isinstance(value, tuple) and value:
        return " ".join(str(int(item)) for item in value)
    if isinstance(value, str) and kind not in (ValueType.INT, ValueType.VECTOR):
        if "\n" in value or "\0" in value:
            raise ValueFormatError("a value can't hold a line break or a NUL")
        canonical = parse(kind, value)
        if isinstance(canonical, str):
            return canonical
    raise ValueFormatError(f"{value!r} is not a value of type {kind.value}")


def choices_of(text: str) -> tuple[str, ...]:
    """All words of a bracketed choice file, in the kernel's order: `none [bfq]` -> none, bfq."""
    return tuple(word.strip("[]") for word in text.split())


def _integer(word: str) -> int:
    if not _INT.match(word):
        raise ValueFormatError(f"expected an integer, found {word!r}")
    digits = word.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0":
        raise ValueFormatError(f"{word!r} has a leading zero: the kernel would read it as octal")
    if len(digits) > 20:
        raise ValueFormatError(f"an integer of {len(digits)} digits is no kernel value")
    return int(word)


def _chosen(text: str) -> str:
    found = _BRACKET.findall(text)
    if len(found) == 1:
        return str(found[0])
    if not found and len(text.split()) == 1:
        return text
    raise ValueFormatError(f"expected one word in brackets, found {text!r}")


def _switch(text: str) -> str:
    lowered = text.lower()
    if lowered in _TRUE:
        return "Y"
    if lowered in _FALSE:
        return "N"
    raise ValueFormatError(f"expected Y or N, found {text!r}")


def _bitmap(text: str) -> str:
    if not _HEX_WORDS.match(text):
        raise ValueFormatError(f"expected hexadecimal words joined by commas, found {text!r}")
    words = text.lower().split(",")
    number = int("".join(word.zfill(8) for word in words), 16) if len(words) > 1 else int(text, 16)
    digits = f"{number:x}"
    head = len(digits) % 8 or 8
    parts = [digits[:head]] + [digits[i : i + 8] for i in range(head, len(digits), 8)]
    return ",".join(parts)
