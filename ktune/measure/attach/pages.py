"""Metric pages: one scrape for all series of a page, and each series as an observation."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

from ktune.errors import RefusedError
from ktune.measure.attach.helper_client import Helper
from ktune.measure.attach.observe import Bucketed, Counted, Level, Observation
from ktune.measure.attach.specs import LiveMetric, MissingData, PrometheusSeries, Reduction
from ktune.measure.window import Poll
from ktune.profile.urls import MetricsUrl

TIMEOUT_S = 2.0
_GRACE_S = 0.5


def look_at_pages(
    metrics: Iterable[LiveMetric], helper: Helper, poll: Poll, timeout_s: float = TIMEOUT_S
) -> dict[str, Observation]:
    """By metric what its page says now; each page is fetched once. Raises MissingData,
    RefusedError for a series that is not what the profile takes it for."""
    pages: dict[MetricsUrl, list[tuple[LiveMetric, PrometheusSeries]]] = {}
    for metric in metrics:
        if isinstance(metric.origin, PrometheusSeries):
            pages.setdefault(metric.origin.url, []).append((metric, metric.origin))
    found: dict[str, Observation] = {}
    for url, wanted in pages.items():
        names = list(dict.fromkeys(series.name for _, series in wanted))
        at_s, answers = _scrape(url, names, helper, poll, timeout_s)
        for metric, series in wanted:
            answer = answers[names.index(series.name)]
            found[metric.name] = observation(metric, series, answer, at_s)
    return found


def _scrape(
    url: MetricsUrl, names: list[str], helper: Helper, poll: Poll, timeout_s: float
) -> tuple[float, list[dict[str, Any]]]:
    """The middle of the request in time, and what the page has of each name."""
    request = {
        "op": "scrape",
        "host": url.host,
        "port": url.port,
        "target": url.target,
        "names": names,
        "timeout_s": timeout_s,
    }
    started_s = time.monotonic()
    try:
        answer = helper.ask(request, within_s=timeout_s + _GRACE_S, poll=poll)
    except MissingData as missing:
        raise MissingData(f"{url}: {missing}") from None
    return (started_s + time.monotonic()) / 2, answer["series"]


def observation(
    metric: LiveMetric, series: PrometheusSeries, answer: Mapping[str, Any], at_s: float
) -> Observation:
    """What one series of a page stands for. Raises MissingData, RefusedError."""
    kind = answer["type"]
    wanted = dict(series.labels)
    samples = [
        (name, labels, float(value), stamp)
        for name, labels, value, stamp in answer["samples"]
        if wanted.items() <= labels.items()
    ]
    if series.quantile is not None:
        return _quantile(metric, series, samples, at_s)
    if kind in ("histogram", "summary") and series.name not in {name for name, *_ in samples}:
        raise RefusedError(
            f"metric {metric.name}: {series.name} is a {kind}: say which quantile, or name "
            f"{series.name}_count or {series.name}_sum"
        )
    # a counter declared without `_total` is given it by the parser
    exact = [item for item in samples if item[0] in (series.name, f"{series.name}_total")]
    if not exact:
        raise MissingData(f"the page has no series {series.name} with these labels")
    how = metric.how or _usual(kind, series.name)
    if how is None:
        raise RefusedError(
            f"metric {metric.name}: the page does not say what {series.name} is",
            hint="add `as: rate` (a counter) or `as: value` (a gauge) to the metric",
        )
    if how is Reduction.RATE:
        return Counted(
            at_s,
            {_key(labels): value for _, labels, value, _ in exact},
            stamps={_key(labels): stamp for _, labels, _, stamp in exact if stamp is not None},
        )
    if len(exact) > 1:
        raise RefusedError(
            f"metric {metric.name}: {len(exact)} series {series.name} match, and gauges are not "
            "added up",
            hint="name labels until one is left",
        )
    _, _, value, stamp = exact[0]
    return Level(at_s, value, stamp)


def _usual(kind: str, name: str) -> Reduction | None:
    if kind == "counter":
        return Reduction.RATE
    if kind == "gauge":
        return Reduction.VALUE
    return Reduction.RATE if name.endswith(("_total", "_count", "_sum")) else None


def _quantile(
    metric: LiveMetric,
    series: PrometheusSeries,
    samples: list[tuple[str, dict[str, str], float, float | None]],
    at_s: float,
) -> Observation:
    buckets: dict[float, float] = {}
    for name, labels, value, _ in samples:
        bound = _float(labels.get("le"))
        if name == f"{series.name}_bucket" and bound is not None:
            buckets[bound] = buckets.get(bound, 0.0) + value
    if buckets:
        return Bucketed(at_s, buckets)
    exact = [
        (value, stamp)
        for name, labels, value, stamp in samples
        if name == series.name and _float(labels.get("quantile")) == series.quantile
    ]
    if not exact:
        raise MissingData(f"{series.name} has neither buckets nor the quantile {series.quantile:g}")
    if len(exact) > 1:
        raise RefusedError(
            f"metric {metric.name}: {len(exact)} series match, and quantiles can't be added up",
            hint="name labels until one is left",
        )
    return Level(at_s, *exact[0])


def _key(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={labels[name]!r}" for name in sorted(labels))


def _float(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return None if math.isnan(number) else number
