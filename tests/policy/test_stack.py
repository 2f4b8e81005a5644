"""The stack of policies in force as files."""

from __future__ import annotations

import dataclasses
import stat

import pytest

from ktune.errors import KtuneError
from ktune.kernel.namespaces import boot_id
from ktune.kernel.values import ValueType
from ktune.policy import stack
from ktune.policy.rollback import plan_rollback, to_roll_back
from ktune.policy.scope import ScopeIdentity
from ktune.policy.settle import settle_entries
from ktune.policy.stack import EntryState, StackEntry, StackKnob, UnreadableEntry
from ktune.policy.verify import Standing, verify
from ktune.records.paths import StatePaths


@pytest.fixture
def paths(tmp_path):
    return StatePaths(tmp_path / "state", tmp_path / "run")


def test_entries_come_back_as_written_oldest_first(paths):
    first, second = entry(1), entry(2, applied=(1, 2, 3), kind=ValueType.VECTOR)
    stack.write(paths, second)
    stack.write(paths, first)
    assert stack.read(paths) == [first, second]
    assert stack.next_number(paths) == 3
    assert stat.S_IMODE((paths.policies / first.file_name).stat().st_mode) == 0o600


def test_an_unreadable_entry_keeps_its_place_and_stops_a_rollback(paths):
    stack.write(paths, entry(1))
    (paths.policies / "002-x.json").write_text("{}")
    assert isinstance(stack.read(paths)[1], UnreadableEntry)
    with pytest.raises(KtuneError, match="can't be read"):
        to_roll_back(paths, everything=False)


def test_a_file_that_calls_itself_something_else_is_unreadable(paths):
    stack.write(paths, entry(1))
    (paths.policies / "001-demo@host.json").rename(paths.policies / "004-demo@host.json")
    assert isinstance(stack.read(paths)[0], UnreadableEntry)


def test_a_later_policy_decides_a_knob_that_both_set():
    older, newer = entry(1, key="vm.a"), entry(2, key="vm.a")
    found = {item.number: knobs for item, knobs in stack.effective([older, newer])}
    assert found[1] == ()
    assert [knob.key for knob in found[2]] == ["vm.a"]


def test_policies_of_two_namespaces_do_not_hide_each_other():
    older, newer = entry(1, key="vm.a", cookie=1), entry(2, key="vm.a", cookie=2)
    assert all(knobs for _, knobs in stack.effective([older, newer]))


def test_a_policy_of_another_boot_is_said_and_not_read(paths):
    old = dataclasses.replace(entry(1), scope=ScopeIdentity("another-boot"))
    assert [check.standing for check in verify([old], paths)] == [Standing.REBOOTED]
    assert plan_rollback(old) == []


def test_a_policy_whose_namespace_ended_is_said(paths):
    scope = ScopeIdentity(boot_id(), 12345, "/proc/4194304/ns/net", None)
    gone = dataclasses.replace(entry(1), scope=scope)
    assert [check.standing for check in verify([gone], paths)] == [Standing.SCOPE_GONE]


def test_a_namespace_with_another_cookie_is_not_the_same_scope():
    scope = ScopeIdentity(boot_id(), 1, "/proc/self/ns/net", None)
    assert not scope.alive()


def test_a_pending_entry_whose_journal_is_gone_was_never_in_force(paths):
    stack.write(paths, dataclasses.replace(entry(1), state=EntryState.PENDING))
    settle_entries(paths)
    assert stack.read(paths) == []


def entry(number, *, key="vm.swappiness", applied=10, kind=ValueType.INT, cookie=0):
    scope = ScopeIdentity(boot_id(), cookie, "/run/netns/x" if cookie else None)
    original = tuple(item + 1 for item in applied) if isinstance(applied, tuple) else 60
    return StackEntry(
        number=number,
        name="demo@host",
        serial=1,
        digest="sha256:" + "0" * 64,
        state=EntryState.IN_FORCE,
        applied_at="2026-11-21T10:15:00Z",
        who="root",
        scope=scope,
        journal="/nonexistent/x.journal",
        knobs=(StackKnob(key, "/proc/sys/vm/swappiness", kind, original, applied),),
    )
