"""What a profile says of services and CPUs, and what follows from it."""

from __future__ import annotations

import pytest

from ktune.catalog.catalog import load_catalog
from ktune.profile.cpus import parse_cpu_list
from ktune.profile.errors import ProfileError
from ktune.profile.gates import pass_gates
from ktune.profile.host import HostFacts
from ktune.profile.load import parse_profile
from ktune.profile.model import Profile
from ktune.profile.placement import missing_cpus, online_cpus, placement_notes, workload_cpus
from ktune.profile.services.checks import servers
from ktune.profile.services.places import place_of
from tests.profile.examples import HEAD

WORKLOAD = """
workload:
  command: [a, "{command}"]
  {more}
  metrics: {{time: {{from: duration, unit: s, plausible: [1, 2]}}}}
"""


def profile(services: str, facts: HostFacts, *, command: str = "b", more: str = "") -> Profile:
    text = HEAD + f"services: [{services}]" + WORKLOAD.format(command=command, more=more)
    return parse_profile(text.encode(), file="f", facts=facts, state_dir="/st", search_path=())


@pytest.mark.parametrize(
    ("asked", "value"),
    [
        ("db.socket", f"{place_of('/st', 'test', 'db').folder}/s"),
        ("db.data", f"{place_of('/st', 'test', 'db').folder}/data"),
        ("db.port", "5432"),
        ("db.database", "bench"),
        ("redis.socket", f"{place_of('/st', 'test', 'redis').folder}/s/redis.sock"),
        ("redis.port", "16379"),
        ("redis.host", "127.0.0.1"),
        ("web.url", "http://127.0.0.1:18080"),
    ],
)
def test_a_command_can_name_its_services(asked: str, value: str, facts: HostFacts) -> None:
    made = profile(
        "{kind: postgresql, name: db}, {kind: redis, port: 16379}, "
        "{kind: nginx, name: web, port: 18080}",
        facts,
        command=f"${{services.{asked}}}",
    )
    assert made.workload is not None
    assert made.workload.command == ("a", value)


def test_a_port_may_be_a_variable_itself(facts: HostFacts) -> None:
    text = HEAD + 'vars: {p: 16400}\nservices: [{kind: redis, port: "${vars.p}"}]'
    text += WORKLOAD.format(command="${services.redis.port}", more="")
    made = parse_profile(text.encode(), file="f", facts=facts, search_path=())
    assert made.workload is not None
    assert made.workload.command[1] == "16400"
    assert servers(made)["redis"].port == 16400


def test_an_nginx_hands_on_to_one_that_listens_before_it(facts: HostFacts) -> None:
    files = "{kind: nginx, name: files, port: 18081}"
    front = "{kind: nginx, name: front, upstream: files}"
    assert len(profile(f"{files}, {front}", facts).services) == 2
    for wrong_ones, said in (
        (f"{front}, {files}", "no nginx 'files' with a `port` before this one"),
        (f"{{kind: nginx, name: files}}, {front}", "with a `port`"),
        (f"{{kind: redis, name: files, port: 18081}}, {front}", "no nginx 'files'"),
        (files.replace("}", ", upstream: files}"), "no nginx 'files'"),
        (f"{files}, {front.replace('}', ', size: 1K}')}", "has no files of its own"),
    ):
        with pytest.raises(ProfileError, match=said):
            profile(wrong_ones, facts)


def test_two_profiles_do_not_share_a_folder() -> None:
    assert place_of("/st", "one", "db") != place_of("/st", "two", "db")
    assert len(place_of("/st", "p" * 64, "s" * 20).folder) < 60


@pytest.mark.parametrize(
    ("reset", "refused"),
    [
        ("[]", True),
        ("[{checkpoint: db}]", True),
        ("[{restart: db}]", False),
        ("[{restore: db}]", False),
    ],
)
def test_a_restart_renews_what_a_new_process_has_anew(
    reset: str, refused: bool, facts: HostFacts
) -> None:
    made = profile("{kind: postgresql, name: db}", facts, more=f"reset: {reset}")
    key = "net.ipv4.tcp_congestion_control"
    made = made.model_copy(update={"knobs": _knobs(key)})
    problems = [str(item) for item in pass_gates(made, load_catalog()).refused]
    assert any("new_socket" in problem for problem in problems) is refused, problems


def _knobs(key: str) -> object:
    text = HEAD + f"knobs: {{sysctl: {{{key}: {{choices: [reno, cubic]}}}}}}"
    return parse_profile(text.encode(), file="f", search_path=()).knobs


@pytest.mark.parametrize(
    ("text", "cpus"), [("0", (0,)), ("0-3,8", (0, 1, 2, 3, 8)), ("8,0-1,1", (0, 1, 8))]
)
def test_a_list_of_cpus_is_read_as_the_kernel_writes_it(text: str, cpus: tuple[int, ...]) -> None:
    assert parse_cpu_list(text) == cpus


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "3-1", "0-9999", "1,,2"])
def test_what_is_no_list_of_cpus_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="CPUs"):
        parse_cpu_list(text)


def test_others_are_the_cpus_that_no_service_has(facts: HostFacts) -> None:
    made = profile("{kind: redis, cpus: [0]}, {kind: nginx, cpus: 2-3}", facts, more="cpus: others")
    assert workload_cpus(made, range(6)) == (1, 4, 5)
    free = profile("{kind: redis, cpus: [0]}", facts)
    assert workload_cpus(free, range(6)) == ()


def test_a_cpu_that_is_not_here_is_a_problem_with_its_place(facts: HostFacts) -> None:
    here = online_cpus()
    everything = ", ".join(map(str, here))
    none_left = profile(f"{{kind: redis, cpus: [{everything}]}}", facts, more="cpus: others")
    (problem,) = missing_cpus(none_left)
    assert "none is left" in str(problem)
    assert ":7:" in str(problem)
    assert not list(missing_cpus(profile(f"{{kind: redis, cpus: [{here[0]}]}}", facts)))


def test_a_plan_says_when_server_and_load_share_a_cpu(facts: HostFacts) -> None:
    first = online_cpus()[0]
    made = profile(f"{{kind: redis, cpus: [{first}]}}", facts, more=f"cpus: [{first}]")
    assert list(placement_notes(made)) == [
        f"the workload runs on CPU {first}",
        f"workload and services share CPU {first}: each takes the other's time",
    ]


def test_cpus_of_an_attached_service_are_its_own_affair(facts: HostFacts) -> None:
    text = HEAD + (
        "workload: {attach: {process: x}, cpus: [0], measure: {for: 1s}, "
        "metrics: {m: {from: psi, resource: cpu, line: some, plausible: [0, 1]}}}"
    )
    with pytest.raises(ProfileError, match="cpus is for a command"):
        parse_profile(text.encode(), file="f", facts=facts, search_path=())
