"""Replaces `${...}` in a profile by host facts and the profile's own variables.

Text from a profile is data: what a replacement brings in is never looked at again, and no fact
opens a file (`disk.of` looks up a device number). A scalar that is one `${...}` as a whole takes
the fact's type, so `range: [4096, "${mem.total / 4}"]` holds numbers. `$${` stands for `${`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ktune.profile import host
from ktune.profile.errors import Mark, Problem, ProfileError, did_you_mean, shown
from ktune.profile.host import HostFacts
from ktune.profile.services.places import place_of, values_of
from ktune.profile.yaml12 import Node, Scalar

_REFERENCE = re.compile(r"(?P<escape>\$\$\{)|\$\{(?P<name>[^${}]*)\}|(?P<open>\$\{)")
_SHARE = re.compile(
    r"(?P<fact>[a-z._]+)\s*(?P<sign>[*/])\s*(?P<number>[0-9]{1,9}(\.[0-9]{1,6})?)\Z"
)
_DISK = "disk.of:"
_VARS = "vars."
_SERVICES = "services."
_LITERAL = frozenset({"ktune", "kind", "name", "extends", "vars"})
"""Top-level keys that are never substituted (vars: only where they are used)."""
MAX_TEXT = 4096


@dataclass
class Variables:
    """What `${...}` may name on this host."""

    facts: HostFacts
    state_dir: str
    vars: Mapping[str, Node] = field(default_factory=dict)
    profile: str = ""
    """Its name: the folders of its services are told apart by it."""
    services: Mapping[str, Node] = field(default_factory=dict)
    """By name."""

    def __post_init__(self) -> None:
        self._open: list[str] = []
        self._known: dict[str, Scalar] = {
            "mem.total": self.facts.mem_bytes,
            **self.facts.numbers,
            "kernel.release": self.facts.kernel,
            "arch": self.facts.arch,
            "virt": self.facts.virt,
            "state_dir": self.state_dir,
        }

    def text(self, text: str, mark: Mark) -> Scalar:
        """`text` with every reference replaced. Raises ProfileError."""
        whole = _REFERENCE.fullmatch(text)
        if whole and whole["name"] is not None:
            return self._value(whole["name"], mark)
        result = _REFERENCE.sub(lambda match: self._inner(match, mark), text)
        if len(result) > MAX_TEXT:
            raise ProfileError.at(mark, f"longer than {MAX_TEXT} characters once filled in")
        return result

    def _inner(self, match: re.Match[str], mark: Mark) -> str:
        if match["escape"]:
            return "${"
        if match["open"]:
            raise ProfileError.at(mark, "${ without its }; write $${ for a literal ${")
        return str(self._value(match["name"], mark))

    def _value(self, name: str, mark: Mark) -> Scalar:
        name = name.strip()
        if name in self._known:
            return self._known[name]
        if name.startswith(_DISK):
            return self._disk(name.removeprefix(_DISK), mark)
        if name.startswith(_VARS):
            return self._variable(name, mark)
        if name.startswith(_SERVICES):
            return self._service(name.removeprefix(_SERVICES), mark)
        share = _SHARE.match(name)
        if share and isinstance(fact := self._known.get(share["fact"]), int):
            return _share(fact, share["sign"], share["number"], mark)
        facts = [known for known in self._known if not known.startswith(_VARS)]
        known = [*facts, _DISK + "/PATH", *(_VARS + var for var in self.vars)]
        known += [f"{_SERVICES}{service}.socket" for service in self.services]
        raise ProfileError.at(
            mark,
            f"unknown variable ${{{name[:60]}}}{did_you_mean(name, known)} "
            f"(known: {', '.join(known)}; a number may be multiplied or divided: "
            "${mem.total / 4})",
        )

    def _disk(self, place: str, mark: Mark) -> str:
        """`disk.of:/PATH`, or the disk of what a variable names: `disk.of:state_dir`."""
        named = place == "state_dir" or place.startswith(_VARS)
        return _disk(str(self._value(place, mark)) if named else place, mark)

    def _service(self, asked: str, mark: Mark) -> Scalar:
        """`NAME.socket` and the like."""
        name, _, what = asked.partition(".")
        node = self.services.get(name)
        if node is None:
            raise ProfileError.at(
                mark, f"no service {shown(name)} here{did_you_mean(name, self.services)}"
            )
        kind = str(node.mapping["kind"].value)
        port = node.mapping.get("port")
        number = None if port is None else port.value
        if isinstance(number, str) and port is not None:
            number = self.text(number, port.mark)
        values = values_of(
            place_of(self.state_dir, self.profile, name),
            kind,
            number if isinstance(number, int) else None,
        )
        if what not in values:
            hint = f"; give {name} a port" if what in ("port", "url") else ""
            raise ProfileError.at(
                mark,
                f"service {name} has no {shown(what)}{did_you_mean(what, values)} "
                f"(known: {', '.join(values)}){hint}",
            )
        return values[what]

    def _variable(self, name: str, mark: Mark) -> Scalar:
        short = name.removeprefix(_VARS)
        node = self.vars.get(short)
        if node is None or isinstance(node.value, Mapping | tuple):
            raise ProfileError.at(
                mark, f"no variable {shown(short)} under vars{did_you_mean(short, self.vars)}"
            )
        if name in self._open:
            raise ProfileError.at(mark, f"variables in a circle: {' -> '.join(self._open)}")
        if not isinstance(node.value, str):
            return node.value
        self._open.append(name)
        try:
            self._known[name] = self.text(node.value, node.mark)
        finally:
            self._open.pop()
        return self._known[name]


def substitute(tree: Node, variables: Variables) -> Node:
    """The tree with every reference replaced, in values and in keys. Raises ProfileError."""
    problems: list[Problem] = []
    children = {
        key: child if key in _LITERAL else _walk(child, variables, problems)
        for key, child in tree.mapping.items()
    }
    if "vars" in children:
        # Checked, and filled in for readers, even where nothing uses them.
        children["vars"] = _walk(children["vars"], variables, problems)
    if problems:
        raise ProfileError(problems)
    return replace(tree, value=children)


def _walk(node: Node, variables: Variables, problems: list[Problem]) -> Node:
    if isinstance(node.value, tuple):
        return replace(node, value=tuple(_walk(child, variables, problems) for child in node.value))
    if isinstance(node.value, Mapping):
        return replace(node, value=_mapping(node.value, variables, problems))
    if isinstance(node.value, str) and "${" in node.value:
        try:
            return replace(node, value=variables.text(node.value, node.mark))
        except ProfileError as error:
            problems.extend(error.problems)
    return node


def _mapping(
    children: Mapping[str, Node], variables: Variables, problems: list[Problem]
) -> Mapping[str, Node]:
    found: dict[str, Node] = {}
    for key, child in children.items():
        mark = child.key_mark or child.mark
        try:
            name = str(variables.text(key, mark)) if "${" in key else key
        except ProfileError as error:
            problems.extend(error.problems)
            continue
        if name in found:
            problems.append(
                Problem(mark, f"{shown(key)} is {shown(name)}, which stands here twice")
            )
        found[name] = _walk(child, variables, problems)
    return found


def _disk(path: str, mark: Mark) -> str:
    if not path.startswith("/") or "\0" in path:
        raise ProfileError.at(mark, f"disk.of needs an absolute path, found {shown(path)}")
    try:
        return host.disk_of(path)
    except (OSError, ValueError) as error:
        raise ProfileError.at(mark, f"${{disk.of:{path}}}: {error}") from None


def _share(fact: int, sign: str, number: str, mark: Mark) -> int:
    # Integers throughout, so that a large memory is not rounded by a float.
    whole, _, decimals = number.partition(".")
    numerator = int(whole + decimals)
    denominator = int("1" + "0" * len(decimals))
    if sign == "*":
        return fact * numerator // denominator
    if numerator == 0:
        raise ProfileError.at(mark, "division by zero")
    return fact * denominator // numerator
