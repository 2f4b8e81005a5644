"""A lease on knobs of which the module can write only some: the others, of debugfs, go by files."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from ktune.errors import RefusedError
from ktune.proxy.backends import ProxyChoice
from ktune.proxy.client import LeaseLost
from ktune.proxy.journal import is_held
from ktune.proxy.recover import recover
from tests.guest.inside.module_rig import LONG_S, SWAPPINESS, live, needs_module, path_of, write
from tests.proxy.rig import Paths, RemoteClient, lease, wait_until

MIGRATION = "/sys/kernel/debug/sched/migration_cost_ns"
VALUE = 400_000

pytestmark = [
    *needs_module,
    pytest.mark.skipif(not path_of(MIGRATION).exists(), reason=f"needs {MIGRATION}"),
]


@pytest.fixture(autouse=True)
def before() -> Iterator[tuple[int, int]]:
    """The two values as they were, and are again after the test."""
    found = live(SWAPPINESS), live(MIGRATION)
    assert VALUE not in found
    yield found
    write(MIGRATION, str(found[1]))


def test_what_the_module_can_t_write_is_named_and_set_and_restored_all_the_same(
    paths: Paths, before: tuple[int, int]
) -> None:
    with lease(paths, SWAPPINESS, MIGRATION, proxy=ProxyChoice.MODULE) as held:
        assert held.standing.by_module
        assert held.standing.by_file == (MIGRATION,)
        assert f"the kernel itself restores, except {MIGRATION}" in held.standing.text
        assert held.apply({SWAPPINESS: 17, MIGRATION: VALUE}, deadline_s=LONG_S).ok
        assert (live(SWAPPINESS), live(MIGRATION)) == (17, VALUE)
    assert (live(SWAPPINESS), live(MIGRATION)) == before


def test_the_deadline_brings_both_back(paths: Paths, before: tuple[int, int]) -> None:
    held = lease(paths, SWAPPINESS, MIGRATION)
    held.apply({SWAPPINESS: 17, MIGRATION: VALUE}, deadline_s=0.3)
    wait_until(lambda: (live(SWAPPINESS), live(MIGRATION)) == before)
    with pytest.raises(LeaseLost):
        held.check()


def test_after_the_guardians_death_only_the_kernels_share_is_back_until_a_recovery(
    paths: Paths, before: tuple[int, int], remote: Callable[..., RemoteClient]
) -> None:
    client = remote(proxy=ProxyChoice.MODULE)
    opened = client.open(paths, SWAPPINESS, MIGRATION)
    assert client.apply({SWAPPINESS: 17, MIGRATION: VALUE}, deadline_s=LONG_S)["good"]
    os.kill(int(opened["guardian"]), signal.SIGSTOP)
    client.kill()  # first, or it would restore in the place of its guardian
    os.kill(int(opened["guardian"]), signal.SIGKILL)
    wait_until(lambda: live(SWAPPINESS) == before[0])
    assert live(MIGRATION) == VALUE
    wait_until(lambda: not is_held(opened["journal"]))
    recover(paths)
    assert (live(SWAPPINESS), live(MIGRATION)) == before


def test_a_set_of_which_it_can_write_nothing_is_none_of_the_modules(paths: Paths) -> None:
    with lease(paths, MIGRATION) as held:
        assert not held.standing.by_module
        assert held.standing.by_file == ()
        assert f"it can write none of these knobs ({MIGRATION}" in held.standing.text
    with pytest.raises(RefusedError, match="it can write none of these knobs"):
        lease(paths, MIGRATION, proxy=ProxyChoice.MODULE)
