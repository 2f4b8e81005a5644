"""Values and untrusted text as a person may see them. Standard library only."""

from __future__ import annotations

import unicodedata

from ktune.kernel.values import Value


def value_text(value: Value) -> str:
    """A value as one writes it: a vector as its numbers."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def printable(text: str) -> str:
    """Control, format and other invisible characters shown as escapes: no terminal obeys them."""
    return "".join(
        char
        if char == "\n" or not unicodedata.category(char).startswith("C")
        else char.encode("unicode_escape").decode()
        for char in text
    )
