"""The example files, good and bad, and what the bad ones say about themselves."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
GOOD = sorted((HERE / "good").glob("*.yaml"))
BAD = sorted((HERE / "bad").glob("*.yaml"))
REFUSED = sorted((HERE / "refused").glob("*.yaml"))
PARENTS = (HERE / "good" / "parents",)
HEAD = "ktune: 1\nkind: profile\nname: test\n"


def expected(path: Path) -> list[str]:
    """The `# expect:` lines at the top of a bad example."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("# expect: ") for line in lines if line.startswith("# expect: ")]


def exit_code(path: Path) -> int:
    """The `# exit:` line at the top of a refused example."""
    return int(path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# exit: "))
