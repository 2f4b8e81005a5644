"""What ktune's own generators print (measure/workloads/load_run.py): a loop at a fixed rate."""

from __future__ import annotations

from collections.abc import Sequence

from ktune.adapters.model import (
    Adapter,
    AdapterError,
    Better,
    FieldSpec,
    Loop,
    Number,
    Pace,
    Percentiles,
    ToolOutput,
    amount,
)
from ktune.adapters.options import number_of, per_second

_PERCENTILES = Percentiles(
    "latency_p", "ms", "latency from when a request was due", ("50", "90", "99", "99.9")
)
_FIELDS = {
    "rps": FieldSpec("1/s", Better.MORE, "requests answered per second"),
    "requests": FieldSpec("", Better.NEITHER, "requests measured"),
    "time": FieldSpec("s", Better.LESS, "from the first being due to the last answer"),
    "latency_mean": FieldSpec("ms", Better.LESS, "mean latency from when it was due", True),
    "latency_max": FieldSpec("ms", Better.LESS, "longest latency from when it was due", True),
    "misses": FieldSpec("", Better.LESS, "keys that the server did not have"),
    "reconnects": FieldSpec("", Better.LESS, "connections that the server closed"),
}
_KEYS = {
    "rps": "rate_per_s",
    "time": "seconds",
    "latency_mean": "latency_mean_ms",
    "latency_max": "latency_max_ms",
}
_USUAL_RATE = 1000.0


def read(output: ToolOutput) -> dict[str, Number]:
    """The wanted fields. Raises AdapterError."""
    lines = (line.partition("=") for line in output.stdout.splitlines())
    said = {key: value for key, equals, value in lines if equals}
    found = {}
    for name in output.wanted:
        level = _PERCENTILES.level(name)
        key = _KEYS.get(name, name)
        if level is not None:
            key = f"latency_p{f'{level:g}'.replace('.', '')}_ms"
        if key not in said:
            few = ": too few requests for this percentile" if level and said else ""
            raise AdapterError(f"the generator printed no {key}{few}")
        found[name] = Number(amount(said[key], name), (ADAPTER.spec(name) or _FIELDS["rps"]).unit)
    return found


def pace(argv: Sequence[str]) -> Pace:
    """Always at a fixed rate."""
    return Pace(Loop.OPEN, per_second(number_of(argv, "--rate") or _USUAL_RATE))


ADAPTER = Adapter(
    name="ktune-load",
    title="ktune's generator",
    programs=("ktune-http-load", "ktune-resp-load", "ktune-memcached-load"),
    package="ktune",
    fields=_FIELDS,
    percentiles=(_PERCENTILES,),
    read=read,
    pace=pace,
    cuts_warm_up=True,
)
