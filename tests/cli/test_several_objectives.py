"""Several objectives through the command line: the front, and one of it proven and frozen."""

from __future__ import annotations

import re

import pytest

PROFILE = """
ktune: 1
kind: profile
name: two
scope: ephemeral
workload:
  command:
    - sh
    - -c
    - |
      f=$(cat /proc/sys/net/ipv4/tcp_fin_timeout); r=$(od -An -N1 -tu1 /dev/urandom)
      echo speed=$((20000000 / (f + 20) + r * 10)); echo delay=$((100000000 / (f + 80) + r * 50))
  renews: [new_socket, new_process]
  metrics:
    speed: {from: key_value, unit: 1/s, plausible: [1, 10000000]}
    delay: {from: key_value, unit: ms, plausible: [1, 10000000]}
knobs: {sysctl: {net.ipv4.tcp_fin_timeout: {range: [10, 110]}}}
baseline: {net.ipv4.tcp_fin_timeout: 60}
objectives:
  - {metric: speed, direction: maximize}
  - {metric: delay, direction: minimize, worse_by_at_most: 90%}
search: {trials: 8, stop_after: 8, baseline_every: 4, seed: 11}
"""


@pytest.mark.full
def test_a_trade_of_the_front_is_proven_and_frozen(cli, netns, tmp_path):
    profile = tmp_path / "two.yaml"
    profile.write_text(PROFILE)
    found = cli("tune", profile, "--pareto", "--quiet", "--json")
    assert found.code == 0, found.err
    study, front = found.json["study"], found.json["front"]
    assert found.json["outcome"] == "unconfirmed"
    assert {"trial", "assignment", "gains", "windows", "beyond_margin"} == set(front[0])
    report = cli("report", study).out
    assert f"trial {front[0]['trial']}: speed +" in report and "unconfirmed trades" in report

    assert cli("studies", "show", study, "--json").json["front"]["points"] == front

    wrong = cli("tune", "--confirm", study, "--trial", "9999")
    assert wrong.code == 2 and "no trial 9999" in wrong.err
    assert "finished" in cli("report", study).out, "a wrong number costs nothing"

    fastest = max(front, key=lambda point: point["gains"]["speed"])
    done = cli("tune", "--confirm", study, "--trial", fastest["trial"], "--quiet", "--json")
    assert (done.code, done.json["outcome"]) == (0, "improved"), done.err
    assert cli("freeze", study, "-o", tmp_path / "policy.yaml").code == 0
    policy = (tmp_path / "policy.yaml").read_text()
    assert "metric: speed+delay" in policy and "objectives:" in policy
    looked = cli("apply", tmp_path / "policy.yaml", "--dry-run", "--netns", netns.path)
    assert re.search(r"proven: speed\+delay [\d.]+% better", looked.out), looked.out
    assert re.search(r"\n    delay \+[\d.]+% \(worse\)", looked.out), looked.out
    report = cli("report", study).out
    assert "objective   speed +" in report and "objective   delay +" in report


def test_options_that_do_not_fit_together_are_refused(cli, tmp_path):
    profile = tmp_path / "two.yaml"
    profile.write_text(PROFILE)
    for words in (
        (profile, "--trial", "3"),
        ("--confirm", "x"),
        (profile, "--confirm", "x", "--trial", "3"),
        ("--resume", "x", "--pareto"),
        (profile, "--pareto", "--sampler", "cmaes"),
        ("quickstart", "--pareto"),
    ):
        assert cli("tune", *words).code == 2, words
    assert cli("studies", "list", "--json").json == []
