"""A policy file that nobody vouches for: accepted as written, or refused with its place."""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktune.errors import ExitCode, KtuneError, UsageError
from ktune.policy.load import load_policy, parse_policy
from ktune.profile.errors import ProfileError
from ktune.records.paths import StatePaths
from tests.depth import examples

from . import support


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    root = tmp_path_factory.mktemp("state")
    return support.policy_text(StatePaths(root, root / "run"), host=support.FACTS)


def test_comments_and_spacing_may_change(text):
    changed = "# a note\n" + text.replace("guard: audit", "guard:    audit   # for now")
    assert parse_policy(changed.encode(), path="p").document.guard == "audit"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("33554432", "33554433"),
        ("serial: 1", "serial: 2"),
        ("guard: audit", "guard: enforce"),
        ("6.1%", "9.1%"),
        ("tcp_notsent_lowat: 131072", 'tcp_notsent_lowat: "131072"'),
    ],
)
def test_a_changed_value_is_not_trusted(text, old, new):
    assert old in text
    with pytest.raises(KtuneError) as caught:
        parse_policy(text.replace(old, new).encode(), path="p.yaml")
    assert caught.value.exit_code is ExitCode.UNTRUSTED
    assert re.match(r"p\.yaml:[0-9]+:1: the digest", caught.value.message)


@pytest.mark.parametrize(
    ("watch", "said"),
    [
        ({"alpha": 0.5}, "watch.alpha: expected less than 0.5, found 0.5"),
        ({"margin": "-1%"}, "watch.margin: expected at least 0%, found '-1%'"),
        ({"interval": "0s"}, "watch.interval: expected at least 0.1, found '0s'"),
        ({"holdback": "1h"}, "watch: unknown key 'holdback'"),
    ],
)
def test_bad_settings_of_its_watch_are_errors_with_their_place(text, watch, said):
    with pytest.raises(ProfileError) as caught:
        parse_policy(support.edited(text, watch=watch).encode(), path="p.yaml")
    assert re.match(r"p\.yaml:[0-9]+:[0-9]+: ", caught.value.message)
    assert said in caught.value.message


@settings(max_examples=examples(150))
@given(data=st.data())
def test_no_single_changed_byte_is_applied(text, data):
    raw = bytearray(text.encode())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] = data.draw(st.integers(32, 126))
    original = parse_policy(text.encode(), path="p").document
    try:
        loaded = parse_policy(bytes(raw), path="p").document
    except KtuneError as error:
        assert error.exit_code in (ExitCode.USAGE, ExitCode.UNTRUSTED)
    else:
        assert loaded == original  # a comment, a blank


@settings(max_examples=examples(150))
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_an_error_for_people(data):
    with pytest.raises(KtuneError):
        parse_policy(data, path="p")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("guard: audit", "gaurd: audit", r"unknown key 'gaurd'; did you mean 'guard'\?"),
        ("guard: audit", "guard: maybe", "'audit' or 'enforce'"),
        ("serial: 1", "serial: -1", "serial"),
        ("serial: 1", "serial: true", "serial"),
        ("scope: ephemeral", "scope: galaxy", "scope"),
        ("decision: improved", "decision: hoped", "evidence.decision"),
        ("decision: 14,", "decision: 14, decison: 3,", "unknown key 'decison'"),
        ('created: "2026-11-21T10:15:00Z"', "created: yesterday", "a time with its zone"),
        ("ktune: 1", "ktune: 2", "ktune"),
        ("  net.ipv4.tcp_notsent_lowat: 131072\n", "", "must stand in `baseline` and in"),
        ("estimate: 6.1%", "estimate: 6.1", "percentage"),
    ],
)
def test_a_mistake_is_named_with_its_place(text, old, new, said):
    assert old in text
    with pytest.raises(ProfileError, match=said) as caught:
        parse_policy(text.replace(old, new).encode(), path="p.yaml")
    assert re.match(r"p\.yaml:[0-9]+:[0-9]+: ", caught.value.message)


def test_a_profile_is_told_apart():
    with pytest.raises(ProfileError, match="a profile, not a policy"):
        parse_policy(b"ktune: 1\nkind: profile\nname: x\n", path="p")


def test_a_huge_file_is_refused(tmp_path):
    path = tmp_path / "p"
    path.write_bytes(b"#" * (1 << 20))
    with pytest.raises(UsageError, match="KiB"):
        load_policy(str(path))


def test_a_fifo_without_a_writer_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "p")
    with pytest.raises(UsageError):
        load_policy(str(tmp_path / "p"))


def test_a_missing_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        load_policy(str(tmp_path / "none"))
