"""README.md holds: what it shows runs, what it links exists, what it promises to list is listed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ktune.cli.main import COMMANDS
from ktune.errors import ExitCode
from tests.cli.support import Cli

HOME = Path(__file__).resolve().parents[2]
README = (HOME / "README.md").read_text(encoding="utf-8")
PAGES = ("README.md", "CHANGELOG.md", "docs/installation.md")


def marked(kind: str) -> str:
    """The code block after `<!-- test: KIND -->`."""
    found = re.search(rf"<!-- test: {kind} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


def commands(text: str) -> list[str]:
    """The `ktune` command lines of a block, without comments."""
    return [line.partition("  #")[0].strip() for line in text.splitlines() if "ktune" in line[:6]]


def runs(line: str) -> object:
    """A command that measures takes a minute; its own tests use a shorter workload."""
    return pytest.param(line, marks=pytest.mark.full) if "calibrate" in line else line


@pytest.mark.parametrize("line", [runs(line) for line in commands(marked("run"))])
def test_a_command_of_the_quick_tour_runs(line: str, tmp_path: Path) -> None:
    done = Cli(tmp_path / "state")(*shlex.split(line)[1:], timeout_s=110)

    assert done.code == 0, done.err
    assert done.out


def test_the_profile_of_the_readme_is_valid_and_plans(tmp_path: Path) -> None:
    (tmp_path / "my-service.yaml").write_text(marked("profile"), encoding="utf-8")
    cli = Cli(tmp_path / "state")

    valid = cli("profile", "validate", tmp_path / "my-service.yaml")
    plan = cli("plan", tmp_path / "my-service.yaml")

    assert (valid.code, valid.err) == (0, "")
    assert plan.code == 0, plan.err
    for text in ("vm.swappiness", "vm.dirty_background_ratio < vm.dirty_ratio"):
        assert text in plan.out


def test_every_option_in_a_shown_command_exists() -> None:
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", README, re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in commands_of(block)]
    assert len(lines) > 15
    for line in lines:
        name, *words = shlex.split(line.partition("  #")[0])[1:]
        options = [word for word in words if word.startswith("--")]
        done = subprocess.run(
            [sys.executable, "-m", "ktune", name, "--help"],
            capture_output=True,
            text=True,
            cwd=HOME,
            check=True,
        )
        assert [option for option in options if option not in done.stdout] == [], line


def commands_of(block: str) -> list[str]:
    """Command lines with or without a prompt."""
    return [line for line in block.splitlines() if re.match(r"(\$ )?ktune ", line)]


def test_the_tour_shows_every_command_but_those_named_elsewhere() -> None:
    missing = [name for name in COMMANDS if f"ktune {name}" not in README]

    assert [name for name in missing if name != "studies"] == []


def test_every_exit_code_is_named() -> None:
    (section,) = re.findall(r"## Exit codes\n(.*?)\n## ", README, re.DOTALL)

    assert [code for code in ExitCode if not re.search(rf"\b{code.value}\b", section)] == []


@pytest.mark.parametrize("page", PAGES)
def test_what_is_linked_exists(page: str) -> None:
    text = (HOME / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", text)

    missing = [
        link
        for link in links
        if "://" not in link and not (HOME / page).parent.joinpath(link).exists()
    ]
    assert missing == []


def test_what_the_promises_refer_to_exists() -> None:
    for path in re.findall(r"\b(?:tests|benchmarks)/[\w/.]+", README):
        assert (HOME / path.rstrip(".")).exists(), path


def test_the_transcript_and_the_picture_are_of_one_run() -> None:
    transcript = README.partition("transcript: begin")[2].partition("transcript: end")[0]
    study = re.search(r"\$ ktune freeze (\S+)", transcript)
    assert study is not None
    picture = (HOME / "docs/images/tune.svg").read_text(encoding="utf-8")

    assert study[1] in picture
    assert "Improved:" in picture.replace("&#160;", " ")
