"""YAML 1.2 core-schema loading with positions, for files that nobody vouches for.

PyYAML resolves scalars by YAML 1.1 (`on`, `no`, `12:30`, `010` change their type). Here only its
parser is used: we compose the tree from its events, resolve plain scalars by the core schema of
https://yaml.org/spec/1.2.2/#103-core-schema, and keep the place of every key and value.

Promises: any bytes give a `Node` or a `ProfileError`; size, depth, aliases and the number of
nodes after aliases are bounded; duplicate keys, tags and merge keys are errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import yaml

from ktune.profile.errors import Mark, Problem, ProfileError, shown

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_ALIASES = 64
MAX_NODES = 20_000
"""Nodes counted after aliases are expanded: a small file can't grow without bound."""

Scalar = None | bool | int | float | str

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_INT = re.compile(r"[-+]?[0-9]+\Z")
_OCTAL_TRAP = re.compile(r"[-+]?0[0-9_]+\Z")
_OCT = re.compile(r"0o[0-7]+\Z")
_HEX = re.compile(r"0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_SPECIAL_FLOAT = re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")
_MAX_DIGITS = 20
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Node:
    """A value with its place; children of mappings are keyed by the key's text."""

    value: Scalar | Mapping[str, Node] | tuple[Node, ...]
    mark: Mark
    key_mark: Mark | None = None
    """Where the key stands that leads to this value (children of mappings only)."""

    @property
    def mapping(self) -> Mapping[str, Node]:
        """The children of a mapping; empty for everything else."""
        return self.value if isinstance(self.value, Mapping) else {}

    @property
    def items(self) -> tuple[Node, ...]:
        """The children of a sequence; empty for everything else."""
        return self.value if isinstance(self.value, tuple) else ()

    def locate(self, path: Iterable[str | int]) -> Node:
        """The node at `path`, or the last one on the way there.

        Steps that lead nowhere are skipped: pydantic's locations also hold names of union
        members and validators.
        """
        node = self
        for step in path:
            if isinstance(step, int) and node.items:
                node = node.items[step] if 0 <= step < len(node.items) else node
            else:
                node = node.mapping.get(str(step), node)
        return node

    def plain(self) -> object:
        """The value as dicts, lists and scalars."""
        if isinstance(self.value, Mapping):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, tuple):
            return [child.plain() for child in self.value]
        return self.value


def load_yaml(data: bytes, *, file: str) -> Node:
    """The one document in `data`. Raises ProfileError, and nothing else, for what is not one."""
    text = _decode(data, file)
    composer = _Composer(file)
    try:
        return composer.document(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = Mark(file, mark.line + 1, mark.column + 1) if mark else composer.last
        what = " ".join(part for part in (error.context, error.problem) if part)
        raise ProfileError.at(at, f"not YAML: {what}") from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position] if isinstance(error.position, int) else ""
        at = _place(before, file)
        raise ProfileError.at(at, f"not YAML: {error.reason}") from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        # PyYAML lets chr() and int() of absurd escapes and directives fail by themselves.
        raise ProfileError.at(composer.last, f"not YAML: {shown(str(error))}") from None


def resolve_scalar(text: str, mark: Mark) -> Scalar:
    """A plain scalar by the YAML 1.2 core schema. Raises ProfileError for the octal trap."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if _OCTAL_TRAP.match(text):
        raise ProfileError.at(
            mark,
            f"{shown(text)} has a leading zero: YAML 1.1 and the kernel read that as octal, "
            "YAML 1.2 as decimal; write it without the zero (or 0o17 for octal, or in quotes "
            "for text)",
        )
    if _INT.match(text) or _OCT.match(text) or _HEX.match(text):
        if len(text.lstrip("+-")) > _MAX_DIGITS:
            raise ProfileError.at(mark, f"{shown(text)} is too long for a number; quote text")
        return int(text, 0) if text[1:2] in ("o", "x") else int(text)
    if _FLOAT.match(text):
        return float(text)
    if _SPECIAL_FLOAT.match(text):
        return float(text.replace(".", ""))
    return text


def dump_yaml(data: object) -> str:
    """Plain data as YAML that `load_yaml` reads back as the same."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.2 would read as something else than text; PyYAML only knows 1.1."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        is_text = isinstance(resolve_scalar(text, Mark("")), str)
    except ProfileError:
        is_text = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_text else '"')


