"""`benchmarks.tunes`: what is kept goes into the table, and a promoted control is an error."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.tunes import CONTROLS, Tuning, main
from ktune.profile.load import load_profile

_NAMES = sorted(path.stem for path in CONTROLS.glob("*.yaml"))


def kept(folder: Path, outcomes: dict[str, str]) -> None:
    rows = (
        Tuning(name, 1, outcome, "+5.0% [+1.0%, +9.0%]", "+20.0%", "-", "60, 0 void", 60.0, "here")
        for name, outcome in outcomes.items()
    )
    (folder / "tunings.jsonl").write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))


@pytest.mark.parametrize("name", _NAMES)
def test_a_control_is_a_profile_that_says_so(name: str) -> None:
    profile = load_profile(CONTROLS / f"{name}.yaml", state_dir="/var/lib/ktune")

    assert profile.name == name
    assert profile.summary.startswith("Negative control")


@pytest.mark.parametrize(("outcome", "code"), [("no improvement found", 0), ("improved", 1)])
def test_a_promoted_control_is_said(tmp_path: Path, capsys, outcome: str, code: int) -> None:
    kept(tmp_path, {**dict.fromkeys(_NAMES, "no improvement found"), _NAMES[0]: outcome})

    assert main(["--state", str(tmp_path), "--controls"]) == code
    said = capsys.readouterr().out
    assert all(name in said for name in _NAMES)
    assert (f"nothing is to be gained: {_NAMES[0]} (seed 1)" in said) is bool(code)


def test_a_profile_that_is_meant_to_gain_may(tmp_path: Path, capsys) -> None:
    kept(tmp_path, {"quickstart": "improved"})

    assert main(["--state", str(tmp_path), "quickstart"]) == 0
    assert "+5.0% [+1.0%, +9.0%]" in capsys.readouterr().out
