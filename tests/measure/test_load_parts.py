"""The pure parts of the bundled generators: due times, percentiles, answers, options."""

from __future__ import annotations

import doctest
import itertools
from array import array
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktune.measure.workloads import load_run, memcached_load, resp_load, schedule, store_mix
from ktune.measure.workloads.http_load import Http, http
from ktune.measure.workloads.load_run import COMMON, load_from
from ktune.measure.workloads.memcached_load import Memcached
from ktune.measure.workloads.open_loop import Answer, Dialect, Record
from ktune.measure.workloads.options import OptionError
from ktune.measure.workloads.resp_load import Resp
from ktune.measure.workloads.schedule import Spacing, due_times_ns, enough_for, percentile
from ktune.measure.workloads.store_mix import Mix, Operations, mix_from
from tests.depth import examples

MIX = Mix(keys=100, key_size=8, value_size=10, value_max=50, reads=0.7, seed=5)
REDIS, CACHE = Resp(MIX), Memcached(MIX)
WEB = Http("/", 0, "localhost", 1, close=False)
HEAD = b"HTTP/1.1 200 OK\r\nDate: today\r\n"


@pytest.mark.parametrize("module", [schedule, store_mix, resp_load, memcached_load])
def test_the_examples_of_the_docstrings_run(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


@settings(max_examples=examples(200))
@given(
    st.integers(1, 300), st.floats(0.5, 1e6), st.sampled_from(list(Spacing)), st.integers(0, 2**40)
)
def test_due_times_rise_from_zero_and_are_the_seeds(
    count: int, rate: float, spacing: Spacing, seed: int
) -> None:
    times = due_times_ns(count, rate, spacing, seed)
    assert len(times) == count
    assert times[0] == 0
    assert list(times) == sorted(times)
    assert times == due_times_ns(count, rate, spacing, seed)
    # A longer run begins as a shorter one does.
    assert due_times_ns(count + 5, rate, spacing, seed)[:count] == times


@pytest.mark.parametrize("spacing", list(Spacing))
def test_the_gaps_are_as_long_as_the_rate_says(spacing: Spacing) -> None:
    times = due_times_ns(20_001, 1000.0, spacing, seed=3)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(1e6, rel=0.05)
    # Exponential gaps spread as much as their mean, constant ones not at all.
    assert spread / mean == pytest.approx(1.0 if spacing is Spacing.POISSON else 0.0, abs=0.05)


@settings(max_examples=examples(300))
@given(st.lists(st.integers(0, 1000), min_size=1), st.floats(0.001, 1.0))
def test_a_percentile_is_the_least_value_that_covers_its_share(
    values: list[int], share: float
) -> None:
    ordered = sorted(values)
    found = percentile(ordered, share)
    assert found in values
    # What a share as a binary fraction is off by must not decide.
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6
    assert sum(value < found for value in values) < share * len(values)


def test_few_values_know_no_far_percentile() -> None:
    assert [enough_for(0.99, 99), enough_for(0.99, 100)] == [False, True]
    assert [enough_for(0.999, 999), enough_for(0.999, 1000)] == [False, True]


def chunked(*parts: bytes) -> bytes:
    """A chunked response."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


WHOLE: list[tuple[Dialect, bytes, Answer]] = [
    (REDIS, b"+OK\r\n", Answer()),
    (REDIS, b"$0\r\n\r\n", Answer()),
    (REDIS, b"$7\r\na\r\n$3\r\n\r\n", Answer()),
    (REDIS, b"$-1\r\n", Answer(miss=True)),
    (REDIS, b"-OOM too much\r\n", Answer("the server answered 'OOM too much'")),
    (CACHE, b"STORED\r\n", Answer()),
    (CACHE, b"END\r\n", Answer(miss=True)),
    (CACHE, b"VALUE k0000001 0 5\r\nEND\r\n\r\nEND\r\n", Answer()),
    (
        CACHE,
        b"SERVER_ERROR out of memory\r\n",
        Answer("the server answered 'SERVER_ERROR out of memory'", closes=True),
    ),
    (WEB, HEAD + b"Content-Length: 5\r\n\r\n\r\n\r\nx", Answer()),
    (WEB, HEAD + b"Content-Length: 0\r\nConnection: close\r\n\r\n", Answer(closes=True)),
    (WEB, chunked(b"0\r\n\r\n", b"more"), Answer()),
    (WEB, chunked(), Answer()),
    (WEB, b"HTTP/1.1 204 No Content\r\n\r\n", Answer()),
    (
        WEB,
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno",
        Answer("the server answered 503 Service Unavailable"),
    ),
]


@pytest.mark.parametrize(("dialect", "data", "meaning"), WHOLE)
def test_an_answer_is_whole_at_its_last_byte_and_not_before(
    dialect: Dialect, data: bytes, meaning: Answer
) -> None:
    for length in range(1, len(data)):
        assert dialect.answer(data[:length], ended=False) is None, data[:length]
    assert dialect.answer(data, ended=False) == meaning


def test_a_trailer_belongs_to_the_answer() -> None:
    whole = chunked(b"abc")[:-2] + b"Checksum: 1\r\n\r\n"
    assert WEB.answer(whole, ended=False) == Answer()
    assert WEB.answer(whole[:-2], ended=False) is None


def test_a_body_without_a_length_ends_with_its_connection() -> None:
    data = b"HTTP/1.0 200 OK\r\n\r\nall of it"
    assert WEB.answer(data, ended=False) is None
    assert WEB.answer(data, ended=True) == Answer(closes=True)


@pytest.mark.parametrize(
    ("dialect", "data", "words"),
    [
        (REDIS, b"HTTP/1.1 400 Bad Request\r\n", "no reply of Redis"),
        (REDIS, b"+OK\r\n+OK\r\n", "more than one reply"),
        (CACHE, b"+OK\r\n", "no answer of memcached"),
        (CACHE, b"VALUE k 0 1\r\nxx\r\nEND\r\n", "longer than it announced"),
        (WEB, b"-ERR unknown command\r\n", "no HTTP/1.1"),
        (WEB, HEAD + b"Content-Length: 1\r\n\r\nxx", "more than it announced"),
        (WEB, HEAD + b"x" * 70_000, "a header without end"),
        (WEB, chunked(b"a").replace(b"1\r\n", b"z\r\n", 1), "a chunk without a size"),
    ],
)
def test_another_protocol_is_told(dialect: Dialect, data: bytes, words: str) -> None:
    answer = dialect.answer(data, ended=False)
    assert answer is not None
    assert words in answer.error
    assert answer.closes


def test_a_mix_reads_and_writes_as_asked() -> None:
    operations = Operations(MIX)
    drawn = [operations.draw() for _ in range(4000)]
    reads = sum(value is None for _, value in drawn)
    sizes = {len(value) for _, value in drawn if value is not None}
    assert reads / len(drawn) == pytest.approx(0.7, abs=0.03)
    assert sizes == set(range(10, 51))
    assert {len(key) for key, _ in drawn} == {8}
    assert len({key for key, _ in drawn}) == 100
    again = Operations(MIX)
    assert [again.draw() for _ in range(100)] == drawn[:100]


STORE = {**COMMON, **store_mix.DEFAULTS, "port": 6379}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"keys": 0}, "--keys"),
        ({"reads": 1.1}, "--reads"),
        ({"key-size": 4, "keys": 10_000}, "--key-size wants 5 to 250 bytes for 10000 keys"),
        ({"key-size": 251}, "--key-size"),
        ({"value-size": 9, "value-max": 8}, "--value-size <= --value-max"),
    ],
)
def test_a_mix_that_can_not_be_is_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        mix_from({**STORE, **wrong}, 250)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"rate": 0.0}, "--rate"),
        ({"rate": float("nan")}, "--rate"),
        ({"connections": 0}, "--connections"),
        ({"requests": -1}, "--requests"),
        ({"timeout": 0.0}, "--timeout"),
        ({"late-share": 1.5}, "--late-share"),
        ({"spacing": "bursts"}, "poisson or constant"),
        ({"port": 0}, "--unix PATH or --port"),
        ({"port": 70_000}, "--unix PATH or --port"),
    ],
)
def test_a_load_that_can_not_be_is_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        load_from({**STORE, **wrong})


@pytest.mark.parametrize(
    ("path", "files"), [("index.html", 0), ("/a b", 0), ("/{}", 0), ("/x", 3), ("/{}", -1)]
)
def test_a_path_that_can_not_be_is_refused(path: str, files: int) -> None:
    load = load_from({**COMMON, "port": 80})
    with pytest.raises(OptionError):
        http({"path": path, "files": files}, load)


def test_amounts_come_from_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KTUNE_MEASURE", "700")
    assert (load_from(STORE).requests, load_from(STORE).warm_up) == (700, 70)
    monkeypatch.setenv("KTUNE_WARM_UP", "9")
    assert load_from(STORE).warm_up == 9
    assert load_from({**STORE, "requests": 50, "warm-up": 0}).requests == 50


def test_only_its_own_delays_make_a_generator_late() -> None:
    load = load_from({**STORE, "requests": 4, "warm-up": 1, "late-after": 1.0})
    latency = array("q", [90_000_000, 5_000_000, 100_000_000, 3_000_000, 900_000])
    own = array("q", [90_000_000, 2_000_000, 5_000_000, 200_000, 900_000])
    # The first is warm-up; the third waited for the server; the last two are within 1 ms.
    assert load_run.late_requests(load, Record(latency, own, latency)) == 1
