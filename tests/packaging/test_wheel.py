"""An installed wheel, away from the checkout, has all its data: profiles, schemas, catalog, limits.

No network: the wheel is built by the hatchling of this environment, and the fresh environment sees
this one's packages through a .pth file, except `ktune`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[2]
EDITABLE = "__editable__", "_ktune", "ktune"
"""How the file names begin by which a checkout is installed editable."""


class Installed:
    """`ktune` as its users have it, run in an empty folder with a state folder of its own."""

    def __init__(self, environment: Path, folder: Path) -> None:
        self.environment = environment
        self._folder = folder

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.environment / "bin/ktune", *words],
            capture_output=True,
            text=True,
            cwd=self._folder,
            env=_clean() | {"KTUNE_STATE_DIR": str(self._folder / "state")},
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )

    def python(self, code: str) -> str:
        return subprocess.run(
            [self.environment / "bin/python", "-c", code],
            capture_output=True,
            text=True,
            cwd=self._folder,
            env=_clean(),
            check=True,
        ).stdout.strip()


def _clean() -> dict[str, str]:
    """Without what points Python or ktune elsewhere."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("KTUNE_", "PYTHON"))}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run([*build, str(HOME)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def ktune(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=False, symlinks=True)
    (site,) = environment.glob("lib/python*/site-packages")
    install = ["install", "--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(environment), *install, str(wheel)],
        check=True,
    )
    dependencies = environment / "dependencies"
    dependencies.mkdir()
    for item in Path(sysconfig.get_path("purelib")).iterdir():
        if not item.name.startswith(EDITABLE):
            (dependencies / item.name).symlink_to(item)
    (site / "dependencies.pth").write_text(f"{dependencies}\n", encoding="utf-8")
    return Installed(environment, tmp_path_factory.mktemp("elsewhere"))


def test_the_wheel_holds_the_data_and_nothing_of_the_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    for name in (
        "ktune/data/profiles/quickstart.yaml",
        "ktune/data/schemas/profile.schema.json",
        "ktune/proxy/allowlist.json",
        "ktune/catalog/data/vm.yaml",
        "ktune/kernel/bpf/programs/probe.bpf.c",
        "ktune/kernel/bpf/programs/probe.bpf.o",
    ):
        assert name in names
    assert [name for name in names if name.startswith(("tests/", "docs/", "benchmarks/"))] == []


def test_it_is_the_installed_package_that_runs(ktune: Installed) -> None:
    found = ktune.python("import ktune; print(ktune.__file__)")

    assert Path(found).is_relative_to(ktune.environment)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--version"], "ktune 0.1.0"),
        (["--help"], "recover"),
        (["profile", "list"], "quickstart"),
        (["profile", "validate", "random-mmap-read"], "valid"),
        (["plan", "quickstart"], "Nothing was changed."),
        (["schema", "policy"], '"properties"'),
        (["schema", "--check"], ""),
        (["knobs", "list"], "vm.swappiness"),
        (["knobs", "check", "--read-only"], "0 contradictions"),
        (["doctor"], "catalog"),
        (["status"], "nothing in force"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_works_without_the_checkout(
    ktune: Installed, words: list[str], expected: str
) -> None:
    done = ktune(*words)

    assert done.returncode == 0, done.stderr
    assert expected in done.stdout


def test_shipped_profiles_are_those_of_the_wheel(ktune: Installed) -> None:
    listed = {
        row["name"]: Path(row["path"])
        for row in json.loads(ktune("profile", "list", "--json").stdout)
    }

    assert {path.stem for path in (HOME / "profiles").glob("*.yaml")} <= set(listed)
    assert listed["quickstart"].is_relative_to(ktune.environment)


TINY = """
ktune: 1
kind: profile
name: tiny
scope: ephemeral
workload:
  command: [sleep, "0.05"]
  renews: [new_socket]
  metrics: {seconds: {from: duration, unit: s, plausible: [0.01, 20]}}
knobs: {sysctl: {net.ipv4.tcp_notsent_lowat: {range: [16K, 1M], log: true}}}
objectives: [{metric: seconds, direction: minimize}]
search: {trials: 2}
"""


def test_a_run_finds_its_guardian_and_namespace_holder(ktune: Installed, tmp_path: Path) -> None:
    """They run isolated (`python -I -S`), and have to find the package and its limits."""
    profile = tmp_path / "tiny.yaml"
    profile.write_text(TINY, encoding="utf-8")

    done = ktune("tune", str(profile), "--search-only", "--json")

    if done.returncode == 4 and os.geteuid() != 0:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    assert ktune("status").stdout == "nothing in force, nothing pending, nothing running\n"
    windows = json.loads(ktune("studies", "export", json.loads(done.stdout)["study"]).stdout)
    assert "net.ipv4.tcp_notsent_lowat" in json.dumps(windows)
