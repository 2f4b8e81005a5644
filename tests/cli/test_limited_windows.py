"""`--windows` and `search: {windows: ...}` on the command line."""

from __future__ import annotations

from pathlib import Path

from ktune.errors import ExitCode

from .support import HOME

_PROFILE = (HOME / "profiles" / "quickstart.yaml").read_text()


def profile(tmp_path: Path, search: str) -> Path:
    lines = [line for line in _PROFILE.splitlines() if not line.startswith("search:")]
    path = tmp_path / "limited.yaml"
    path.write_text("\n".join([*lines, search, ""]))
    return path


def test_too_few_windows_for_a_proof_are_refused_before_anything_happens(cli, tmp_path) -> None:
    path = profile(tmp_path, "search: {trials: 10}")

    done = cli("tune", path, "--windows", "20")

    assert done.code == ExitCode.USAGE
    assert "--windows: a search and a proof take at least 54, not 20" in done.err
    assert not list(cli.state.glob("studies/*"))


def test_in_a_profile_they_are_told_with_their_place(cli, tmp_path) -> None:
    path = profile(tmp_path, "search: {trials: 10, windows: 20}")
    line = path.read_text().splitlines().index("search: {trials: 10, windows: 20}") + 1

    done = cli("profile", "validate", path)

    assert done.code == ExitCode.USAGE
    assert f"limited.yaml:{line}:" in done.err + done.out
    assert "a search and a proof take at least 54 windows, not 20" in done.err + done.out
