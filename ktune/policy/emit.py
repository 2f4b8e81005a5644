"""Writes a policy as YAML that people read and diff: fixed order, one line a small mapping.

PyYAML's own emitter quotes by the rules of YAML 1.1; here every text that any reader, 1.1 or
1.2, could take for something else is quoted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_PLAIN = re.compile(
    r"[A-Za-z/][A-Za-z0-9_./@+-]*(:[A-Za-z0-9_./@+-]+)*( [A-Za-z][A-Za-z0-9_-]*)*\Z"
)
_QUANTITY = re.compile(r"-?[0-9]+(\.[0-9]+)?(%|[KMGT]iB)\Z")
_RESERVED = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})


def document(tree: Mapping[str, object], *, block: frozenset[str], header: str) -> str:
    """`tree` as YAML text; mappings named in `block` get a line for each entry."""
    lines = [f"# {line}".rstrip() for line in header.splitlines()]
    for key, value in tree.items():
        if isinstance(value, Mapping) and (key in block or _nested(value)):
            lines.append(f"{key}:")
            for name, item in value.items():
                lines += _entry(name, item, block)
        else:
            lines.append(f"{key}: {_flow(value)}")
    return "\n".join(lines) + "\n"


def _entry(name: str, item: object, block: frozenset[str]) -> list[str]:
    if name in block and isinstance(item, Mapping):
        below = (f"    {_scalar(key)}: {_flow(value)}" for key, value in item.items())
        return [f"  {_scalar(name)}:", *below]
    return [f"  {_scalar(name)}: {_flow(item)}"]


def _nested(value: Mapping[str, object]) -> bool:
    return any(isinstance(item, Mapping) for item in value.values())


def _flow(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(k)}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return _scalar(value)


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    plain = (_PLAIN.match(text) or _QUANTITY.match(text)) and text.lower() not in _RESERVED
    return text if plain else '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    code = ord(char)
    if char in '"\\':
        return "\\" + char
    if 0x20 <= code < 0x7F:
        return char
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
