"""Giving up rights and ending with one's parent, in forks of the tests' own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.measure.helpers import ROOT, all_gone

FAMILY = """
import os, sys, time; sys.path.insert(0, sys.argv[1])
from ktune.measure import rights
parent = os.getpid()
ready, tell = os.pipe()
if os.fork() == 0:
    if sys.argv[2] == "late":
        while os.getppid() == parent:
            time.sleep(0.01)
    rights.die_with_parent(parent)
    os.write(tell, b"x")
    time.sleep(60)
    os._exit(0)
if sys.argv[2] == "in time":
    os.read(ready, 1)
with open(f"/proc/self/task/{parent}/children") as file:
    print(file.read().strip(), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("when", ["in time", "late"])
def test_a_child_ends_with_its_parent_even_when_that_was_faster(when: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAMILY, str(ROOT), when], stdout=subprocess.PIPE, check=True
    )
    assert all_gone([int(done.stdout)])
