"""Windows that something outside has voided: counted, explained, advised upon."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ktune.evidence.pairs import Arm
from ktune.records.codec import decode, encode
from ktune.records.types import Phase, WindowRecord
from ktune.records.unfair import unfair_lines, unfair_of

CAUSES = ("others", "steal", "throttled", "memory", "frequency", "")


def window(validity: str, cause: str = "", **others: float) -> WindowRecord:
    arm = Arm.CANDIDATE if others else Arm.BASELINE
    return WindowRecord(
        *(0, Phase.LEARNING, arm, None, None, {}, {}, validity, "", "", 1.0),
        environment={"others_share": sum(others.values())},
        others=others,
        cause=cause,
    )


WINDOWS = st.builds(
    window, st.sampled_from(["valid", "candidate_failed", "void"]), st.sampled_from(CAUSES)
)


@given(st.lists(WINDOWS))
def test_just_the_void_windows_are_counted_each_once(records: list[WindowRecord]) -> None:
    found = unfair_of(records)
    void = [record for record in records if record.validity == "void"]
    assert (found.windows, found.void) == (len(records), len(void))
    assert found.from_around == sum(bool(record.cause) for record in void)
    assert found.to_json()["by_arm"] == {"baseline": len(void), "candidate": 0}
    assert bool(found.advice) == (found.from_around > 0)
    assert bool(list(unfair_lines(found))) == bool(void)


def test_the_programs_are_those_of_the_windows_that_they_voided() -> None:
    found = unfair_of(
        [
            window("void", "others", hog=0.5, cc1=0.1),
            window("void", "others", hog=0.3),
            window("void", "steal", sshd=0.9),
            window("valid", cc1=0.2),
        ]
    )
    assert found.text == (
        "3 of 4 windows void: 2 by other programs (hog 40%, cc1 5%), "
        "1 by CPU time stolen by the hypervisor"
    )
    assert "stop hog" in found.advice and "part_of_it: [hog]" in found.advice
    assert found.to_json()["programs"] == {"hog": 0.4, "cc1": 0.05}


def test_many_are_more_than_a_third() -> None:
    bad, good = window("void", "others", hog=0.5), window("valid")
    assert not unfair_of([bad] * 5).many
    assert unfair_of([bad] * 6).many
    assert not unfair_of([bad] * 6 + [good] * 12).many
    assert not unfair_of([window("void")] * 9).many  # a link that died is no disturbance


def test_a_record_of_an_earlier_version_has_no_surroundings() -> None:
    document = encode(window("void", "others", hog=0.5))
    for name in ("environment", "others", "cause"):
        del document[name]
    old = decode(WindowRecord, document)
    assert (old.environment, old.others, old.cause) == ({}, {}, "")
    assert unfair_of([old]).text == "1 of 1 window void: 1 by other reasons"
