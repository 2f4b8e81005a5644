"""Who decides in a policy that adapts, and why not the kernel."""

from __future__ import annotations

import os

import pytest

from ktune.policy.deciding import Decider, by_any_tree, decider_of, foreseen
from ktune.policy.kernel_tree import KernelPace, kernel_tree
from ktune.policy.tree import Question, Switching
from ktune.proxy.backends import Backend, ProxyChoice, Standing
from ktune.proxy.module.device import DEVICE
from ktune.proxy.module.modes import Keeps, keeping

TREE = Question("packets", 200, "busy", "idle")


def test_a_lease_that_is_not_the_modules_is_told_why() -> None:
    found = decider_of(TREE, Standing(Backend.FILE, "", module_why="it is not loaded"))
    assert found.text == "ktune watch (no kernel module: it is not loaded)"
    found = decider_of(TREE, Standing(Backend.FILE_AND_BPF))
    assert found.text == "ktune watch (no kernel module: its lease goes by file + BPF guard)"
    assert not found.is_kernel


def test_a_knob_beside_the_modules_is_named() -> None:
    found = decider_of(TREE, Standing(Backend.MODULE, by_file=("/sys/kernel/debug/sched/x",)))
    assert found.text == "ktune watch (the kernel module can't write /sys/kernel/debug/sched/x)"


@pytest.mark.parametrize("proxy", [ProxyChoice.FILE, ProxyChoice.BPF])
def test_another_way_that_was_asked_for_is_named(proxy: ProxyChoice) -> None:
    assert foreseen(TREE, proxy, on_host=True) == Decider(f"--proxy {proxy.value}")


def test_a_namespace_is_never_the_kernels() -> None:
    assert "of the host only" in foreseen(TREE, ProxyChoice.AUTO, on_host=False).text


@pytest.mark.skipif(os.path.exists(DEVICE), reason="the module is loaded")
def test_without_the_module_that_is_said() -> None:
    found = foreseen(TREE, ProxyChoice.AUTO, on_host=True)
    assert found.text.startswith("ktune watch (no kernel module: it is not loaded")


def test_before_there_is_a_tree_the_reason_is_the_same() -> None:
    standing = Standing(Backend.FILE, "", module_why="it is not loaded")
    assert by_any_tree(standing) == decider_of(TREE, standing).text


def test_the_kernel_is_named_alone() -> None:
    assert (Decider().text, Decider().is_kernel) == ("kernel", True)


def test_the_loader_places_the_answer_to_the_death_of_user_space_as_the_module_reads_it() -> None:
    made = {
        keeps: kernel_tree(
            TREE, ("busy", "idle"), "busy", KernelPace(1.0, Switching(), keeps=keeps)
        )
        for keeps in Keeps
    }
    assert all(keeping(made[Keeps.NOT], keeps) == tree for keeps, tree in made.items())
