"""What becomes of the phases' studies: leaves, a tree, or the reason why not."""

from __future__ import annotations

import random

from ktune.kernel.values import Value
from ktune.modes.contexts.learn import MAX_ERROR, PhaseResult, learned, leaves_of
from ktune.profile.features import FEATURES
from ktune.records.contexts import ContextsRecord, FingerprintRecord

KNOB = "vm.swappiness"
BASELINE: dict[str, Value] = {KNOB: 60}


def result(phase: str, value: int, *, proven: bool = True) -> PhaseResult:
    return PhaseResult(phase, f"study-{phase}", {KNOB: value}, proven)


def looks(phases: dict[str, int], *, values: tuple[int, ...], each: int = 8, seed: int = 1):  # type: ignore[no-untyped-def]
    """`phases`: packets a second of each, whatever the settings; everything else is noise."""
    chooser = random.Random(seed)
    return [
        FingerprintRecord(
            phase,
            {KNOB: value},
            {name: chooser.randrange(100) for name in FEATURES}
            | {"packets": packets + chooser.randrange(50)},
        )
        for phase, packets in phases.items()
        for value in values
        for _ in range(each)
    ]


def learn(results: list[PhaseResult], seen: list[FingerprintRecord]) -> ContextsRecord:
    return learned(results, BASELINE, seen, [], seed=1)


def test_phases_that_look_different_make_a_tree() -> None:
    seen = looks({"day": 1000, "night": 0}, values=(60, 10, 90))
    record = learn([result("day", 10), result("night", 90)], seen)
    assert record.tree["when"].startswith("packets >= ")
    assert (record.tree["then"], record.tree["else"]) == ("day", "night")
    assert record.errors == {"day": 0.0, "night": 0.0}
    assert record.samples == {"day": 24, "night": 24}


def test_phases_that_look_alike_are_refused_with_the_error() -> None:
    seen = looks({"day": 0, "night": 0}, values=(60, 10, 90))
    record = learn([result("day", 10), result("night", 90)], seen)
    assert record.tree is None
    assert "can't be told from the others" in record.reason
    assert max(record.errors.values()) > MAX_ERROR


def test_phases_with_the_same_setting_share_a_leaf_and_its_windows() -> None:
    results = [result("a", 10), result("b", 90), result("c", 10)]
    assert [(leaf.name, leaf.phases) for leaf in leaves_of(results)] == [
        ("a", ("a", "c")),
        ("b", ("b",)),
    ]
    record = learn(results, looks({"a": 1000, "b": 0, "c": 2000}, values=(60, 10, 90)))
    assert record.samples == {"a": 48, "b": 24}
    assert record.tree is not None


def test_a_phase_without_proof_is_the_baselines_leaf() -> None:
    seen = looks({"day": 1000, "night": 0}, values=(60, 10))
    record = learn([result("day", 10), result("night", 60, proven=False)], seen)
    assert record.tree is not None
    assert {leaf.name: leaf.study for leaf in record.leaves} == {"day": "study-day", "night": ""}


def test_one_setting_for_all_says_which_study_to_freeze() -> None:
    record = learn([result("day", 10), result("night", 10)], [])
    assert record.tree is None
    assert "`ktune freeze study-day`" in record.reason


def test_nothing_proven_says_so() -> None:
    unproven = [result("day", 60, proven=False), result("night", 60, proven=False)]
    assert "no phase" in learn(unproven, []).reason


def test_windows_under_other_settings_than_the_policys_do_not_count() -> None:
    seen = looks({"day": 1000, "night": 0}, values=(60, 10, 90))
    searched = looks({"day": 0, "night": 1000}, values=(33,))
    record = learned([result("day", 10), result("night", 90)], BASELINE, seen, searched, seed=1)
    assert record.samples == {"day": 24, "night": 24}


def test_too_few_windows_are_no_answer() -> None:
    seen = looks({"day": 1000, "night": 0}, values=(60, 10, 90), each=3)
    record = learn([result("day", 10), result("night", 90)], seen)
    assert "too few windows" in record.reason
