"""One run of a bundled generator: options, numbers, words. Standard library only.

Prints `key=value` lines and returns 0 when each request was answered as it should be; 1 when the
server refused, broke, answered errors or stood still; `NO_RESULT` when the generator itself could
not keep its rate: then the numbers would be its own and not the server's, so there are none.
"""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ktune.measure.job import NO_RESULT
from ktune.measure.workloads.open_loop import (
    Dialect,
    Manner,
    OpenLoop,
    Record,
)
from ktune.measure.workloads.options import OptionError, parse
from ktune.measure.workloads.schedule import NS, Spacing, due_times_ns, enough_for, percentile
from ktune.measure.workloads.target import LoadFailed, Target

COMMON: Mapping[str, Any] = {
    "unix": "",
    "host": "127.0.0.1",
    "rate": 1000.0,
    "requests": 0,
    "warm-up": -1,
    "connections": 8,
    "per-connection": 0,
    "spacing": "poisson",
    "timeout": 5.0,
    "late-after": 1.0,
    "late-share": 0.01,
    "seed": 1,
}
"""Options that all generators know: `rate` in requests a second, `timeout` in seconds, `late-after`
in ms. `requests` 0 and `warm-up` -1 stand for KTUNE_MEASURE and KTUNE_WARM_UP, and without these
for 10000 and a tenth."""
MAX_REQUESTS = 10_000_000
_PERCENTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999))


@dataclass(frozen=True)
class Load:
    """What is asked of whom. `warm_up` requests come first and are left out of the numbers."""

    target: Target
    rate_per_s: float
    requests: int
    warm_up: int
    manner: Manner
    spacing: Spacing
    seed: int
    late_after_ns: int
    late_share: float


def run(
    name: str, defaults: Mapping[str, Any], argv: list[str], dialect: Callable[..., Dialect]
) -> int:
    """The whole of a generator's `main`: `dialect(options, load)` makes its protocol."""
    try:
        options = parse(argv, {**COMMON, **defaults})
        load = load_from(options)
        due = due_times_ns(load.warm_up + load.requests, load.rate_per_s, load.spacing, load.seed)
        record = OpenLoop(load.target, dialect(options, load), load.manner, due).run()
    except (LoadFailed, OptionError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    if record.errors:
        print(f"{name}: {failures(record)}", file=sys.stderr)
        return 1
    late = late_requests(load, record)
    if late > load.late_share * load.requests:
        print(f"{name}: {overloaded(load, late)}", file=sys.stderr)
        return NO_RESULT
    for key, value in numbers(load, record, due).items():
        print(f"{key}={value}")
    return 0


def load_from(options: Mapping[str, Any]) -> Load:
    """The options that all generators know, checked. Raises OptionError."""
    requests = options["requests"] or _amount("KTUNE_MEASURE", 10_000)
    warm_up = options["warm-up"]
    if warm_up < 0:
        warm_up = _amount("KTUNE_WARM_UP", requests // 10)
    for name, low, high in (
        ("rate", 0.001, 1e7),
        ("connections", 1, 1000),
        ("per-connection", 0, MAX_REQUESTS),
        ("timeout", 0.001, 3600),
        ("late-after", 0.001, 1e6),
        ("late-share", 0, 1),
    ):
        if not low <= options[name] <= high:
            raise OptionError(f"--{name} wants {low:g} to {high:g}, got {options[name]:g}")
    if not 0 < requests <= MAX_REQUESTS or warm_up > MAX_REQUESTS:
        raise OptionError(f"--requests wants 1 to {MAX_REQUESTS}, --warm-up at most as many")
    if not options["unix"] and not 0 < options["port"] < 65536:
        raise OptionError("give --unix PATH or --port NUMBER")
    if options["spacing"] not in tuple(Spacing):
        raise OptionError(f"--spacing wants {' or '.join(Spacing)}, got {options['spacing']!r}")
    return Load(
        Target(options["unix"], options["host"], options["port"]),
        options["rate"],
        requests,
        warm_up,
        Manner(options["connections"], options["per-connection"], options["timeout"]),
        Spacing(options["spacing"]),
        options["seed"],
        round(options["late-after"] * 1e6),
        options["late-share"],
    )


def late_requests(load: Load, record: Record) -> int:
    """How many counted requests the generator itself delayed: by more than the limit, and by
    more than a tenth of the whole latency (after a stall of the server there is much to do at
    once, and that is no fault)."""
    pairs = zip(record.own[load.warm_up :], record.latency[load.warm_up :], strict=True)
    return sum(own > load.late_after_ns and own * 10 > latency for own, latency in pairs)


def numbers(load: Load, record: Record, due: array[int]) -> dict[str, str]:
    """What the counted requests say; latencies in ms. Percentiles that so few requests can't
    know are left out."""
    counted = sorted(record.latency[load.warm_up :])
    own = sorted(record.own[load.warm_up :])
    span_ns = max(record.finished[load.warm_up :]) - due[load.warm_up]
    found = {
        "requests": str(len(counted)),
        "errors": "0",
        "misses": str(sum(number >= load.warm_up for number in record.misses)),
        "reconnects": str(record.reconnects),
        "seconds": f"{span_ns / NS:.6f}",
        "rate_per_s": f"{len(counted) * NS / span_ns:.3f}",
        "offered_per_s": f"{load.rate_per_s:.3f}",
        "latency_mean_ms": _ms(sum(counted) / len(counted)),
    }
    for word, share in _PERCENTILES:
        if enough_for(share, len(counted)):
            found[f"latency_{word}_ms"] = _ms(percentile(counted, share))
    found["latency_max_ms"] = _ms(counted[-1])
    found["late_requests"] = str(late_requests(load, record))
    if enough_for(0.99, len(own)):
        found["own_delay_p99_ms"] = _ms(percentile(own, 0.99))
    return found


def failures(record: Record) -> str:
    """What went wrong, the most frequent first."""
    total = sum(record.errors.values())
    # Not most_common(): it imports a module, which a load without rights may not be able to read.
    kinds = sorted(record.errors.items(), key=lambda item: -item[1])[:5]
    told = ", ".join(f"{error} (x{count})" for error, count in kinds)
    return f"{total} of {len(record.latency)} requests failed: {told}"


def overloaded(load: Load, late: int) -> str:
    """Why there is no result."""
    return (
        f"no result: the generator could not keep {load.rate_per_s:g} requests/s, its own delays "
        f"were more than {load.late_after_ns / 1e6:g} ms in {late} of {load.requests} (limit "
        f"{load.late_share:.1%}); give it a CPU of its own, or a lower --rate"
    )


def _amount(variable: str, default: int) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else default


def _ms(ns: float) -> str:
    return f"{ns / 1e6:.6f}"
