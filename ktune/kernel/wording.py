"""Numbers of things, for people. Standard library only."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """
    >>> counted(1, "knob"), counted(2, "knob")
    ('1 knob', '2 knobs')
    """
    return f"{number} {thing}" + ("" if number == 1 else "s")
