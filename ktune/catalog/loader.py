"""From `data/*.yaml` to entries, with errors that name file and knob.

Field names are those of `KnobEntry`, but `min`/`max` for the limits, and each coupling kind is a
field that lists keys. `defaults:` of a file fill in what its entries leave out. `catalog.json` is
the same data as one file that is parsed in a tenth of the time; `generate` writes it, a test holds
it to the YAML.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ktune.catalog.model import (
    DEVICE,
    Bound,
    Coupling,
    CouplingKind,
    Kind,
    KnobEntry,
    Risk,
    TakesEffect,
    Version,
)
from ktune.errors import KtuneError
from ktune.kernel.limits import FACTS, LimitError, evaluate
from ktune.kernel.values import Value, ValueType

_SYSCTL_NAME = re.compile(r"[a-z][a-z0-9_]*(?:\.(?:[A-Za-z0-9_-]+|\{device\}))+\Z")
_FILE_NAME = re.compile(r"/sys(?:/(?:[A-Za-z0-9_.+:-]+|\{device\}))+\Z")
_VERSION = re.compile(r"([0-9]{1,2})\.([0-9]{1,3})\Z")
_CAPABILITY = re.compile(r"CAP_[A-Z_]+\Z")
_DATA = Path(__file__).resolve().parent / "data"
PREBUILT = _DATA.parent / "catalog.json"
_ANY_FACTS = dict.fromkeys(FACTS, 1)
_BASE: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class CatalogError(KtuneError):
    """The catalog's own data is wrong: a mistake of ours, found by the tests."""


class _Loader(_BASE):  # type: ignore[misc]
    """YAML 1.1 without duplicate keys; words like `off` must be quoted (tested by type)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        if len(mapping) != len(node.value):
            raise CatalogError(f"duplicate key in the mapping at{node.start_mark}")
        return mapping


def read_entries() -> Iterator[KnobEntry]:
    """Every entry of every file that ships with the package, in file order.

    Raises:
        CatalogError: malformed data.
    """
    for file in sorted(_DATA.glob("*.yaml")):
        yield from parse_entries(file.read_text(encoding="utf-8"), file.name)


def read_raw() -> dict[str, dict[str, Any]]:
    """Fields by name as the YAML files say them, `defaults:` filled in. Raises CatalogError."""
    return {
        name: fields
        for file in sorted(_DATA.glob("*.yaml"))
        for name, fields in _raw(file.read_text(encoding="utf-8"), file.name)
    }


def read_prebuilt() -> Mapping[str, KnobEntry]:
    """The catalog from `catalog.json`; an entry is made when it is first asked for.

    Raises:
        CatalogError: malformed data.
    """
    try:
        return _Prebuilt(json.loads(PREBUILT.read_text(encoding="ascii")))
    except (OSError, ValueError) as error:
        raise CatalogError(f"{PREBUILT.name}: {error}") from error


class _Prebuilt(Mapping[str, KnobEntry]):
    """Entries by name over plain fields: a command needs a few of the hundreds."""

    def __init__(self, raw: Mapping[str, dict[str, Any]]) -> None:
        self._raw = raw
        self._made: dict[str, KnobEntry] = {}

    def __getitem__(self, name: str) -> KnobEntry:
        found = self._made.get(name)
        if found is None:
            found = self._made[name] = _entry(name, self._raw[name])
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._raw

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)


def parse_entries(text: str, where: str) -> Iterator[KnobEntry]:
    """The entries of one file; `where` names it in errors.

    Raises:
        CatalogError: malformed data.
    """
    for name, fields in _raw(text, where):
        try:
            yield _entry(name, fields)
        except (KeyError, TypeError, ValueError) as error:
            raise CatalogError(f"{where}: {name}: {_say(error)}") from error


def _raw(text: str, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        document = yaml.load(text, Loader=_Loader)  # a SafeLoader by descent
    except yaml.YAMLError as error:
        raise CatalogError(f"{where}: {error}") from error
    if not isinstance(document, dict) or set(document) - {"defaults", "knobs"}:
        raise CatalogError(f"{where}: expected `defaults` and `knobs`")
    defaults = document.get("defaults", {})
    for name, fields in document["knobs"].items():
        yield name, {**defaults, **fields}


def _entry(name: Any, raw: dict[str, Any]) -> KnobEntry:
    fields = {key: _READERS[key](value) for key, value in raw.items() if key in _READERS}
    couplings = tuple(
        Coupling(kind, _words(raw[kind.value])) for kind in CouplingKind if kind.value in raw
    )
    unknown = set(raw) - set(_READERS) - set(CouplingKind)
    if unknown:
        raise ValueError(f"unknown fields: {', '.join(sorted(unknown))}")
    for field, target in (("min", "minimum"), ("max", "maximum")):
        if field in fields:
            fields[target] = fields.pop(field)
    entry = KnobEntry(name=_text(name), couplings=couplings, **fields)
    _check(entry)
    return entry


def _check(entry: KnobEntry) -> None:
    """What types alone can't say. Raises ValueError."""
    shape = _SYSCTL_NAME if entry.kind is Kind.SYSCTL else _FILE_NAME
    if not shape.match(entry.name) or {".", ".."} & set(entry.name.split("/")):
        raise ValueError(f"not the name of a {entry.kind.value} knob")
    if entry.kind is Kind.SYSCTL and entry.pattern and entry.tunable:
        raise ValueError("a sysctl that profiles may set names one file, without {device}")
    if entry.name.count(DEVICE) > 1:
        raise ValueError("only one {device}")
    if (entry.type is ValueType.VECTOR) != (entry.length is not None):
        raise ValueError("vectors, and only vectors, have a length")
    if not entry.tunable and not entry.reason:
        raise ValueError("risk never needs a reason")
    for bound in (entry.minimum, entry.maximum):
        if isinstance(bound, tuple) and len(bound) != entry.length:
            raise ValueError("a list of limits has one for each element of the vector")
    for value in (*entry.special, *([] if entry.default is None else [entry.default])):
        _check_value(entry, value)
    if entry.tunable and entry.default is None and not entry.default_note:
        raise ValueError("needs a default, or default_note to say on what it depends")


