"""The systemd units of persistence, read as systemd reads them (systemd.syntax(7), .service(5))."""

from __future__ import annotations

import configparser
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.errors import KtuneError
from ktune.policy import units
from ktune.policy.units import APPLY_UNIT, WATCH_UNIT
from ktune.records.paths import StatePaths

KNOWN = {
    "Unit": {
        *("Description", "After", "Wants", "RequiresMountsFor"),
        *("ConditionKernelCommandLine", "ConditionPathExistsGlob"),
    },
    "Service": {
        *("Type", "RemainAfterExit", "ExecStart", "ExecStopPost", "KillMode", "Restart"),
        "TimeoutStartSec",
        *("RestartSec", "RestartPreventExitStatus", "SuccessExitStatus"),
    },
    "Install": {"WantedBy"},
}


def parsed(text: str) -> configparser.RawConfigParser:
    """Strict: no key or section twice, nothing that is not known."""
    parser = configparser.RawConfigParser(strict=True, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    for section in parser.sections():
        assert set(parser[section]) <= KNOWN[section], section
    return parser


def words(line: str) -> list[str]:
    """`Exec...=`: words apart by blanks, double quotes, C escapes, `%%` and `$$`."""
    found = [
        quoted if quoted or whole.startswith('"') else bare
        for whole, quoted, bare in re.findall(r'("((?:[^"\\]|\\.)*)"|([^\s"]+))', line)
    ]
    assert not re.search(r"(?<!%)(%%)*%(?!%)", line), "a specifier"
    plain = (re.sub(r'\\(["\\])', r"\1", word) for word in found)
    return [word.replace("%%", "%").replace("$$", "$") for word in plain]


@pytest.fixture
def paths(tmp_path: Path) -> StatePaths:
    return StatePaths(tmp_path / "state of 100%", tmp_path / "run")


def test_the_units_say_what_runs_when_and_when_not(paths: StatePaths) -> None:
    texts = units.unit_texts(paths)
    apply, watch = parsed(texts[APPLY_UNIT]), parsed(texts[WATCH_UNIT])
    assert words(apply["Service"]["ExecStart"]) == units.boot_command(paths)
    assert words(watch["Service"]["ExecStart"]) == units.watch_command(paths)
    assert words(watch["Service"]["ExecStopPost"])[-1] == "recover"
    assert apply["Service"]["Type"] == "oneshot"
    assert "systemd-sysctl.service" in apply["Unit"]["After"].split()
    assert watch["Unit"]["After"] == APPLY_UNIT
    assert watch["Service"]["Restart"] == "on-failure"
    for unit in (apply, watch):
        assert unit["Unit"]["ConditionKernelCommandLine"] == "!ktune=off"
        assert unit["Install"]["WantedBy"] == "multi-user.target"


@given(st.lists(st.text(st.characters(exclude_categories=("Cc", "Cs", "Z"))), min_size=1))
def test_any_words_come_back_from_a_unit(given_words: list[str]) -> None:
    assert words(units.quoted(given_words)) == given_words


def test_install_enables_and_remove_leaves_nothing(paths: StatePaths, tmp_path: Path) -> None:
    folder = tmp_path / "etc/systemd/system"
    assert units.install(folder, paths) == [folder / APPLY_UNIT, folder / WATCH_UNIT]
    assert units.install(folder, paths)  # again is fine
    assert stat.S_IMODE((folder / APPLY_UNIT).stat().st_mode) == 0o644
    wants = folder / "multi-user.target.wants"
    assert {link.name for link in wants.iterdir()} == {APPLY_UNIT, WATCH_UNIT}
    assert all(link.is_symlink() and link.exists() for link in wants.iterdir())
    assert len(units.remove(paths)) == 2
    assert [path for path in folder.rglob("*") if path != wants] == []
    assert units.remove(paths) == []


def test_a_folder_that_cant_be_written_is_told(paths: StatePaths, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KtuneError, match="can't be installed"):
        units.install(tmp_path / "file", paths)


def test_a_state_folder_with_a_line_feed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KtuneError, match="control characters"):
        units.install(tmp_path, StatePaths(tmp_path / "a\nExecStart=b", tmp_path))


def test_option_then_variable_then_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(units.FOLDER_VARIABLE, "/image/etc/systemd/system")
    assert units.unit_folder("/elsewhere") == Path("/elsewhere")
    assert units.unit_folder(None) == Path("/image/etc/systemd/system")
    monkeypatch.delenv(units.FOLDER_VARIABLE)
    running = Path("/run/systemd/system").is_dir()
    assert units.unit_folder(None) == (units.SYSTEM_FOLDER if running else None)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_itself_accepts_the_units(paths: StatePaths, tmp_path: Path) -> None:
    folder = tmp_path / "system"
    files = units.install(folder, paths)
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, files)], capture_output=True, text=True
    )
    ours = [line for line in done.stderr.splitlines() if "ktune-" in line]
    assert (done.returncode, ours) == (0, []), done.stderr
