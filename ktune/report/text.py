"""Values and untrusted text as a person may see them. Standard library only."""

from __future__ import annotations

import unicodedata

from ktune.kernel.values import Value


def value_text(value: Value) -> str:
    """A value as one writes it: a vector as its numbers."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def clean(text: object, *, keep: str = "") -> str:
    """`text` with every control, format and surrogate character made visible (`\\x1b`).

    Unicode categories C* (control, bidirectional overrides, surrogates, private use) are what
    can reach a terminal as something other than a glyph; `keep` names exceptions such as a
    line break.
    """
    string = str(text)
    if string.isascii() and string.isprintable():
        return string
    return "".join(
        char if char in keep or not unicodedata.category(char).startswith("C") else _escaped(char)
        for char in string
    )


def _escaped(char: str) -> str:
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
