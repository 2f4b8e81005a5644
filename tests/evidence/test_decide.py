"""The promotion rule, case by case and by its properties."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.evidence.coin import Order
from ktune.evidence.decide import Outcome, Rule, decide, fewest_pairs
from ktune.evidence.pairs import PairResult, PairState, log_gain_of
from tests.evidence.simulated import measured

LOST = PairResult(900, Order.BASELINE_FIRST, PairState.LOST)
VOID = PairResult(901, Order.BASELINE_FIRST, PairState.VOID)

gains = st.lists(st.floats(min_value=-1, max_value=1), max_size=40)
states = st.lists(
    st.one_of(
        st.floats(min_value=-0.3, max_value=0.6).map(lambda gain: measured([gain])[0]),
        st.just(LOST),
        st.just(VOID),
    ),
    max_size=45,
)


STEADY = [0.10, 0.11, 0.09, 0.10, 0.12, 0.10]


def test_a_steady_gain_is_improved_as_soon_as_a_coin_alone_hardly_does_it() -> None:
    """A coin gives five straight wins in 3 % of runs, too many to leave room for any later look."""
    assert decide(measured(STEADY[:5]), Rule()).outcome is Outcome.CONTINUE
    found = decide(measured(STEADY), Rule())
    assert found.outcome is Outcome.IMPROVED and found.fired
    assert found.e_value >= found.threshold == pytest.approx(20)
    assert (found.pairs, found.lost, found.void) == (6, 0, 0)
    assert "symmetric-e reached" in found.reason and found.primary.hypothesis == "gain <= 0"


def test_wild_wins_are_wins() -> None:
    found = decide(measured([0.01, 2.0, 0.02, 0.9, 0.01, 3.0, 0.02, 0.01, 0.9]), Rule())
    assert found.outcome is Outcome.IMPROVED and found.pairs <= 8


def test_a_clear_loss_never_improves_and_ends_early() -> None:
    found = decide(measured([-0.10, -0.11, -0.09, -0.12] * 8), Rule())
    assert found.outcome is Outcome.NO_IMPROVEMENT and found.pairs < 15
    assert "futility" in found.reason


def test_no_pairs_yet_means_go_on() -> None:
    found = decide([], Rule())
    assert found.outcome is Outcome.CONTINUE and found.pairs == 0 and found.e_value == 1


def test_at_the_last_pair_an_open_question_is_answered_no() -> None:
    undecided = [0.09, -0.05, 0.08, 0.05, -0.06] * 6
    found = decide(measured(undecided), Rule(max_pairs=12))
    assert found.outcome is Outcome.NO_IMPROVEMENT and found.pairs <= 12


def test_void_pairs_change_no_number() -> None:
    steady = measured(STEADY)
    found = decide([VOID, steady[0], VOID, *steady[1:]], Rule())
    assert found.void == 2 and found.pairs == 6
    assert found.primary == decide(steady, Rule()).primary


def test_a_lost_pair_costs_as_much_as_the_worst_loss() -> None:
    steady = measured([0.10, 0.11, 0.09, 0.10, 0.12] * 6)
    found = decide([LOST, *steady], Rule())
    assert found.outcome is Outcome.IMPROVED and found.lost == 1 and found.pairs == 11
    far_behind = decide([*measured([-50.0]), *steady], Rule())
    assert far_behind.pairs == found.pairs
    assert far_behind.e_value == pytest.approx(found.e_value, rel=0.5)
    assert decide([LOST] * 30, Rule()).outcome is Outcome.NO_IMPROVEMENT


def test_the_mei_is_the_hypothesis_when_the_profile_says_so() -> None:
    five = [0.05, 0.049, 0.051, 0.05, 0.052] * 6
    assert decide(measured(five), Rule(minimum_gain=log_gain_of(0.02))).outcome is Outcome.IMPROVED
    not_ten = decide(measured(five), Rule(minimum_gain=log_gain_of(0.10)))
    assert not_ten.outcome is Outcome.NO_IMPROVEMENT
    assert not_ten.primary.hypothesis == "gain <= 0.1"


def test_gains_of_exactly_the_mei_are_no_evidence() -> None:
    """Rounding errors are all of one sign: neither test may fire on them."""
    threshold = log_gain_of(0.02)
    found = decide(measured([math.nextafter(threshold, 1)] * 30), Rule(minimum_gain=threshold))
    assert found.outcome is Outcome.NO_IMPROVEMENT


def test_several_finalists_share_alpha() -> None:
    rule = Rule(finalists=3)
    assert rule.threshold == pytest.approx(60)
    assert decide(measured(STEADY), rule).outcome is Outcome.CONTINUE


def test_a_constraint_must_be_shown_to_hold_before_improved_is_said() -> None:
    rule = Rule(margins={"p99": 0.05})
    gain = [0.10, 0.11, 0.09, 0.10, 0.12] * 6
    harmless = [0.0, 0.01, -0.01, 0.005, -0.005] * 6
    assert decide(measured(gain, p99=harmless), rule).outcome is Outcome.IMPROVED
    noisy = [0.2, -0.2, 0.21, -0.22, 0.19] * 6
    open_question = decide(measured(gain, p99=noisy), rule)
    assert open_question.outcome is Outcome.NO_IMPROVEMENT
    assert open_question.fired and not open_question.constraints["p99"].fired
    assert "the constraint on p99" in open_question.reason
    with pytest.raises(ValueError, match="no value for the constraint"):
        decide(measured(gain), rule)


@given(gains, st.integers(2, 12))
def test_it_never_fires_before_the_fewest_pairs(values: list[float], fewest: int) -> None:
    found = decide(measured([abs(v) + 0.01 for v in values]), Rule(min_pairs=fewest))
    assert found.outcome is not Outcome.IMPROVED or found.pairs >= fewest
    assert not found.fired or found.primary.after_pairs >= fewest


@given(states)
def test_the_first_outcome_is_final(pairs: list[PairResult]) -> None:
    whole = decide(pairs, Rule())
    for length in range(len(pairs)):
        part = decide(pairs[:length], Rule())
        if part.outcome is not Outcome.CONTINUE:
            assert whole.outcome is part.outcome and whole.primary == part.primary
            return
    assert whole.pairs <= 30


@given(states)
def test_improved_always_has_a_proof_and_positive_evidence(pairs: list[PairResult]) -> None:
    found = decide(pairs, Rule())
    if found.outcome is Outcome.IMPROVED:
        assert found.fired and found.e_value >= found.threshold
    assert found.pairs == found.lost + sum(
        pair.state is PairState.MEASURED for pair in pairs[: found.pairs + found.void]
    )


@given(gains)
def test_a_candidate_and_its_mirror_image_are_never_both_improved(values: list[float]) -> None:
    outcomes = [decide(measured([s * v for v in values]), Rule()).outcome for s in (1, -1)]
    assert outcomes.count(Outcome.IMPROVED) <= 1


@given(gains, st.sampled_from([0.25, 0.5, 2.0, 4.0]))
def test_the_unit_of_the_gain_does_not_matter(values: list[float], scale: float) -> None:
    rounded = [round(value, 4) for value in values]
    here, there = (decide(measured([f * v for v in rounded]), Rule()) for f in (1.0, scale))
    assert here.outcome is there.outcome and here.pairs == there.pairs


@given(states)
def test_turning_a_loss_into_a_void_never_turns_improved_into_no(pairs: list[PairResult]) -> None:
    """Sanity of the loss rule: failing is never better for the candidate."""
    if decide(pairs, Rule(max_pairs=60)).outcome is Outcome.IMPROVED:
        for index, pair in enumerate(pairs):
            if pair.state is PairState.LOST:
                better = [*pairs[:index], VOID, *pairs[index + 1 :]]
                assert decide(better, Rule(max_pairs=60)).outcome is not Outcome.NO_IMPROVEMENT


@pytest.mark.parametrize(
    "wrong", [{"alpha": 0}, {"alpha": 1.5}, {"finalists": 0}, {"min_pairs": 1}, {"max_pairs": 4}]
)
def test_a_rule_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"alpha|pairs"):
        Rule(**wrong)  # type: ignore[arg-type]


both = st.lists(
    st.tuples(st.floats(min_value=-0.3, max_value=0.6), st.floats(min_value=-0.3, max_value=0.3)),
    max_size=35,
)


@given(both, st.floats(min_value=0.005, max_value=0.2))
def test_a_further_margin_never_promotes_more(values: list[tuple[float, float]], m: float) -> None:
    """Intersection-union: each further hypothesis can only withhold "improved"."""
    pairs = measured([gain for gain, _ in values], other=[worse for _, worse in values])
    with_margin = decide(pairs, Rule(margins={"other": m}))
    if with_margin.outcome is Outcome.IMPROVED:
        assert decide(pairs, Rule()).outcome is Outcome.IMPROVED
        assert with_margin.constraints["other"].fired


@given(both, st.floats(min_value=0.005, max_value=0.1), st.floats(min_value=1.01, max_value=2))
def test_a_wider_margin_is_shown_whenever_a_narrow_one_is(
    values: list[tuple[float, float]], narrow: float, times: float
) -> None:
    """By the sign test; (the t test is about the distance in spreads, and a wider margin moves
    the mean and not the spread, so it too only gains)."""
    pairs = measured([1.0] * len(values), other=[worse for _, worse in values])
    shown = decide(pairs, Rule(margins={"other": narrow})).constraints["other"]
    wider = decide(pairs, Rule(margins={"other": narrow * times})).constraints["other"]
    assert wider.fired or not shown.fired


@given(st.lists(st.floats(min_value=-0.3, max_value=0.3), min_size=8, max_size=30), st.data())
def test_what_an_outlier_can_do_is_bounded(values: list[float], data: st.DataObject) -> None:
    """Never deleted, and no proof by itself: being a thousand times as far out changes nothing,
    once there are other values to compare it with."""
    place = data.draw(st.integers(2, len(values) - 1))
    rule = Rule(min_pairs=len(values), max_pairs=max(30, len(values)))
    es = []
    for size in (50.0, 50_000.0):
        far = [*values[:place], size, *values[place + 1 :]]
        es.append(decide(measured(far), rule).e_value)
    assert es[1] == pytest.approx(es[0], rel=1e-6)


def test_the_fewest_pairs_that_can_prove_anything_do() -> None:
    for level in (0.49, 0.05, 0.005, 1e-6):
        fewest = fewest_pairs(level, 1000)
        assert fewest is not None
        for count, proven in ((fewest, True), (fewest - 1, False)):
            if count >= 2:
                rule = Rule(alpha=level, min_pairs=2, max_pairs=count)
                best = [
                    PairResult(draw, Order.BASELINE_FIRST, PairState.MEASURED, 1.0)
                    for draw in range(count)
                ]
                assert (decide(best, rule).outcome is Outcome.IMPROVED) == proven
    assert fewest_pairs(0.05, 5) is None and fewest_pairs(0.05, 30) == 6
