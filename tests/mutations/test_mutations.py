"""Each planted bug turns the tests red that are there for it, and only by what they assert."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ktune.kernel.bpf.build import CLANG, STRIP, compile_object
from tests.mutations.planted import MUTATIONS, Mutation
from tests.proxy.guarded import why_no_guard

REPO = Path(__file__).resolve().parents[2]


def planted(mutation: Mutation, folder: Path) -> Path:
    """A copy of the package and its tests with the bug in it. What is compiled stays so, but for
    the files that are edited: Python goes by a source's time and size."""
    for name in ("ktune", "tests", "kmod"):
        shutil.copytree(REPO / name, folder / name)
    for name in ("profiles", "schemas"):
        (folder / name).symlink_to(REPO / name)
    shutil.copy(REPO / "pyproject.toml", folder)
    for edit in mutation.edits:
        path = folder / edit.file
        text = path.read_text()
        assert text.count(edit.old) == 1, f"{edit.file} has changed: adapt the mutation"
        path.write_text(text.replace(edit.old, edit.new))
    _compiled({folder / edit.file for edit in mutation.edits})
    return folder


def _compiled(edited: set[Path]) -> None:
    """BPF objects anew whose source, or a header of theirs, has the bug."""
    for path in edited:
        if path.parent.name != "programs":
            continue
        if shutil.which(CLANG) is None or shutil.which(STRIP) is None:
            pytest.skip(f"needs {CLANG} and {STRIP}")
        for source in path.parent.glob("*.bpf.c"):
            if source == path or f'"{path.name}"' in source.read_text():
                compile_object(source, source.with_name(source.name.removesuffix(".c") + ".o"))


def outcomes(folder: Path, *tests: str) -> dict[str, str]:
    """Test -> "" when it passed, else what it said, for tests run on the copy."""
    report = folder / "report.xml"
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"),
            *(f"--junitxml={report}", *tests),
        ],
        cwd=folder,
        env={
            **os.environ,
            "PYTEST_ADDOPTS": "",
            "PYTHONPATH": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        check=False,
    )
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        path = case.get("classname", "").replace(".", "/") + ".py"
        trouble = [item for item in case if item.tag in ("failure", "error", "skipped")]
        said = f"{trouble[0].tag}: {trouble[0].get('message')}" if trouble else ""
        found[f"{path}::{case.get('name')}"] = said
    return found


@pytest.mark.parametrize(
    "mutation",
    [
        pytest.param(item, id=item.name, marks=[pytest.mark.full] if item.slow else [])
        for item in MUTATIONS
    ],
)
def test_a_planted_bug_is_caught(mutation: Mutation, tmp_path: Path, root: None) -> None:
    if mutation.needs_guard and (why := why_no_guard()) is not None:
        pytest.skip(f"the BPF guard does not load here: {why}")
    said = outcomes(planted(mutation, tmp_path), *mutation.kills, *mutation.survivors)
    for test in mutation.survivors:
        assert said.get(test) == "", f"the copy is broken beyond the bug: {test}: {said.get(test)}"
    for test in mutation.kills:
        assert said.get(test), f"{test} does not notice: {mutation.name}"
        assert "AssertionError" in said[test] or "assert " in said[test], (
            f"{test} fails for another reason: {said[test]}"
        )


def test_the_copy_is_what_the_tests_run_on(tmp_path: Path) -> None:
    planted(Mutation("nothing", (), (), ()), tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", "import ktune, tests; print(ktune.__file__, tests.__file__)"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [
        str(tmp_path / "ktune/__init__.py"),
        str(tmp_path / "tests/__init__.py"),
    ]
