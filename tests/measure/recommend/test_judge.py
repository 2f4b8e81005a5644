"""Which profiles fit: decisions over records of machines, and the kernel's tables as text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.catalog.catalog import load_catalog
from ktune.measure.recommend.judge import judge
from ktune.measure.recommend.seen import Seen, listening_ports, listening_sockets, look
from ktune.profile import locate
from ktune.profile.errors import ProfileError
from ktune.profile.features import FEATURES
from ktune.profile.fits import Fits, parse_statement
from ktune.profile.host import HostFacts, host_facts
from ktune.profile.load import load_profile, parse_profile

IDLE = dict.fromkeys(FEATURES, 0)
PROGRAMS = st.sampled_from(["redis-server", "nginx", "postgres", "sshd"])
MACHINES = st.builds(
    Seen,
    programs=st.dictionaries(PROGRAMS, st.integers(1, 9)),
    ports=st.frozensets(st.sampled_from([22, 80, 5432, 6379])),
    sockets=st.frozensets(st.sampled_from(["/run/redis/redis.sock", "@abstract"])),
    mix=st.just({}) | st.fixed_dictionaries(dict.fromkeys(FEATURES, st.integers(0, 300))),
)
STATEMENTS = st.builds(
    lambda name, op, number: f"{name} {op} {number}",
    st.sampled_from(sorted(FEATURES)),
    st.sampled_from([">=", "<=", ">", "<"]),
    st.integers(0, 300),
)


def fits(**said: object) -> Fits:
    return Fits.model_validate({"to": "something", **said})


WANTED = st.builds(
    lambda programs, ports, mix: fits(programs=programs, ports=ports, mix=mix),
    st.lists(PROGRAMS, min_size=1, max_size=2, unique=True),
    st.lists(st.sampled_from([80, 6379]), max_size=2),
    st.lists(STATEMENTS, max_size=2),
)


@given(WANTED, MACHINES)
def test_a_profile_fits_just_where_one_of_its_programs_or_places_is_there(
    wanted: Fits, seen: Seen
) -> None:
    there = set(wanted.programs) & set(seen.programs) or set(wanted.ports) & seen.ports
    found = judge(wanted, seen)
    assert (found is not None) == bool(there)
    if found is not None:
        assert found.score > 0 and found.reasons
        failing = [
            item
            for item in wanted.parsed_mix
            if item.feature not in seen.mix or not item.holds(seen.mix[item.feature])
        ]
        assert len(found.against) == len(failing)


@given(st.lists(STATEMENTS, min_size=1, max_size=3), MACHINES)
def test_a_mix_alone_must_hold_whole(statements: list[str], seen: Seen) -> None:
    whole = bool(seen.mix) and all(
        item.holds(seen.mix[item.feature]) for item in map(parse_statement, statements)
    )
    assert (judge(fits(mix=statements), seen) is not None) == whole


@given(WANTED, MACHINES, PROGRAMS)
def test_one_more_program_never_makes_a_profile_fit_less(
    wanted: Fits, seen: Seen, name: str
) -> None:
    before = judge(wanted, seen)
    more = Seen({**seen.programs, name: 1}, seen.ports, seen.sockets, seen.mix)
    after = judge(wanted, more)
    assert (after.score if after else 0) >= (before.score if before else 0)


def test_the_reasons_are_plain_words() -> None:
    seen = Seen(
        {"redis-server": 2},
        frozenset({6379}),
        frozenset({"/run/redis/redis.sock"}),
        {**IDLE, "disk_requests": 50},
    )
    wanted = fits(
        programs=["redis-server"],
        ports=[6379],
        sockets=["*/redis*.sock"],
        mix=["disk_requests >= 20"],
    )
    found = judge(wanted, seen)
    assert found is not None
    assert found.reasons == (
        "redis-server runs (2 processes)",
        "somebody listens on TCP port 6379",
        "somebody listens on /run/redis/redis.sock",
        "disk_requests, disk requests completed a second, reads and writes: 50 (asked: >= 20)",
    )


def test_a_file_system_is_a_place() -> None:
    wanted = fits(filesystems=["f2fs"])
    found = judge(wanted, Seen(filesystems=frozenset({"ext4", "f2fs"})))
    assert found is not None and found.reasons == ("a file system of kind f2fs is mounted",)
    assert judge(wanted, Seen(filesystems=frozenset({"ext4"}))) is None


def test_a_long_name_is_found_as_the_kernel_cuts_it() -> None:
    found = judge(fits(programs=["systemd-journald"]), Seen({"systemd-journal": 1}))
    assert found is not None


@pytest.fixture(scope="module")
def facts() -> HostFacts:
    """This host's."""
    return host_facts()


