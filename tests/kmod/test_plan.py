"""The kernel's restore decides as the guardian's does, in every state that can be thought up."""

from __future__ import annotations

import ctypes as c

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktune.kernel.tunable import Tunable
from ktune.kernel.values import Value, ValueType
from ktune.proxy.allowlist import Coupling
from ktune.proxy.planner import Held, apply_order, restore_order, verdicts
from tests.depth import examples
from tests.kmod import core, plan


@pytest.fixture(scope="session")
def lib(tmp_path_factory: pytest.TempPathFactory) -> c.CDLL:
    if core.compiler() is None:
        pytest.skip("no C compiler")
    return plan.built(tmp_path_factory.mktemp("plan"))


KEYS = tuple("abcdef")
NUMBERS = st.integers(0, 3)


@st.composite
def knobs(draw: st.DrawFn) -> dict[str, Held]:
    """A set in any state, with either-or pairs as the catalog has them (both ways) and one-way
    resets and moves, also in circles."""
    keys = KEYS[: draw(st.integers(1, len(KEYS)))]
    couplings: dict[str, list[Coupling]] = {key: [] for key in keys}
    free = list(keys)
    while len(free) > 1 and draw(st.booleans()):
        one, other = free.pop(), free.pop()
        couplings[one].append(Coupling("either_or", (other,)))
        couplings[other].append(Coupling("either_or", (one,)))
    for source in keys:
        for target in keys:
            if source != target and draw(st.integers(0, 6)) == 0:
                kind = draw(st.sampled_from(("resets", "moves")))
                couplings[source].append(Coupling(kind, (target,)))
    return {
        key: Held(
            Tunable(key, key, ValueType.INT),
            original=draw(NUMBERS),
            observed=draw(st.none() | NUMBERS),
            pending=draw(st.booleans()),
            foreign=draw(st.integers(0, 4)) == 0,
            kernel_moves=draw(st.integers(0, 4)) == 0,
            zero_unwritable=draw(st.booleans()),
            couplings=tuple(couplings[key]),
        )
        for key in keys
    }


@settings(max_examples=examples(600))
@given(held=knobs(), data=st.data())
def test_the_kernel_plans_a_restore_as_the_guardian_does(
    lib: c.CDLL, held: dict[str, Held], data: st.DataObject
) -> None:
    live: dict[str, Value | None] = {key: data.draw(st.none() | NUMBERS) for key in held}
    written = data.draw(st.permutations(list(held)))[: data.draw(st.integers(0, len(held)))]
    items, pairs = plan.items_of(held, live, written), plan.pairs_of(held)
    table = (plan.Pair * len(pairs))(*pairs)
    lib.plan_verdicts(items, len(items), table, len(pairs))
    assert {key: plan.VERDICTS[item.verdict] for key, item in zip(held, items, strict=True)} == {
        key: what.value for key, what in verdicts(held, live).items()
    }
    order = (c.c_uint16 * len(items))()
    lib.plan_order(items, order, len(items), table, len(pairs))
    assert [list(held)[at] for at in order] == restore_order(written, held)


@settings(max_examples=examples(200))
@given(held=knobs(), data=st.data())
def test_the_kernel_orders_the_writes_of_a_part_of_the_set_as_the_guardian_does(
    lib: c.CDLL, held: dict[str, Held], data: st.DataObject
) -> None:
    keys = list(held)
    some = data.draw(st.permutations(keys))[: data.draw(st.integers(1, len(keys)))]
    pairs = plan.pairs_of(held)
    table = (plan.Pair * len(pairs))(*pairs)
    items = plan.items_of(held, dict.fromkeys(held), ())
    order = (c.c_uint16 * len(some))(*(keys.index(key) for key in some))
    lib.plan_draggers_first(items, order, len(some), table, len(pairs))
    assert [keys[at] for at in order] == apply_order(some, held)