def _float_node(dumper: yaml.SafeDumper, number: float) -> yaml.ScalarNode:
    text = {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(repr(number), repr(number))
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")  # PyYAML would tag 1e+16, which YAML 1.1 reads as text
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


_Dumper.add_representer(str, _text_node)
_Dumper.add_representer(float, _float_node)


def _decode(data: bytes, file: str) -> str:
    if len(data) > MAX_BYTES:
        raise ProfileError.at(
            Mark(file), f"{len(data)} bytes; at most {MAX_BYTES // 1024} KiB are allowed"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        raise ProfileError.at(
            _place(before, file), f"not UTF-8: byte 0x{data[error.start]:02x}"
        ) from None


def _place(before: str, file: str) -> Mark:
    return Mark(file, before.count("\n") + 1, len(before) - before.rfind("\n"))


def _height(node: Node) -> int:
    children = (*node.mapping.values(), *node.items)
    return 1 + max(map(_height, children)) if children else 0


class _Composer:
    """Builds the tree from PyYAML's events, bounded, collecting what can be collected."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._aliases = 0
        self._nodes = 0
        self._problems: list[Problem] = []
        self.last = Mark(file)

    def document(self, text: str) -> Node:
        events = self._events(text)
        next(events)  # stream start
        if isinstance(next(events), yaml.StreamEndEvent):
            raise ProfileError.at(Mark(self._file), "the file is empty")
        root = self._node(next(events), events, depth=0)
        next(events)  # document end
        extra = next(events)
        if not isinstance(extra, yaml.StreamEndEvent):
            raise ProfileError.at(self.last, "a second document: one file holds one document")
        if self._problems:
            raise ProfileError(self._problems)
        return root

    def _events(self, text: str) -> Iterator[yaml.Event]:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if (start := event.start_mark) is not None:
                self.last = Mark(self._file, start.line + 1, start.column + 1)
            yield event

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> Node:
        mark = self.last
        if depth > MAX_DEPTH:
            raise ProfileError.at(mark, f"nested more than {MAX_DEPTH} levels deep")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, mark, depth)
        before = self._nodes
        self._count(1, mark)
        if (tag := getattr(event, "tag", None)) is not None:
            self._problem(mark, f"tag {shown(tag)}: tags are not allowed")
        if isinstance(event, yaml.ScalarEvent):
            node = Node(self._scalar(event, mark), mark)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = Node(self._sequence(events, depth), mark)
        elif isinstance(event, yaml.MappingStartEvent):
            node = Node(self._mapping(events, depth), mark)
        else:
            raise ProfileError.at(mark, "expected a value")
        anchor = getattr(event, "anchor", None)
        if anchor is not None:
            self._anchors[anchor] = (node, self._nodes - before)
        return node

    def _scalar(self, event: yaml.ScalarEvent, mark: Mark) -> Scalar:
        text = str(event.value)
        if _SURROGATE.search(text):
            self._problem(mark, "a lone surrogate is not a character")
            return ""
        if event.style is not None or event.tag is not None:
            return text
        try:
            return resolve_scalar(text, mark)
        except ProfileError as error:
            self._problems.extend(error.problems)
            return 0

    def _sequence(self, events: Iterator[yaml.Event], depth: int) -> tuple[Node, ...]:
        found: list[Node] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            found.append(self._node(event, events, depth + 1))
        return tuple(found)

    def _mapping(self, events: Iterator[yaml.Event], depth: int) -> Mapping[str, Node]:
        found: dict[str, Node] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key_mark = self.last
            key = self._key(event, events, depth)
            child = replace(self._node(next(events), events, depth + 1), key_mark=key_mark)
            if key in found:
                self._problem(
                    key_mark,
                    f"duplicate key {shown(key)}; first given at line "
                    f"{(found[key].key_mark or key_mark).line}",
                )
            elif key is not None:
                found[key] = child
        return found

    def _key(self, event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> str | None:
        mark = self.last
        if not isinstance(event, yaml.ScalarEvent):
            self._node(event, events, depth + 1)
            self._problem(mark, "a key must be text, not a list, a mapping or an alias")
            return None
        self._count(1, mark)
        key = str(event.value)
        if event.tag is not None:
            self._problem(mark, f"tag {shown(event.tag)}: tags are not allowed")
        if event.anchor is not None:
            self._anchors[event.anchor] = (Node(key, mark), 1)
        if key == "<<" and event.style is None:
            self._problem(mark, "merge keys (<<) are not allowed; use `extends`")
            return None
        if _SURROGATE.search(key):
            self._problem(mark, "a lone surrogate is not a character")
            return None
        return key

    def _alias(self, event: yaml.AliasEvent, mark: Mark, depth: int) -> Node:
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            raise ProfileError.at(mark, f"more than {MAX_ALIASES} aliases")
        if event.anchor not in self._anchors:
            raise ProfileError.at(mark, f"alias *{event.anchor} has no anchor before it")
        node, size = self._anchors[event.anchor]
        self._count(size, mark)
        if depth + _height(node) > MAX_DEPTH:
            raise ProfileError.at(mark, f"nested more than {MAX_DEPTH} levels deep")
        return replace(node, mark=mark)

    def _count(self, size: int, mark: Mark) -> None:
        self._nodes += size
        if self._nodes > MAX_NODES:
            raise ProfileError.at(mark, f"more than {MAX_NODES} values")

    def _problem(self, mark: Mark, message: str) -> None:
        self._problems.append(Problem(mark, message))
