"""The forwarder's decisions, without a kernel: delay, rate, tail drop."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktune.measure.link.forward import Direction

SIZES = st.lists(st.integers(1, 65535), min_size=1, max_size=50)


def direction(rate: float = 0.0, queue: int = 1 << 20, target: int = -1) -> Direction:
    return Direction(-1, target, 0.01, rate, queue)


@given(SIZES, st.floats(0, 1e6))
def test_without_a_rate_every_packet_arrives_one_delay_later(sizes: list[int], now: float) -> None:
    way = direction()
    for size in sizes:
        way.accept(b"x" * size, now)
    assert [due for due, _ in way.queue] == [now + 0.01] * len(sizes)
    assert way.queued_bytes == sum(sizes)


@given(SIZES)
def test_with_a_rate_packets_leave_one_after_the_other(sizes: list[int]) -> None:
    way = direction(rate=8e6, queue=1 << 40)
    for size in sizes:
        way.accept(b"x" * size, 100.0)
    assert way.dropped == 0
    assert way.queue[-1][0] == pytest.approx(100.0 + sum(sizes) / 1e6 + 0.01)


@given(SIZES, st.integers(1, 200_000))
def test_no_more_waits_than_the_queue_holds(sizes: list[int], queue: int) -> None:
    way = direction(rate=8e6, queue=queue)
    for size in sizes:
        way.accept(b"x" * size, 0.0)
    assert way.queued_bytes <= queue
    assert len(way.queue) + way.dropped == len(sizes)


def test_an_idle_link_saves_up_no_rate() -> None:
    way = direction(rate=8e6)
    way.accept(b"x" * 1000, 0.0)
    way.accept(b"x" * 1000, 50.0)
    assert way.queue[-1][0] == pytest.approx(50.0 + 0.001 + 0.01)


def test_packets_arrive_in_order_and_only_when_due() -> None:
    read, write = os.pipe()
    try:
        way = direction(target=write)
        way.accept(b"first", 0.0)
        way.accept(b"second", 0.005)
        way.deliver(0.011)
        assert os.read(read, 100) == b"first"
        way.deliver(0.016)
        assert os.read(read, 100) == b"second"
        assert (way.queued_bytes, way.due_s()) == (0, None)
    finally:
        os.close(read)
        os.close(write)
