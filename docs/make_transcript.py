"""Regenerates the transcript and the picture of README.md from a real run.

    .venv/bin/python docs/make_transcript.py

Runs the quickstart with the `ktune` of this checkout from the search to the rollback, each command
as the one before it says, and puts what they print into README.md (between the marks) and
`docs/images/tune.svg`. Nothing is edited, except that the run's temporary folder is left out of
the commands (`--state-dir=...`) and that long lines of the picture are cut. About two minutes;
harmless. When a command fails, nothing is written.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

HOME = Path(__file__).resolve().parent.parent
README = HOME / "README.md"
PICTURE = HOME / "docs/images/tune.svg"
BEGIN, END = "<!-- transcript: begin -->\n", "<!-- transcript: end -->\n"
WIDTH = 104


@dataclass(frozen=True)
class Step:
    """A command as a person types it, and what it printed."""

    words: tuple[str, ...]
    output: str

    @property
    def command(self) -> str:
        return shlex.join(("ktune", *self.words))

    def next_words(self, label: str) -> tuple[str, ...]:
        """The command that the output offers after `label`."""
        found = re.search(rf"^{label}: +ktune (.*)$", self.output, re.MULTILINE)
        if found is None:
            sys.exit(f"`{self.command}` offers no {label!r}:\n{self.output}")
        return tuple(shlex.split(found[1]))


class Session:
    """Runs commands in a folder of their own; errors end the script."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._state = folder / "state"

    def run(self, *words: str) -> Step:
        print("$", "ktune", *words, file=sys.stderr)
        done = subprocess.run(
            [sys.executable, "-m", "ktune", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=self._folder,
            env={**os.environ, "KTUNE_STATE_DIR": str(self._state), "PYTHONPATH": str(HOME)},
        )
        if done.returncode != 0:
            sys.exit(f"exit {done.returncode}:\n{done.stdout}")
        return Step(words, done.stdout.replace(f" --state-dir={self._state}", ""))


def life_of_a_policy(session: Session) -> list[Step]:
    """From the search to the rollback."""
    tune = session.run("tune", "quickstart", "--keep-scope")
    return [
        tune,
        session.run(*tune.next_words("next")),
        session.run(*tune.next_words("then"), "--yes"),
        session.run("verify"),
        session.run("rollback", "--all"),
        session.run("history"),
    ]


def picture(step: Step) -> str:
    """The terminal as an SVG image."""
    console = Console(record=True, width=WIDTH, file=StringIO(), color_system="truecolor")
    console.print(Text(f"$ {step.command}", style="bold"))
    for line in step.output.splitlines():
        console.print(
            Text(line, style=_style(line)), no_wrap=True, overflow="ellipsis", highlight=False
        )
    return console.export_svg(title="ktune", unique_id="ktune")


def _style(line: str) -> str:
    if line.startswith("Improved"):
        return "bold green"
    if line.startswith(("  note", "  pair ")) and "decision," not in line:
        return "dim"
    if re.match(r"(Learning|Re-measuring|Proof|Gain|Simplifying)\b", line):
        return "bold cyan"
    return "yellow" if line.startswith("  best unconfirmed") else ""


def with_transcript(readme: str, steps: list[Step]) -> str:
    """README with the new transcript between its marks."""
    blocks = "\n".join(f"$ {step.command}\n{step.output}" for step in steps)
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}```console\n{blocks}```\n{END}{after}"


def main() -> None:
    """Run, then write both."""
    readme = README.read_text(encoding="utf-8")
    if BEGIN not in readme or END not in readme:
        sys.exit(f"{README} lacks its marks {BEGIN!r} and {END!r}")
    with tempfile.TemporaryDirectory(prefix="ktune-transcript-") as folder:
        tune, *rest = life_of_a_policy(Session(Path(folder)))
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(picture(tune), encoding="utf-8")
    README.write_text(with_transcript(readme, rest), encoding="utf-8")


if __name__ == "__main__":
    main()
