"""Adaptive policies as files: what is accepted, what is refused and where, what is checked."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from ktune.errors import ExitCode, KtuneError, RefusedError
from ktune.measure.scope import EphemeralScope
from ktune.policy import digest
from ktune.policy.apply import plan_apply, refuse_adaptive
from ktune.policy.approval import find, refuse_unapproved
from ktune.policy.freeze import FreezeOptions
from ktune.policy.freeze_contexts import freeze_contexts
from ktune.policy.load import parse_policy
from ktune.profile.errors import PlanRefusedError, ProfileError
from ktune.profile.yaml12 import load_yaml
from ktune.records import approvals
from ktune.records.contexts import read_contexts, write_contexts
from tests.modes.contexts.world import BASELINE, BUSY, IDLE, TREE, Frozen, frozen
from tests.modes.rig import FIN


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Frozen:
    return frozen(tmp_path_factory.mktemp("adaptive"))


def sealed(text: str) -> bytes:
    """With the digest that belongs to it."""
    tree = load_yaml(text.encode(), file="p").plain()
    assert isinstance(tree, dict)
    return re.sub(r"(?m)^digest: .*", f'digest: "{digest.digest_of(tree)}"', text).encode()


def test_a_frozen_adaptive_policy_reads_back(made: Frozen) -> None:
    document = parse_policy(made.text.encode(), path="p").document
    contexts = document.contexts
    assert contexts is not None
    assert contexts.tree == TREE
    assert {name: leaf.assignment for name, leaf in contexts.leaves.items()} == {
        "busy": BUSY,
        "idle": IDLE,
    }
    assert (contexts.sample, contexts.dwell, contexts.looks) == (1.0, 10.0, 2)
    assert contexts.leaves["busy"].evidence == document.evidence
    assert document.assignment == BUSY
    assert document.baseline == BASELINE


def test_freezing_twice_gives_the_same_file(made: Frozen) -> None:
    options = FreezeOptions(valid_days=36500)
    assert freeze_contexts(made.contexts, made.paths, options) == made.text


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("packets >= 1000", "packet >= 1000", "contexts.tree", "unknown feature"),
        ("packets >= 1000", "packets > 1000", "contexts.tree", "FEATURE >= NUMBER"),
        ("then: busy", "then: bussy", "contexts.tree", "no leaf 'bussy'"),
        ("then: busy", "then: idle", "busy", "never leads here"),
        ("hysteresis: 10%", "hysteresis: 100%", "hysteresis", "less than 100%"),
        ("looks: 2", "looks: 0", "looks", "at least 1"),
        ('sample: "1s"', 'sample: "0s"', "sample", "at least"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(
    made: Frozen, old: str, new: str, place: str, words: str
) -> None:
    assert old in made.text
    with pytest.raises(ProfileError) as caught:
        parse_policy(sealed(made.text.replace(old, new, 1)), path="p")
    assert re.search(r"p:\d+:\d+: ", caught.value.message)
    assert words in caught.value.message


def test_a_leaf_without_evidence_must_be_the_baseline(tmp_path: Path) -> None:
    made = frozen(tmp_path, idle_is_baseline=True)
    document = parse_policy(made.text.encode(), path="p").document
    assert document.contexts is not None
    assert document.contexts.leaves["idle"].evidence is None
    idle = made.text.index("idle: {phases")
    changed = made.text[:idle] + made.text[idle:].replace(f"{FIN}: 60", f"{FIN}: 61", 1)
    with pytest.raises(ProfileError, match="no evidence: only the baseline needs none"):
        parse_policy(sealed(changed), path="p")


def test_leaves_set_the_same_knobs(made: Frozen) -> None:
    idle = made.text.index("idle: {phases")
    changed = made.text[:idle] + re.sub(f"{re.escape(FIN)}: 100, ", "", made.text[idle:], count=1)
    with pytest.raises(ProfileError, match="must stand in every leaf"):
        parse_policy(sealed(changed), path="p")


def test_a_changed_leaf_does_not_match_the_digest(made: Frozen) -> None:
    idle = made.text.index("idle: {phases")
    changed = made.text[:idle] + made.text[idle:].replace(f"{FIN}: 100", f"{FIN}: 101", 1)
    with pytest.raises(KtuneError) as caught:
        parse_policy(changed.encode(), path="p")
    assert caught.value.exit_code is ExitCode.UNTRUSTED


def test_every_leaf_is_held_to_the_hard_limits(made: Frozen) -> None:
    idle = made.text.index("idle: {phases")
    changed = made.text[:idle] + made.text[idle:].replace(f"{FIN}: 100", f"{FIN}: -5", 1)
    with (
        EphemeralScope() as scope,
        pytest.raises(PlanRefusedError, match=r"p:\d+:\d+: .*outside the hard limits"),
    ):
        plan_apply(parse_policy(sealed(changed), path="p"), netns=scope.ref.netns)


def test_apply_refuses_what_only_watch_can_switch(made: Frozen) -> None:
    with pytest.raises(RefusedError, match="adapts") as caught:
        refuse_adaptive(parse_policy(made.text.encode(), path="p"))
    assert caught.value.exit_code is ExitCode.REFUSED
    assert "ktune watch p" in caught.value.hint


def test_the_approval_of_one_study_does_not_cover_the_other_leaves(made: Frozen) -> None:
    text = sealed(made.text.replace("guard: audit", "guard: audit\napproval: required"))
    document = parse_policy(text, path="p").document
    one = find(document.origin.study, made.paths)
    approvals.approve(
        made.paths,
        digest=one.digest,
        subject=one.name,
        scope=one.scope,
        why="",
        terms=one.terms,
    )
    with pytest.raises(KtuneError, match="not approved"):
        refuse_unapproved(document, made.paths)


def test_contexts_without_a_tree_make_no_policy(tmp_path: Path) -> None:
    made = frozen(tmp_path)
    record = read_contexts(made.contexts.folder)
    assert record is not None
    none = dataclasses.replace(record, tree=None, reason="one setting is the best in every phase")
    write_contexts(made.contexts.folder, none)
    with pytest.raises(KtuneError, match="one setting is the best") as caught:
        freeze_contexts(made.contexts, made.paths, FreezeOptions())
    assert caught.value.exit_code is ExitCode.NO_IMPROVEMENT
