"""What the guardian says of trees where no kernel follows them, and what its journal keeps of one.

With the kernel module: tests/guest/inside/test_kernel_watch.py."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ktune.errors import RefusedError
from ktune.kernel.tunable import Tunable
from ktune.kernel.values import ValueType
from ktune.proxy.allowlist import load_allowlist
from ktune.proxy.journal import encode, load, tree_record
from ktune.proxy.module.modes import TREE_BYTES, Keeps, keeping
from ktune.proxy.planner import Held, Verdict, verdict
from ktune.proxy.recover import recover
from ktune.proxy.tree import pause_tree, start_tree, tree_now
from tests.proxy.rig import Net, Paths, RemoteClient, kill_both, lease

FIN = "net.ipv4.tcp_fin_timeout"
NO_TREE = bytes(TREE_BYTES)


def test_where_the_module_does_not_hold_the_lease_it_says_why(net: Net, paths: Paths) -> None:
    with lease(paths, FIN, namespace=net.ref) as held:
        refused = start_tree(held, NO_TREE, [{FIN: 30}, {FIN: 90}], alone_s=0, deadline_s=60)
        assert "knobs of the host only" in refused
        assert held.apply({FIN: 30}, deadline_s=60).ok, "the lease goes on"


def test_a_leaf_outside_the_limits_is_refused(net: Net, paths: Paths) -> None:
    with (
        lease(paths, FIN, namespace=net.ref) as held,
        pytest.raises(RefusedError, match="tcp_fin_timeout"),
    ):
        start_tree(held, NO_TREE, [{FIN: 30}, {FIN: 99999}], alone_s=0, deadline_s=60)


@pytest.mark.parametrize("alone_s", [-1, float("nan"), 1e9])
def test_going_on_alone_without_a_sane_end_is_refused(
    net: Net, paths: Paths, alone_s: float
) -> None:
    with (
        lease(paths, FIN, namespace=net.ref) as held,
        pytest.raises(RefusedError, match="go on alone"),
    ):
        start_tree(held, NO_TREE, [{FIN: 30}], alone_s=alone_s, deadline_s=60)


def test_without_a_tree_there_is_nothing_to_pause_or_to_ask(net: Net, paths: Paths) -> None:
    with lease(paths, FIN, namespace=net.ref) as held:
        for ask in (pause_tree, tree_now):
            with pytest.raises(RefusedError, match="no tree"):
                ask(held)


def test_what_the_kernel_may_have_put_there_is_ours_and_nothing_else() -> None:
    held = Held(Tunable(FIN, Path("/nowhere"), ValueType.INT), 60, observed=30, also=(30, 90))
    assert verdict(held, 90) is Verdict.RESTORE
    assert verdict(held, 60) is Verdict.NOTHING
    assert verdict(held, 91) is Verdict.FOREIGN
    held.foreign = True
    assert verdict(held, 90) is Verdict.FOREIGN, "witnessed"


def test_the_journal_of_a_tree_undoes_each_of_its_leaves(
    net: Net, paths: Paths, remote: Callable[..., RemoteClient]
) -> None:
    before = net.read(FIN)
    client = remote()
    opened = client.open(paths, FIN, namespace=net.ref)
    client.apply({FIN: 30})
    kill_both(client, opened)
    journal = Path(opened["journal"])
    with journal.open("ab") as file:
        file.write(encode(tree_record({FIN: [30, 90]})))
    state = load(str(journal), load_allowlist(), owner_uid=os.geteuid())
    assert (state.adapts, state.held[FIN].also) == (True, (30, 90))
    net.write(FIN, "90")
    (done,) = recover(paths)
    assert done.report is not None and done.report.verified and not done.report.foreign
    assert net.read(FIN) == before


def test_another_answer_to_the_death_of_user_space_changes_one_byte() -> None:
    assert keeping(NO_TREE, Keeps.LEASE)[20] == 2
    assert keeping(keeping(NO_TREE, Keeps.LEASE), Keeps.NOT) == NO_TREE
    with pytest.raises(ValueError, match="248 bytes"):
        keeping(b"", Keeps.ON)
