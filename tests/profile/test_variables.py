"""Host facts in profiles: types, arithmetic, and that text stays data."""

from __future__ import annotations

import pytest

from ktune.profile import host
from ktune.profile.errors import Mark, ProfileError
from ktune.profile.host import HostFacts
from ktune.profile.load import parse_profile
from ktune.profile.variables import Variables
from ktune.profile.yaml12 import load_yaml
from tests.profile.examples import HEAD

MARK = Mark("f", 1, 1)


def _variables(facts: HostFacts, text: str = "a: 1") -> Variables:
    return Variables(facts, "/state", load_yaml(text.encode(), file="f").mapping)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${cpu.count}", 4),
        ("${mem.total}", 8 * 1024**3),
        ("${mem.total / 4}", 2 * 1024**3),
        ("${ mem.total_kib*0.5 }", 4 * 1024**2),
        ("x${cpu.count}y", "x4y"),
        ("${state_dir}/data", "/state/data"),
        ("$${cpu.count}", "${cpu.count}"),
        ("${vars.a}", 1),
        ("no variables: $5 {x}", "no variables: $5 {x}"),
    ],
)
def test_a_reference_becomes_its_fact(text: str, value: object, small_host: HostFacts) -> None:
    assert _variables(small_host).text(text, MARK) == value


def test_what_a_reference_brings_in_is_not_looked_at_again(small_host: HostFacts) -> None:
    variables = _variables(small_host, "a: '$${cpu.count}'\nb: 'x ${vars.a}'")

    assert variables.text("${vars.b}", MARK) == "x ${cpu.count}"


@pytest.mark.parametrize(
    "text",
    ["${mem.total / 0}", "${mem.total + 1}", "${arch * 2}", "${vars.none}", "${disk.of:relative}"],
)
def test_what_means_nothing_is_an_error_with_its_place(text: str, small_host: HostFacts) -> None:
    with pytest.raises(ProfileError, match="f:1:1"):
        _variables(small_host).text(text, MARK)


def test_substitution_can_not_make_a_profile_grow_without_bound(small_host: HostFacts) -> None:
    lines = ["v0: xxxxxxxxxxxxxxxx"]
    lines += [f"v{i}: '{f'${{vars.v{i - 1}}}' * 8}'" for i in range(1, 10)]

    with pytest.raises(ProfileError, match="longer than"):
        _variables(small_host, "\n".join(lines)).text("${vars.v9}", MARK)


def test_keys_are_filled_in_and_must_stay_distinct(small_host: HostFacts) -> None:
    text = HEAD + (
        "vars: {disk: sda}\n"
        "knobs:\n"
        "  sysfs:\n"
        "    /sys/block/${vars.disk}/queue/nr_requests: {range: [4, 256]}\n"
    )
    profile = parse_profile(text.encode(), file="f", search_path=(), facts=small_host)

    assert list(profile.knobs.sysfs) == ["/sys/block/sda/queue/nr_requests"]
    assert profile.where("knobs", "sysfs", "/sys/block/sda/queue/nr_requests").line == 7

    twice = text + "    /sys/block/sda/queue/nr_requests: {range: [4, 256]}\n"
    with pytest.raises(ProfileError, match="stands here twice"):
        parse_profile(twice.encode(), file="f", search_path=(), facts=small_host)


def test_a_variable_can_not_lead_out_of_sys(small_host: HostFacts) -> None:
    text = HEAD + (
        "vars: {disk: ../../etc}\n"
        "knobs: {sysfs: {'/sys/block/${vars.disk}/passwd': {choices: [0]}}}\n"
    )
    with pytest.raises(ProfileError, match="no plain path under /sys/"):
        parse_profile(text.encode(), file="f", search_path=(), facts=small_host)


def test_the_digest_does_not_depend_on_the_host(facts: HostFacts, small_host: HostFacts) -> None:
    text = (HEAD + "vars: {m: '${mem.total}'}\n").encode()

    first = parse_profile(text, file="f", search_path=(), facts=facts)
    second = parse_profile(text, file="g", search_path=(), facts=small_host)

    assert first.digest == second.digest
    assert first.vars != second.vars


def test_the_disk_of_a_path_that_is_not_there_yet_is_its_parents() -> None:
    try:
        root = host.disk_of("/")
    except ValueError:
        pytest.skip("the root file system is not on a disk")

    assert host.disk_of("/no/such/folder/yet") == root


def test_the_disk_of_a_variable_is_the_disk_of_its_path(small_host: HostFacts) -> None:
    variables = _variables(small_host, "data: /proc")

    with pytest.raises(ProfileError, match=r"\$\{disk\.of:/proc\}"):
        variables.text("${disk.of:vars.data}", MARK)
