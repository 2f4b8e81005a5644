"""The guardian's list follows the catalog."""

import json

from ktune.catalog import load_catalog
from ktune.catalog.generate import ALLOWLIST, is_stale, main, render


def test_the_allow_list_on_disk_is_current():
    assert not is_stale(), "run: python -m ktune.catalog.generate"


def test_the_allow_list_holds_every_tunable_knob_and_nothing_else():
    document = json.loads(ALLOWLIST.read_text(encoding="ascii"))
    assert document["format"] == 1
    assert {item["name"] for item in document["knobs"]} == {
        entry.name for entry in load_catalog().tunable()
    }


def test_each_line_of_the_allow_list_says_all_that_is_enforced():
    for knob in json.loads(render(load_catalog()))["knobs"]:
        assert list(knob) == [
            "name",
            "kind",
            "type",
            "min",
            "max",
            "choices",
            "special",
            "length",
            "namespaced",
            "kernel_moves",
            "kernel_rounds",
            "zero_unwritable",
            "couplings",
        ]


def test_a_stale_list_is_noticed_and_only_check_leaves_it(tmp_path, monkeypatch, capsys):
    file = tmp_path / "allowlist.json"
    monkeypatch.setattr("ktune.catalog.generate.ALLOWLIST", file)
    assert main(["--check"]) == 1
    assert "stale" in capsys.readouterr().out
    assert not file.exists()
    assert main([]) == 0
    assert main(["--check"]) == 0
