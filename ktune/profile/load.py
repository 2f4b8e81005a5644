"""Loads a profile: read, inherit, fill in variables, validate. Every error says where."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ktune.errors import UsageError
from ktune.profile import locate
from ktune.profile.checks import check
from ktune.profile.errors import ProfileError, shown
from ktune.profile.extends import flatten, unknown_parent
from ktune.profile.host import HostFacts, host_facts
from ktune.profile.model import Profile, Source
from ktune.profile.translate import validate
from ktune.profile.variables import Variables, substitute
from ktune.profile.yaml12 import MAX_BYTES, Node, load_yaml

DEFAULT_STATE_DIR = "/var/lib/ktune"


def load_profile(
    path: str | Path,
    *,
    search_path: Sequence[Path] | None = None,
    facts: HostFacts | None = None,
    state_dir: str | None = None,
) -> Profile:
    """The profile in a file, after inheritance and variables.

    `search_path`: where `extends` looks after the file's own folder (default: /etc/ktune/profiles,
    then the shipped profiles). `facts`: of this host by default. `state_dir`: what `${state_dir}`
    means. Raises ProfileError.
    """
    file = Path(path)
    return parse_profile(
        read_bytes(file),
        file=str(path),
        search_path=(file.parent, *_search_path(search_path)),
        facts=facts,
        state_dir=state_dir,
    )


def parse_profile(
    data: bytes,
    *,
    file: str,
    search_path: Sequence[Path] | None = None,
    facts: HostFacts | None = None,
    state_dir: str | None = None,
) -> Profile:
    """Like `load_profile`, from bytes; `file` is the name that errors use."""
    tree = load_yaml(data, file=file)
    if not isinstance(tree.value, Mapping):
        raise ProfileError.at(tree.mark, "expected a mapping of keys to values, not a list or text")
    _refuse_policy(tree)
    folders = _search_path(search_path)
    flat = flatten(tree, lambda name, node: _read_parent(name, node, folders))
    variables = Variables(
        facts or host_facts(),
        state_dir or DEFAULT_STATE_DIR,
        _variables_of(flat),
        _name_of(flat),
        _services_of(flat),
    )
    filled = substitute(flat, variables)
    profile = validate(Profile, filled)
    plain = flat.plain()
    assert isinstance(plain, dict)
    plain.pop("extends", None)
    profile._source = Source(file, filled, plain, variables.state_dir)
    check(profile)
    return profile


def _refuse_policy(tree: Node) -> None:
    kind = tree.mapping.get("kind")
    if kind is not None and kind.value == "policy":
        raise ProfileError.at(
            kind.mark,
            "this is a policy, not a profile",
            hint="`ktune apply` and `ktune watch` take policies, `ktune tune` takes profiles",
        )


def read_bytes(path: Path) -> bytes:
    """The content of a regular file, bounded. Raises UsageError."""
    try:
        # O_NONBLOCK: a FIFO given as a profile must not hang the command.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"can't read {shown(str(path))}: {reason}") from None


def _search_path(given: Sequence[Path] | None) -> tuple[Path, ...]:
    return locate.default_search_path() if given is None else tuple(given)


def _variables_of(tree: Node) -> dict[str, Node]:
    node = tree.mapping.get("vars")
    return dict(node.mapping) if node else {}


def _name_of(tree: Node) -> str:
    node = tree.mapping.get("name")
    return str(node.value) if node else ""


def _services_of(tree: Node) -> dict[str, Node]:
    """Servers by name (their kind where they have none); what is wrong with them is said later."""
    node = tree.mapping.get("services")
    found: dict[str, Node] = {}
    for item in node.items if node else ():
        name = item.mapping.get("name") or item.mapping.get("kind")
        kind = item.mapping.get("kind")
        if name is not None and kind is not None and kind.value not in ("link", "swap"):
            found.setdefault(str(name.value), item)
    return found


def _read_parent(name: str, node: Node, folders: tuple[Path, ...]) -> Node:
    try:
        path = locate.find(name, folders)
    except UsageError as error:
        raise ProfileError.at(node.mark, f"extends: {error.message}") from None
    if path is None:
        raise unknown_parent(name, node, list(locate.available(folders)))
    tree = load_yaml(read_bytes(path), file=str(path))
    kind = tree.mapping.get("kind")
    if kind is None or kind.value != "profile":
        raise ProfileError.at(tree.mark, f"{path} is no profile (kind: profile)")
    return tree
