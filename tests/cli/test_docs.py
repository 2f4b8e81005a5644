"""The documents name every command and every exit code."""

from __future__ import annotations

from ktune.cli.main import COMMANDS
from ktune.errors import ExitCode

from .support import HOME


def test_every_command_is_documented():
    text = (HOME / "docs/commands.md").read_text()
    missing = [name for name in COMMANDS if f"| `{name}" not in text]
    assert missing == []


def test_every_exit_code_is_documented():
    text = (HOME / "docs/exit-codes.md").read_text()
    assert [code for code in ExitCode if f"| {code.value} | " not in text] == []
