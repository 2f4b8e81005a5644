"""Metric pages of a real server: numbers where there are some, else a void window that says why."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from ktune.errors import RefusedError
from ktune.measure.attach import helper
from ktune.measure.attach.helper_client import Helper
from ktune.measure.attach.pages import look_at_pages
from ktune.measure.attach.source import AttachSource
from ktune.measure.attach.specs import MissingData, Reduction
from ktune.measure.user import account_for
from ktune.measure.window import Validity
from tests.measure.attach.watching import Service, metric, spec, watch
from tests.measure.helpers import all_gone, nothing


@pytest.fixture(scope="module")
def child() -> Iterator[Helper]:
    helper = Helper(account_for(None), None)
    yield helper
    helper.close()


def test_counters_become_rates_and_gauges_means(service: Service) -> None:
    result = watch(
        service.target,
        metric("all", service.series("work_total"), None),
        metric("a", service.series("work_total", labels=(("kind", "a"),)), None),
        metric("undeclared", service.series("unsaid")),
        metric("without_total", service.series("plain"), None),
        metric("level", service.series("level", labels=(("of", "a"),)), None),
    )

    assert result.validity is Validity.VALID, result.reason
    assert result.metrics["level"] == 12.5
    assert result.metrics["a"] == pytest.approx(1000, rel=0.5)
    for name, times in (("all", 3), ("undeclared", 1), ("without_total", 1)):
        assert result.metrics[name] == pytest.approx(times * result.metrics["a"], rel=0.01)


def test_quantiles_come_from_what_the_window_added(service: Service) -> None:
    result = watch(
        service.target,
        metric("median", service.series("took_seconds", quantile=0.5), None),
        metric("p75", service.series("took_seconds", quantile=0.75), None),
        metric("summary", service.series("rpc", quantile=0.99), None),
        metric("count", service.series("rpc_count"), None),
    )

    assert result.metrics["median"] == pytest.approx(0.1, abs=0.003)
    assert result.metrics["p75"] == pytest.approx(0.15, abs=0.003)
    assert result.metrics["summary"] == 0.25
    assert result.metrics["count"] == 0


@pytest.mark.parametrize(
    ("page", "why"),
    [
        ("html", "answers text/html, not metrics"),
        ("disguised", "no series work_total (it begins with '<!doctype html>"),
        ("nonsense", "not the Prometheus text format near work_total"),
        ("error", "HTTP 500"),
        ("missing", "HTTP 404"),
        ("redirect", "redirects elsewhere (HTTP 302), which is not followed"),
        ("huge", "larger than 16 MiB"),
        ("longline", "a line of work_total is longer than 64 KiB"),
        ("broken", "the page broke off"),
        ("drip", "no end of the page within 0.5 s"),
        ("hang", "no answer within 0.5 s"),
    ],
)
def test_a_page_that_is_none_is_missing_data_with_its_reason(
    service: Service, child: Helper, page: str, why: str
) -> None:
    wanted = metric("work", service.series("work_total", page))

    with pytest.raises(MissingData) as caught:
        look_at_pages([wanted], child, nothing, timeout_s=0.5)

    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("page", "why"),
    [("frozen", "did not move"), ("backwards", "went backwards"), ("html", "text/html")],
)
def test_missing_data_voids_the_window(service: Service, page: str, why: str) -> None:
    wanted = metric("work", service.series("work_total", page), plausible=(1, 1e9))

    result = watch(service.target, wanted, for_s=0.1)

    assert (result.validity, dict(result.metrics)) == (Validity.VOID, {})
    assert why in result.reason


@pytest.mark.full
def test_a_gauge_whose_own_time_stands_still_voids_the_window(service: Service) -> None:
    result = watch(service.target, metric("level", service.series("level", "frozen"), None))

    assert result.validity is Validity.VOID
    assert "timestamp did not move" in result.reason


def test_megabytes_of_other_series_do_no_harm(service: Service) -> None:
    result = watch(service.target, metric("work", service.series("work_total", "large"), None))

    assert result.validity is Validity.VALID, result.reason


@pytest.mark.full
def test_nan_and_an_empty_histogram_are_missing_data(service: Service) -> None:
    for origin, why in (
        (service.series("broken"), "the value is nan"),
        (service.series("idle_seconds", quantile=0.9), "nothing was observed"),
    ):
        result = watch(service.target, metric("m", origin, None), for_s=0.1)

        assert result.validity is Validity.VOID
        assert why in result.reason


def test_beyond_the_last_bucket_is_the_candidates_loss(service: Service) -> None:
    series = service.series("slow_seconds", quantile=0.9)

    result = watch(service.target, metric("p90", series, None))

    assert result.validity is Validity.CANDIDATE_FAILED
    assert "beyond the largest bucket (0.1)" in result.reason


def test_an_implausible_number_is_the_candidates_loss(service: Service) -> None:
    result = watch(
        service.target,
        metric("level", service.series("rpc_sum"), Reduction.VALUE, plausible=(1, 2)),
    )

    assert result.validity is Validity.CANDIDATE_FAILED
    assert "level = 9 is not plausible" in result.reason


@pytest.mark.parametrize(
    ("series", "quantile", "why"),
    [
        ("took_seconds", None, "is a histogram: say which quantile"),
        ("level", None, "2 series level match"),
        ("unsaid", None, "does not say what unsaid is"),
    ],
)
def test_a_profile_that_takes_a_series_for_something_else_is_refused(
    service: Service, child: Helper, series: str, quantile: float | None, why: str
) -> None:
    wanted = metric("m", service.series(series, quantile=quantile), None)

    with pytest.raises(RefusedError) as caught:
        look_at_pages([wanted], child, nothing)

    assert why in str(caught.value)


def test_nobody_listening_is_missing_data(service: Service, child: Helper) -> None:
    wanted = metric("m", Service(service.pid, 1).series("work_total"))

    with pytest.raises(MissingData, match="Connection refused"):
        look_at_pages([wanted], child, nothing)


def test_guardrails_are_asked_while_a_page_hangs_and_may_end_the_window(service: Service) -> None:
    class Stop(Exception):
        pass

    polled: list[float] = []

    def poll() -> None:
        polled.append(time.monotonic())
        if len(polled) == 12:
            raise Stop

    with AttachSource(spec(service.target, metric("m", service.series("x", "hang")))) as source:
        with pytest.raises(Stop):
            source.run(poll)

        assert source._helper._process is None, "the request under way is given up"
    assert max(after - before for before, after in pairwise(polled)) < 2.0


def test_the_helper_has_no_rights_and_ends_with_the_source(service: Service, root: None) -> None:
    with AttachSource(spec(service.target, metric("m", service.series("work_total")))) as source:
        assert source.run(nothing).valid
        process = source._helper._process
        assert process is not None
        with open(f"/proc/{process.pid}/status") as file:
            status = {key: rest.strip() for key, _, rest in (row.partition(":") for row in file)}

    assert status["Uid"].split()[0] != "0"
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert all_gone([process.pid])


def test_names_are_matched_whole() -> None:
    text = "# TYPE a counter\na 1\nab 2\n# TYPE a_b counter\na_b 3\n"

    (found,) = helper.select(text, ["a"])

    assert [(sample.name, sample.value) for sample in found[1]] == [("a_total", 1.0)]