def shipped(facts: HostFacts) -> dict[str, Fits]:
    folder = locate.shipped_dir("profiles")
    loaded = {path.stem: load_profile(path, facts=facts).fits for path in folder.glob("*.yaml")}
    return {name: item for name, item in loaded.items() if item is not None}


def best(seen: Seen, facts: HostFacts) -> list[str]:
    scored = [(name, judge(item, seen)) for name, item in shipped(facts).items()]
    ranked = sorted(
        ((match.score, name) for name, match in scored if match), key=lambda i: (-i[0], i[1])
    )
    return [name for _, name in ranked]


def test_an_idle_machine_has_nothing_to_tune(facts: HostFacts) -> None:
    seen = Seen({"sshd": 1, "bash": 3, "cron": 1}, frozenset({22}), frozenset(), IDLE)
    assert best(seen, facts) == []


def test_a_redis_that_writes_is_told_from_one_that_does_not(facts: HostFacts) -> None:
    idle = Seen({"redis-server": 1}, frozenset({6379}), frozenset(), IDLE)
    writing = Seen(
        {"redis-server": 1}, frozenset({6379}), frozenset(), {**IDLE, "disk_requests": 90}
    )
    assert best(idle, facts)[0] == "redis-latency"
    assert best(writing, facts)[0] == "redis-persistence"


@pytest.mark.parametrize(
    ("program", "profile"),
    [
        ("postgres", "postgresql-read"),
        ("nginx", "nginx-static"),
        ("memcached", "memcached-latency"),
    ],
)
def test_a_server_has_its_profile(program: str, profile: str, facts: HostFacts) -> None:
    assert profile in best(Seen({program: 4}, mix=IDLE), facts)


def test_every_shipped_profile_with_a_workload_says_what_it_fits(facts: HostFacts) -> None:
    folder = locate.shipped_dir("profiles")
    shown = {"quickstart", "two-phase-read"}  # they show ktune itself
    for path in folder.glob("*.yaml"):
        profile = load_profile(path, facts=facts)
        if profile.workload is not None and path.stem not in shown:
            assert profile.fits is not None, path.stem
        else:
            assert profile.fits is None, path.stem
    assert load_catalog()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{to: x}", "give one of programs, ports, sockets, filesystems, mix"),
        ("{to: x, ports: [70000]}", "65535"),
        ("{to: x, mix: [disk_request >= 1]}", "did you mean 'disk_requests'"),
        ("{to: x, mix: [disk_requests is high]}", "expected FEATURE >= NUMBER"),
        ("{to: x, program: [redis]}", "did you mean 'programs'"),
        ("{to: x, programs: [a, a]}", "stands twice"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, says: str, facts: HostFacts) -> None:
    profile = f"ktune: 1\nkind: profile\nname: a\nfits: {text}\n"
    with pytest.raises(ProfileError) as caught:
        parse_profile(profile.encode(), file="p.yaml", search_path=(), facts=facts)
    assert "p.yaml:4:" in caught.value.message
    assert says in caught.value.message


def test_what_a_profile_fits_is_not_inherited(tmp_path: Path, facts: HostFacts) -> None:
    head = "ktune: 1\nkind: profile\n"
    (tmp_path / "base.yaml").write_text(f"{head}name: base\nfits: {{to: x, ports: [80]}}\n")
    (tmp_path / "own.yaml").write_text(f"{head}name: own\nextends: [base]\n")
    profile = load_profile(tmp_path / "own.yaml", search_path=(tmp_path,), facts=facts)
    assert profile.fits is None


def test_only_who_accepts_listens() -> None:
    tcp = (
        "  sl  local_address rem_address   st tx_queue rx_queue\n"
        "   0: 0100007F:18EB 00000000:0000 0A 00000000:00000000\n"
        "   1: 0100007F:D431 0100007F:18EB 01 00000000:00000000\n"
        "   2: broken\n"
    )
    assert list(listening_ports(tcp)) == [6379]
    unix = (
        "Num       RefCount Protocol Flags    Type St Inode Path\n"
        "0000000000000000: 00000002 00000000 00010000 0001 01 20 /run/a b.sock\n"
        "0000000000000000: 00000003 00000000 00000000 0001 03 21 /run/connected\n"
        "0000000000000000: 00000002 00000000 00010000 0001 01 22\n"
    )
    assert list(listening_sockets(unix)) == ["/run/a b.sock"]
    assert list(listening_ports("")) == list(listening_sockets("nonsense")) == []


def test_a_look_at_this_machine_sees_the_mix() -> None:
    seen = look(lambda: None)
    assert set(seen.mix) in (set(FEATURES), set())
    assert seen.mix or any("no mix" in note for note in seen.notes)
