"""What is generated follows the catalog's YAML."""

import json

from ktune.catalog import load_catalog
from ktune.catalog.generate import ALLOWLIST, main, render, stale
from ktune.catalog.loader import read_entries


def test_the_generated_files_on_disk_are_current():
    assert stale() == [], "run: python -m ktune.catalog.generate"


def test_the_catalog_that_commands_read_is_that_of_the_yaml_files():
    assert list(load_catalog()) == list(read_entries())


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


def test_a_stale_file_is_noticed_and_check_does_not_write_it(tmp_path, monkeypatch, capsys):
    for name in ("ALLOWLIST", "PREBUILT"):
        monkeypatch.setattr(f"ktune.catalog.generate.{name}", tmp_path / f"{name}.json")
    assert main(["--check"]) == 1
    assert "stale: ALLOWLIST.json, PREBUILT.json;" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert main([]) == 0
    assert main(["--check"]) == 0
    (tmp_path / "PREBUILT.json").write_text("{}")
    assert stale() == ["PREBUILT.json"]