def _check_value(entry: KnobEntry, value: Value) -> None:
    expected: type = {ValueType.INT: int, ValueType.VECTOR: tuple}.get(entry.type, str)
    if not isinstance(value, expected):
        raise ValueError(f"{value!r} is not a value of type {entry.type.value}")


def _text(raw: Any) -> str:
    if not isinstance(raw, str):
        raise ValueError(f"expected text, found {raw!r} (quote words such as off, and versions)")
    return raw


def _flag(raw: Any) -> bool:
    if not isinstance(raw, bool):
        raise ValueError(f"expected true or false, found {raw!r}")
    return raw


def _words(raw: Any) -> tuple[str, ...]:
    if not isinstance(raw, list) or not raw:
        raise ValueError(f"expected a list of words, found {raw!r}")
    return tuple(_text(item) for item in raw)


def _value(raw: Any) -> Value:
    if isinstance(raw, list):
        return tuple(_number(item) for item in raw)
    return raw if isinstance(raw, str) else _number(raw)


def _number(raw: Any) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise ValueError(f"expected an integer, found {raw!r}")
    return raw


def _bound(raw: Any) -> Bound:
    items = tuple(raw) if isinstance(raw, list) else (raw,)
    for item in items:
        evaluate(item, _ANY_FACTS)
    return items if isinstance(raw, list) else items[0]


def _version(raw: Any) -> Version:
    match = _VERSION.match(_text(raw))
    if not match:
        raise ValueError(f"expected a version such as '6.12', found {raw!r}")
    return int(match[1]), int(match[2])


def _capability(raw: Any) -> str:
    if not _CAPABILITY.match(_text(raw)):
        raise ValueError(f"expected a capability such as CAP_SYS_ADMIN, found {raw!r}")
    return str(raw)


def _say(error: Exception) -> str:
    if isinstance(error, LimitError | ValueError):
        return str(error)
    return f"{type(error).__name__}: {error}"


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "kind": Kind,
    "type": ValueType,
    "meaning": _text,
    "source": _text,
    "risk": Risk,
    "unit": _text,
    "length": _number,
    "default": _value,
    "default_note": _text,
    "min": _bound,
    "max": _bound,
    "choices": _words,
    "choices_from": _text,
    "choices_from_netns": _text,
    "special": lambda raw: tuple(_value(item) for item in raw),
    "reason": _text,
    "zero_unwritable": _flag,
    "takes_effect": TakesEffect,
    "needs_capability": _capability,
    "settle_s": float,
    "namespaced": _flag,
    "kernel_moves": _flag,
    "kernel_rounds": _flag,
    "since": _version,
    "until": _version,
    "condition": _text,
}
