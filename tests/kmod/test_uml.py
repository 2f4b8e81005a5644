"""The module in a kernel with KASAN and lockdep: nothing is reported, and planted bugs are.

User Mode Linux, built once and kept outside the tree (5 to 30 minutes); then a minute a run.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kmod.core import KMOD
from tests.kmod.uml import kernel as uml

ROOT = KMOD.parent
INSIDE = "tests/guest/inside"
COVERED = ("/tmp", "/run", "/dev", "/proc", "/sys")
"""Where a guest mounts file systems of its own over the host's."""

pytestmark = [pytest.mark.full, pytest.mark.timeout(5400)]


@pytest.fixture(scope="module")
def folder() -> Path:
    """The folder of the debugging kernel."""
    if missing := uml.missing():
        pytest.skip(f"needs {', '.join(missing)} to build a kernel")
    if any(ROOT.is_relative_to(covered) for covered in COVERED):
        pytest.skip(f"a guest can't see {ROOT}: it has file systems of its own there")
    if not uml.available():
        pytest.skip(f"apt offers no {uml.PACKAGE} (apt-get update), and none is in the cache")
    return uml.kernel()


def run_of(*words: str) -> str:
    """The command that runs these tests with this very Python."""
    pytest_words = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--color=no")
    return f"cd {shlex.quote(str(ROOT))} && {shlex.join((*pytest_words, *words))}"


def test_kunit_passes_in_a_kernel(folder: Path, tmp_path: Path) -> None:
    modules = uml.build_module(KMOD, tmp_path, folder, "kunit")
    done = uml.run(folder, modules, "cat /sys/kernel/debug/kunit/*/results", tmp_path)
    assert (done.code, done.reports) == (0, []), done.kernel_log
    suites = re.findall(r"^# (ktune_\w+): pass:(\d+) fail:0 skip:0", done.output, re.MULTILINE)
    assert {name for name, _ in suites} == {
        "ktune_core",
        "ktune_tree",
        "ktune_schedule",
        "ktune_features",
    }, done.output
    assert all(int(passed) >= 2 for _, passed in suites)


def test_nothing_is_reported(folder: Path, tmp_path: Path) -> None:
    modules = uml.build_module(KMOD, tmp_path, folder)
    done = uml.run(folder, modules, run_of(f"{INSIDE}/test_modes.py"), tmp_path, limit_s=1200)
    assert (done.code, done.reports) == (0, []), f"{done.output}\n{done.kernel_log}"


@dataclass(frozen=True)
class Planted:
    """A bug, the tests that walk over it, and what the kernel must say."""

    changes: Sequence[tuple[str, str, str]]
    """File, text, what it becomes."""
    tests: str
    expected: str
    """A line of the kernel's; `FAILED`: the kernel has nothing against it, a test has."""


FAILED = "a test failed"

PLANTED = {
    "use after free in release": Planted(
        [
            (
                "kt_session.c",
                "wait_event_timeout(s->changed, kt_session_is_over(s), KT_CLOSE_WAIT);\n\t}\n"
                "\tkt_session_put(s);",
                "wait_event_timeout(s->changed, kt_session_is_over(s), KT_CLOSE_WAIT);\n\t}\n"
                "\tkt_session_put(s);\n\tWRITE_ONCE(s->abort, true);",
            )
        ],
        "third_trip",
        r"KASAN: use-after-free|KASAN: slab-use-after-free",
    ),
    "locks taken in both orders": Planted(
        [
            (
                "kt_holder.c",
                "\tint err = 0;\n\n\tif (kt_modes_in_emergency())\n\t\terr = -EPERM;\n"
                "\telse if (READ_ONCE(kt_loop)",
                "\tint err = 0;\n\n\tmutex_lock(&kt_modes_lock);\n"
                "\tmutex_unlock(&kt_modes_lock);\n\tif (kt_modes_in_emergency())\n"
                "\t\terr = -EPERM;\n\telse if (READ_ONCE(kt_loop)",
            ),
            (
                "kt_holder.c",
                "\t\tWRITE_ONCE(kt_loop, loop);\n\t\tkt_loop_start(loop);",
                "\t\tWRITE_ONCE(kt_loop, loop);\n\t\tmutex_lock(&s->lock);\n"
                "\t\tkt_loop_start(loop);\n\t\tmutex_unlock(&s->lock);",
            ),
        ],
        "stopping_a_schedule",
        r"possible circular locking dependency",
    ),
    "a lock not taken": Planted(
        [
            (
                "kt_modes.c",
                "\tmutex_lock(&kt_modes_lock);\n\tkt_tell(KT_CRITICAL, why);\n"
                "\tmutex_unlock(&kt_modes_lock);",
                "\tkt_tell(KT_CRITICAL, why);",
            )
        ],
        "emergency_in_sysfs",
        r"WARNING: .* kt_tell",
    ),
    "out of bounds in the tree": Planted(
        [("kt_tree.h", "return ref < raw->nodes && ref > from;", "return ref > from;")],
        "leads_outside",
        r"KASAN: (stack|slab)-out-of-bounds|KASAN: .*kt_tree",
    ),
    "work freed while it is queued": Planted(
        [
            (
                "kt_loop.c",
                "cancelled = cancel_delayed_work(&loop->work);",
                "cancelled = true;",
            )
        ],
        "stopping_a_schedule",
        r"ODEBUG: free active|KASAN: (slab-)?use-after-free",
    ),
    "a schedule that never leaves the candidate": Planted(
        [
            (
                "kt_loop.c",
                "loop->stamps[s->window].arm ? s->slot : 0;",
                "s->started ? s->slot : 0;",
            )
        ],
        "switches_as_the_coins_say",
        FAILED,
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_reported(folder: Path, tmp_path: Path, name: str) -> None:
    planted = PLANTED[name]
    source = tmp_path / "planted"
    shutil.copytree(KMOD, source)
    for file, right, wrong in planted.changes:
        text = (source / file).read_text()
        assert text.count(right) == 1, f"{file} has changed: adapt the bug"
        (source / file).write_text(text.replace(right, wrong))
    (tmp_path / "built").mkdir()
    modules = uml.build_module(source, tmp_path / "built", folder)
    command = run_of(f"{INSIDE}/test_modes.py", "-k", planted.tests)
    done = uml.run(folder, modules, command, tmp_path, limit_s=600)
    said = f"{done.output}\n{done.kernel_log}"
    if planted.expected == FAILED:
        assert (done.code, done.reports) == (1, []), said
        assert re.search(r"^E +(assert|AssertionError)", done.output, re.MULTILINE), said
    else:
        assert any(re.search(planted.expected, line) for line in done.reports), said
