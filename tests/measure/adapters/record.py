"""Records outputs of the real tools anew: `python -m tests.measure.adapters.record [NAME...]`.

A recording is a folder: `about` (tool, version, command), `stdout`, `stderr`, files of the window's
folder, `exit`. Names of this machine are replaced.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ktune import __version__
from tests.measure.adapters import servers
from tests.measure.adapters.runs import FAILURES, RUNS, Run

RECORDED = Path(__file__).parent / "recorded"


def record(run: Run) -> None:
    """One of them."""
    into = RECORDED / run.name
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    with run.server() as words, servers.folder() as where:
        argv = run.argv(words)
        said = _version(run, argv[0])
        code, stdout, stderr = _run(run, argv, where)
        hidden = {str(where): "/window", os.uname().release: "6.18.0", **_hidden(words)}
        about = [
            f"tool: {run.tool} ({run.package})",
            f"version: {said}",
            f"command: {' '.join((run.command[0], *argv[1:]))}",
            f"exit: {code}",
        ]
        _write(into / "about", "\n".join(about) + "\n", hidden)
        _write(into / "stdout", stdout, hidden)
        _write(into / "stderr", stderr, hidden)
        for file in sorted(where.iterdir()):
            if file.name.startswith(run.recorded) and run.recorded:
                _write(into / file.name, file.read_text(), hidden)
    print(run.name, code)


def _version(run: Run, program: str) -> str:
    if run.bundled:
        return f"ktune {__version__}"
    done = subprocess.run([program, *run.version], capture_output=True, text=True)
    return (done.stdout or done.stderr).strip().partition("\n")[0]


def _run(run: Run, argv: Sequence[str], where: Path) -> tuple[int, str, str]:
    """Exit code and output. What it leaves running (hackbench that fails) is killed."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", run.bundled, *argv[1:]] if run.bundled else argv,
            cwd=where,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={"PATH": servers.PATH, "LANG": "C.UTF-8", "HOME": "/"},
            start_new_session=True,
            **({} if run.root or run.bundled else servers.unprivileged()),
        )
        try:
            code = process.wait(20)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        out.seek(0)
        err.seek(0)
        return code, out.read(), err.read()


def _hidden(words: dict[str, str]) -> dict[str, str]:
    return {word: f"/{name}" for name, word in words.items() if word.startswith("/")}


def _write(path: Path, text: str, hidden: dict[str, str]) -> None:
    for secret, shown in hidden.items():
        text = text.replace(secret, shown)
    node = os.uname().nodename
    path.write_text(
        text.replace(f"Linux {node} ", "Linux host ").replace(f": {node}\n", ": host\n")
    )


if __name__ == "__main__":
    for item in (*RUNS, *FAILURES):
        if not sys.argv[1:] or item.name in sys.argv[1:]:
            record(item)
