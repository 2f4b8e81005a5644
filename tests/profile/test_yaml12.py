"""Scalars by YAML 1.2, places, limits, and that no bytes whatever crash the loader."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ktune.errors import UsageError
from ktune.profile.errors import Mark, ProfileError
from ktune.profile.host import HostFacts
from ktune.profile.load import parse_profile
from ktune.profile.yaml12 import MAX_BYTES, dump_yaml, load_yaml
from tests.depth import examples
from tests.profile.examples import BAD, GOOD, REFUSED

CORPUS = [path.read_bytes() for path in (*GOOD, *BAD, *REFUSED)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[(word, word) for word in ("on", "off", "yes", "no", "On", "y", "n", "12:30", "1_000")],
        *[(word, word) for word in ("2001-12-14", "=", "<", "0b11", "0x", "1.2.3", "- ", "+")],
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("''", ""),
        ("'true'", "true"),
        ('"010"', "010"),
        ("0", 0),
        ("-12", -12),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
    ],
)
def test_a_scalar_means_what_yaml_1_2_says(text: str, value: object) -> None:
    data = f"v: {text}\n" if text != "- " else "v: '- '\n"
    found = load_yaml(data.encode(), file="f").mapping["v"].value

    assert found == value
    assert type(found) is type(value)


def test_the_octal_trap_is_named() -> None:
    with pytest.raises(ProfileError, match=r"f:1:4: '0755' has a leading zero.*octal"):
        load_yaml(b"v: 0755", file="f")


def test_every_value_and_key_knows_its_place() -> None:
    tree = load_yaml("a:\n  - x: 1\n    \u00e4y: [2, 33]\n".encode(), file="f")

    inner = tree.mapping["a"].items[0]
    assert inner.mapping["\u00e4y"].key_mark == Mark("f", 3, 5)
    assert inner.mapping["\u00e4y"].items[1].mark == Mark("f", 3, 13)
    assert tree.locate(("a", 0, "union-member", "x")).mark == Mark("f", 2, 8)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe\x00",
        b'"\\UFFFFFFFF"',
        b'"\\ud800"',
        b"%YAML 9" + b"9" * 5000 + b".1\n---\na",
        b"[" * 100_000,
        b"{a: " * 100_000,
        b"- " * 100_000,
        b"&a [*a]",
        b"? " * 1000,
        b"\x00",
        b"a: \x07",
        b"x" * (MAX_BYTES + 1),
        b"v: " + b"9" * 10_000,
        b"!!binary x",
        b"",
        b"\xef\xbb\xbf",
        b"...\n",
    ],
    ids=range(17),
)
def test_hostile_bytes_are_an_error_with_a_place(data: bytes) -> None:
    with pytest.raises(ProfileError) as caught:
        load_yaml(data, file="f")

    assert caught.value.problems[0].mark.file == "f"


def test_deep_aliases_do_not_get_round_the_depth_limit() -> None:
    lines = ["a: &a [x]"]
    for previous, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} {'[' * 10}*{previous}{']' * 10}")

    with pytest.raises(ProfileError, match="nested more than"):
        load_yaml("\n".join(lines).encode(), file="f")


def _load(data: bytes, facts: HostFacts) -> None:
    """Anything but a UsageError fails the test."""
    try:
        parse_profile(data, file="f", search_path=(), facts=facts)
    except UsageError as error:
        str(error).encode("utf-8", "backslashreplace")


@settings(max_examples=examples(300), deadline=None)
@given(data=st.binary(max_size=400))
@example(data=b"ktune: 1\nkind: profile\nname: a\nvars: {a: '${vars.a}'}")
def test_arbitrary_bytes_never_crash_the_loader(data: bytes, small_host: HostFacts) -> None:
    _load(data, small_host)


@settings(max_examples=examples(300), deadline=None)
@given(text=st.text(alphabet="ab:-[]{}&*!|>'\"%@`#,? \n\t01.~${}<", max_size=80))
def test_arbitrary_yaml_never_crashes_the_loader(text: str, small_host: HostFacts) -> None:
    _load(text.encode(), small_host)


@settings(max_examples=examples(250), deadline=None)
@given(
    data=st.sampled_from(CORPUS),
    seed=st.integers(0, 2**32),
    edits=st.integers(1, 4),
)
def test_mutated_examples_never_crash_the_loader(
    data: bytes, seed: int, edits: int, small_host: HostFacts
) -> None:
    chance = random.Random(seed)
    mutated = bytearray(data)
    tokens = [b"[", b"{", b"}", b"null", b"*a", b"&a ", b": ", b"\n", b"${", b"0", b"- ", b"\xff"]
    for _ in range(edits):
        at = chance.randrange(len(mutated) + 1)
        end = at + chance.choice([0, 0, 1, 5, 30])
        mutated[at:end] = chance.choice([*tokens, bytes(mutated[at : at + 20]), b""])

    _load(bytes(mutated), small_host)


_PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Co"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abcxyz01. -", min_size=1, max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=examples(150), deadline=None)
@given(data=st.dictionaries(st.text("abc", min_size=1, max_size=5), _PLAIN, max_size=4))
@example(data={"a": "0o17", "b": "1e3", "c": "010", "d": "on", "e": "12:30", "f": "<<", "g": 1e16})
def test_dumped_data_loads_as_the_same(data: dict[str, object]) -> None:
    assert load_yaml(dump_yaml(data).encode(), file="f").plain() == data
