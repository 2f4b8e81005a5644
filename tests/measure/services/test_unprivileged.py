"""An ordinary user needs no root for a server: in a namespace of one's own, as oneself."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pydantic
import pytest

from tests.measure.helpers import ROOT, all_gone
from tests.measure.services.conftest import PROGRAMS, need
from tests.measure.test_unprivileged import as_nobody, python

__all__ = ["python"]

Session = Callable[..., "subprocess.Popen[str]"]
SESSION = """
import sys; sys.path[:0] = sys.argv[1:3]
from pathlib import Path
from ktune.measure.scope import EphemeralScope
from tests.measure.services.conftest import Bed, servers
with EphemeralScope() as scope:
    hold = len(sys.argv) > 5
    bed = Bed(Path(sys.argv[3]))
    with bed.source(bed.profile(sys.argv[4], "echo x=1"), scope.ref) as source:
        result = source.run(lambda: None)
        if hold:
            print("up", flush=True)
            sys.stdin.read()
print(result.validity, result.reason)
"""


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="kt-"))
    if os.geteuid() == 0:
        os.chown(folder, 65534, 65534)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def session(python: str, home: Path) -> Session:
    packages = Path(pydantic.__file__).parents[1]
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    base = [*as_nobody(), python, "-c"]
    imports = f"import sys; sys.path[:0] = {[str(ROOT), str(packages)]}; import pydantic, ktune"
    tried = subprocess.run([*base, imports], env=environment, capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"{python} of everybody can't use these packages: {tried.stderr[-200:]}")

    def start(service: str, *more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*base, SESSION, str(ROOT), str(packages), str(home), service, *more],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return start


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.full if kind == "postgresql" else ())
        for kind in PROGRAMS
    ],
)
def test_a_server_runs_without_root_in_a_namespace(kind: str, session: Session) -> None:
    need(kind)
    extra = {"postgresql": ", scale: 1", "nginx": ", files: 1"}.get(kind, "")
    out, err = session(f"kind: {kind}, port: 16395{extra}").communicate(timeout=120)
    assert out.strip() == "valid", out + err


def test_without_root_too_the_children_of_a_server_go_with_everybody_else(session: Session) -> None:
    """The workers of an nginx do not notice that their master was killed."""
    need("nginx")
    tuner = session("kind: nginx, files: 1, workers: 2", "hold")
    with tuner:
        assert tuner.stdout is not None
        tuner.stdout.readline()
        pids = list(_descendants(tuner.pid))
        assert sum(1 for pid in pids if _name(pid) == "nginx") == 3
        for pid in (tuner.pid, *_children(tuner.pid)):  # its keeper among them
            os.kill(pid, signal.SIGKILL)
    assert all_gone(pids)


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _descendants(pid: int) -> Iterator[int]:
    for child in _children(pid):
        yield child
        yield from _descendants(child)


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()
