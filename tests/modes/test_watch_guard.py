"""A watch between its looks hears at once who writes a knob of its policy, committed or leased."""

from __future__ import annotations

import dataclasses
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from ktune.kernel.bpf.bpffs import mounted_bpffs
from ktune.kernel.bpf.library import BpfError
from ktune.kernel.tunable import sysctl_path
from ktune.modes.watch.holder import Holder
from ktune.modes.watch.run import holding
from ktune.proxy.backends import ProxyChoice
from tests.proxy.guarded import why_no_guard, write_as

from .rig import FIN
from .watching import POLICY, QUICK, Watching, watching

PATIENCE_S = 60
"""Only ends a test that has failed."""


@pytest.fixture
def world(tmp_path: Path, root: None) -> Iterator[Watching]:
    why = why_no_guard()
    if why is not None:
        pytest.skip(f"the BPF guard does not load here: {why}")
    try:
        mounted_bpffs()
    except BpfError as error:
        pytest.skip(error.why)
    with watching(tmp_path) as made:
        yield made


def held(world: Watching, **options: object) -> object:
    chosen = dataclasses.replace(QUICK, netns=world.scope.ref.netns, **options)
    return holding(world.subject(chosen), chosen, world.paths)


def woken(holder: Holder) -> bool:
    """Without a look: somebody has written."""
    return bool(select.select(holder.wake_fds(), [], [], PATIENCE_S)[0])


@pytest.mark.parametrize("baseline_on_death", [False, True], ids=["committed", "leased"])
def test_a_foreign_write_wakes_the_watch_and_has_a_name(
    world: Watching, baseline_on_death: bool
) -> None:
    with held(world, baseline_on_death=baseline_on_death) as (holder, _):
        holder.apply_policy("watch")
        assert holder.writers() == {}
        pid, _ = write_as("", sysctl_path(FIN), "77", netns=world.scope.ref.netns)
        assert woken(holder)
        assert {key: writer.pid for key, writer in holder.writers().items()} == {FIN: pid}
        assert holder.drift() == {FIN: 77}
        if not baseline_on_death:
            holder.apply_policy("back")
            assert holder.drift() == {}
            assert holder.writers() == {}, "ktune's own guardian is nobody else"


def test_a_holdback_of_the_watch_itself_is_no_foreign_write(world: Watching) -> None:
    with held(world) as (holder, _):
        with holder.holdback() as lease:
            assert lease.apply({FIN: POLICY[FIN]}, deadline_s=60).ok
            assert lease.apply(holder.spec.baseline, deadline_s=60).ok
        assert holder.writers() == {}
        assert holder.drift() == {}


def test_by_files_alone_nothing_wakes_the_watch(world: Watching) -> None:
    with held(world, proxy=ProxyChoice.FILE) as (holder, _):
        write_as("", sysctl_path(FIN), "77", netns=world.scope.ref.netns)
        assert (holder.wake_fds(), holder.writers()) == ([], {})
        assert holder.drift() == {FIN: 77}
