"""What an interrupted study had measured, rebuilt from its windows."""

from __future__ import annotations

from ktune.evidence.coin import Order, not_of_the_coin, toss
from ktune.evidence.pairs import Arm, PairState
from ktune.modes.resume import progress_of
from ktune.modes.settings import Overrides, settings_of
from ktune.profile.load import parse_profile
from ktune.records.types import Phase, WindowRecord
from tests.modes.rig import PROFILE

SETTINGS = settings_of(
    parse_profile(PROFILE.encode(), file="simulated.yaml"), Overrides(), drawn_seed=0
)
BOTH = {
    Order.BASELINE_FIRST: (Arm.BASELINE, Arm.CANDIDATE),
    Order.CANDIDATE_FIRST: (Arm.CANDIDATE, Arm.BASELINE),
}


def window(seq: int, draw: int, arm: Arm) -> WindowRecord:
    return WindowRecord(
        seq=seq,
        phase=Phase.DECISION,
        arm=arm,
        pair=draw,
        trial=None,
        assignment={},
        metrics={"speed": 110.0 if arm is Arm.CANDIDATE else 100.0},
        validity="valid",
        reason="",
        started_at="",
        duration_s=1.0,
    )


def pairs_in(orders: list[Order]) -> list[WindowRecord]:
    return [
        window(2 * draw + place, draw, arm)
        for draw, order in enumerate(orders)
        for place, arm in enumerate(BOTH[order])
    ]


def test_pairs_are_rebuilt_in_the_order_that_they_ran_in() -> None:
    """The audit of the coin would be of no use if the order were taken from the coin."""
    coin = [toss(SETTINGS.seed, Phase.DECISION.value, draw) for draw in range(6)]
    records = pairs_in(coin)
    pairs = progress_of(records, SETTINGS).decision_pairs[0]
    assert [pair.order for pair in pairs] == coin
    assert not not_of_the_coin(SETTINGS.seed, Phase.DECISION.value, pairs)
    turned = [
        Order.CANDIDATE_FIRST if order is Order.BASELINE_FIRST else Order.BASELINE_FIRST
        for order in coin
    ]
    pairs = progress_of(pairs_in([coin[0], *turned[1:]]), SETTINGS).decision_pairs[0]
    assert not_of_the_coin(SETTINGS.seed, Phase.DECISION.value, pairs) == (1, 2, 3, 4, 5)


def test_a_pair_cut_in_half_is_void_and_its_toss_used_up() -> None:
    coin = [toss(SETTINGS.seed, Phase.DECISION.value, draw) for draw in range(2)]
    pairs = progress_of(pairs_in(coin)[:3], SETTINGS).decision_pairs[0]
    assert [pair.state for pair in pairs] == [PairState.MEASURED, PairState.VOID]
    assert [pair.draw for pair in pairs] == [0, 1]
