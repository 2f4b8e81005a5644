"""`--name value` options of the bundled loads. Standard library only.

Not argparse: it imports further modules while it parses, and a load that already gave up its
rights may not be able to read them (an interpreter below /root).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class OptionError(ValueError):
    """An unknown option, or a value of the wrong type."""


def parse(argv: Sequence[str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults, overridden by `argv`; each value gets its default's type.

    Whole numbers may be sizes: `128M` = 128 x 1024^2.

    >>> parse(["--up", "64K"], {"up": 0, "peer": "10.9.0.2"})
    {'up': 65536, 'peer': '10.9.0.2'}
    """
    options = dict(defaults)
    words = list(argv)
    while words:
        word = words.pop(0)
        name = word.removeprefix("--")
        if name == word or name not in defaults:
            known = ", ".join(f"--{known}" for known in defaults)
            raise OptionError(f"unknown option {word!r}; known: {known}")
        if not words:
            raise OptionError(f"{word} wants a value")
        kind, text = type(defaults[name]), words.pop(0)
        try:
            options[name] = _whole(text) if kind is int else kind(text)
        except ValueError as error:
            raise OptionError(f"{word} wants {kind.__name__}, got {text!r}") from error
    return options


def _whole(text: str) -> int:
    power = "KMGT".find(text[-1:]) + 1 if text else 0
    return int(text[:-1]) << 10 * power if power else int(text)
