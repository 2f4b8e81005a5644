"""An ordinary user needs no root for a server: in a namespace of one's own, as oneself."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pydantic
import pytest

from tests.measure.helpers import ROOT
from tests.measure.services.conftest import PROGRAMS, need
from tests.measure.test_unprivileged import as_nobody, python

__all__ = ["python"]

SESSION = """
import sys; sys.path[:0] = sys.argv[1:3]
from pathlib import Path
from ktune.measure.scope import EphemeralScope
from tests.measure.services.conftest import Bed, servers
with EphemeralScope() as scope:
    bed = Bed(Path(sys.argv[3]))
    with bed.source(bed.profile(sys.argv[4], "echo x=1"), scope.ref) as source:
        result = source.run(lambda: None)
print(result.validity, result.reason)
"""


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="kt-"))
    if os.geteuid() == 0:
        os.chown(folder, 65534, 65534)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_server_runs_without_root_in_a_namespace(kind: str, python: str, home: Path) -> None:
    need(kind)
    packages = Path(pydantic.__file__).parents[1]
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    base = [*as_nobody(), python]
    imports = f"import sys; sys.path[:0] = {[str(ROOT), str(packages)]}; import pydantic, ktune"
    tried = subprocess.run([*base, "-c", imports], env=environment, capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"{python} of everybody can't use these packages: {tried.stderr[-200:]}")
    extra = {"postgresql": ", scale: 1", "nginx": ", files: 1"}.get(kind, "")
    words = [str(ROOT), str(packages), str(home), f"kind: {kind}, port: 16395{extra}"]
    done = subprocess.run(
        [*base, "-c", SESSION, *words], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "valid", done.stdout + done.stderr
