"""The catalog against the kernel that runs this test: read everywhere, written only in a
network namespace that the test makes."""

import argparse
import json
import os
from dataclasses import replace

import pytest

from ktune.catalog import Catalog, CouplingKind, load_catalog
from ktune.catalog.check import Context, Level, judge_catalog, judge_entry, run_check
from ktune.catalog.netns_probe import probe
from ktune.catalog.observe import Observation, kernel_version, matches, observe
from ktune.cli import knobs
from ktune.kernel.limits import host_facts

_CATALOG = load_catalog()
_CONTEXT = Context(kernel_version(), host_facts())


@pytest.fixture(scope="module")
def report():
    return run_check(_CATALOG)


def test_at_least_150_tunable_knobs_are_read_on_this_kernel(report):
    assert len(report.read) >= 150


def test_this_kernel_contradicts_no_entry(report):
    assert report.contradictions == ()


def test_each_knob_is_either_read_or_missing_for_a_reason_it_states(report):
    names = {entry.name for entry in _CATALOG.tunable()}
    assert set(report.read) | set(report.missing) == names
    for name in report.missing:
        entry = _CATALOG.entry(name)
        assert entry is not None
        assert entry.condition or entry.pattern or not entry.in_kernel(kernel_version()), name


def test_limits_were_tried_in_a_namespace_and_all_were_taken(report):
    if report.notes:
        pytest.skip(report.notes[0])
    assert report.limits_tried > 100


def test_trying_limits_changes_nothing_on_the_host(report):
    if report.notes:
        pytest.skip(report.notes[0])
    names = [entry.name for entry in _CATALOG.tunable() if entry.namespaced]
    before = [observe(name, f"/proc/sys/{name.replace('.', '/')}") for name in names]
    assert probe(write=True).tried == report.limits_tried
    assert [observe(item.key, f"/proc/sys/{item.key.replace('.', '/')}") for item in before] == (
        before
    )


def _judge(name, text, *, inside=None, **changes):
    entry = replace(_CATALOG.entry(name), **changes)
    match = next(iter(matches(_CATALOG, entry)))
    item = Observation(name, text) if text is not None else Observation(name, None, 2)
    return [
        (finding.level, finding.text)
        for finding in judge_entry(entry, [(match, item)], inside, _CONTEXT)
    ]


def test_a_missing_knob_that_does_not_say_why_contradicts():
    [(level, text)] = _judge("vm.swappiness", None)
    assert level is Level.CONTRADICTION and "missing" in text


def test_a_missing_knob_that_says_why_is_fine():
    assert _judge("vm.swappiness", None, condition="CONFIG_SWAP") == []
    assert _judge("vm.swappiness", None, since=(99, 0)) == []
    assert _judge("vm.swappiness", None, until=(3, 0)) == []


def test_another_type_contradicts():
    [(level, text)] = _judge("vm.swappiness", "a b\n")
    assert level is Level.CONTRADICTION and "type int" in text


def test_a_vector_of_another_length_contradicts():
    [(level, _)] = _judge("net.ipv4.tcp_rmem", "1 2\n")
    assert level is Level.CONTRADICTION


def test_a_current_value_out_of_limits_is_only_a_note():
    [(level, _)] = _judge("vm.swappiness", "60\n", maximum=50)
    assert level is Level.NOTE


def test_a_knob_that_rules_through_its_partner_may_read_zero():
    assert _judge("vm.dirty_bytes", "0\n") == []
    assert _judge("vm.dirty_ratio", "0\n") == []


def test_an_unknown_word_is_a_note():
    [(level, text)] = _judge("/sys/kernel/mm/ksm/advisor_mode", "[none] scan-time magic\n")
    assert level is Level.NOTE and "magic" in text


def test_a_knob_wrongly_said_to_be_namespaced_contradicts():
    gone = Observation("vm.swappiness", None, 2)
    assert _judge("vm.swappiness", "60", inside=gone, namespaced=True)[0][0] is Level.CONTRADICTION
    own = Observation("net.core.somaxconn", "4096", None, True)
    assert _judge("net.core.somaxconn", "4096", inside=own, namespaced=False)
    assert _judge("net.core.somaxconn", "4096", inside=own) == []
    view = replace(own, writable=False)
    assert _judge("net.core.somaxconn", "4096", inside=view)


def test_a_default_out_of_limits_and_a_coupling_into_the_void_contradict():
    entry = _CATALOG.entry("net.ipv4.ipfrag_low_thresh")
    coupling = replace(entry.couplings[0], keys=("net.ipv4.no_such_knob",))
    broken = Catalog([replace(entry, maximum=5, couplings=(coupling,))])
    texts = [item.text for item in judge_catalog(broken, _CONTEXT)]
    assert any("default" in text for text in texts)
    assert any(CouplingKind.NOT_ABOVE in text and "unknown" in text for text in texts)


def test_an_unreadable_file_is_told_from_a_missing_one(tmp_path):
    assert observe("k", str(tmp_path / "none")).missing
    assert observe("k", str(tmp_path / "file/none")).missing
    assert not observe("k", str(tmp_path)).missing
    assert observe("k", str(tmp_path)).why


def _run(*argv):
    parser = argparse.ArgumentParser()
    knobs.add_parser(parser.add_subparsers())
    args = parser.parse_args(["knobs", *argv])
    assert args.func is knobs.run
    return knobs.run(args)


def test_knobs_check_counts_what_it_read(capsys):
    assert _run("check") == 0
    out = capsys.readouterr().out
    assert "read here" in out and "missing as declared, 0 contradictions" in out


def test_knobs_check_ends_with_1_when_the_kernel_contradicts(capsys, monkeypatch):
    entry = replace(_CATALOG.entry("vm.swappiness"), name="vm.no_such_knob")
    monkeypatch.setattr(knobs, "load_catalog", lambda: Catalog([entry]))
    assert _run("check", "--read-only", "--json") == 1
    [finding] = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["level"], finding["key"]) == ("contradiction", "vm.no_such_knob")


def test_knobs_list_can_be_narrowed(capsys):
    assert _run("list", "--risk", "never", "--kind", "sysfs", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed and all(item["risk"] == "never" and item["reason"] for item in listed)


def test_knobs_search_finds_by_name_and_meaning(capsys):
    assert _run("search", "dirty", "flusher") == 0
    assert "vm.dirty_background_ratio" in capsys.readouterr().out


def test_knobs_show_tells_the_value_here(capsys):
    assert _run("show", "vm.swappiness", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    with open("/proc/sys/vm/swappiness") as file:
        assert shown["here"] == {"vm.swappiness": file.read().strip()}
    assert (shown["min"], shown["max"], shown["default"]) == (0, 200, 60)


def test_knobs_show_explains_every_entry(capsys):
    for entry in _CATALOG:
        assert _run("show", entry.name) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_knobs_show_of_an_unknown_name_suggests_one():
    with pytest.raises(Exception, match=r"did you mean vm\.swappiness") as caught:
        _run("show", "vm.swapiness")
    assert caught.value.exit_code == 2


def test_the_kernel_version_is_two_numbers():
    assert os.uname().release.startswith("{}.{}".format(*kernel_version()))
