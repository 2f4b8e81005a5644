"""iperf3's JSON report (`--json`), iperf 3.1 or newer: the sums over all streams in `end`."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ktune.adapters.model import (
    Adapter,
    AdapterError,
    Better,
    FieldSpec,
    Loop,
    Number,
    Pace,
    ToolOutput,
)
from ktune.adapters.options import has, value_of

_FIELDS = {
    "sent": FieldSpec("bit/s", Better.MORE, "bits per second that the sender handed over"),
    "received": FieldSpec("bit/s", Better.MORE, "bits per second that the receiver got"),
    "bytes": FieldSpec("B", Better.NEITHER, "bytes received"),
    "time": FieldSpec("s", Better.LESS, "time that the transfer took"),
    "retransmits": FieldSpec("", Better.LESS, "TCP segments sent again"),
    "rtt_mean": FieldSpec("us", Better.LESS, "mean round-trip time of the streams (TCP)"),
    "jitter": FieldSpec("ms", Better.LESS, "variation of the delay (UDP)"),
    "lost": FieldSpec("%", Better.LESS, "datagrams lost (UDP)"),
    "cpu_local": FieldSpec("%", Better.LESS, "CPU time of this side, of one CPU"),
    "cpu_remote": FieldSpec("%", Better.LESS, "CPU time of the other side, of one CPU"),
}
_OF_SUMS = {
    "sent": ("sum_sent", "bits_per_second"),
    "received": ("sum_received", "bits_per_second"),
    "bytes": ("sum_received", "bytes"),
    "time": ("sum_received", "seconds"),
    "retransmits": ("sum_sent", "retransmits"),
    "jitter": ("sum", "jitter_ms"),
    "lost": ("sum", "lost_percent"),
    "cpu_local": ("cpu_utilization_percent", "host_total"),
    "cpu_remote": ("cpu_utilization_percent", "remote_total"),
}


def read(output: ToolOutput) -> dict[str, Number]:
    """The wanted fields. Raises AdapterError."""
    end = _report(output.stdout).get("end")
    if not isinstance(end, dict) or not end:
        raise AdapterError("iperf3's report has no end: the transfer was cut off")
    return {name: Number(_value(end, name), _FIELDS[name].unit) for name in output.wanted}


def complaint(output: ToolOutput) -> str:
    """The error that it puts into its report."""
    try:
        said = _report(output.stdout).get("error")
    except AdapterError:
        return ""
    return f"iperf3: {str(said)[:200]}" if said else ""


def _report(stdout: str) -> Mapping[str, Any]:
    try:
        report = json.loads(stdout)
    except (ValueError, RecursionError):
        report = None
    if not isinstance(report, dict):
        begins = stdout.strip().partition("\n")[0][:60]
        raise AdapterError(f"iperf3 printed no JSON report (it begins with {begins!r}): add --json")
    return report


def _value(end: Mapping[str, Any], name: str) -> float:
    if name == "rtt_mean":
        return _rtt_us(end)
    part, key = _OF_SUMS[name]
    if part not in end and part.startswith("sum_"):
        part = "sum"  # UDP, and what 3.1 to 3.6 report of it
    return _number(end.get(part), key, name)


def _rtt_us(end: Mapping[str, Any]) -> float:
    streams = end.get("streams")
    senders = [item.get("sender") for item in streams] if isinstance(streams, list) else []
    if not senders:
        raise AdapterError("iperf3's report has no streams, which rtt_mean needs (TCP only)")
    return sum(_number(sender, "mean_rtt", "rtt_mean") for sender in senders) / len(senders)


def _number(part: object, key: str, name: str) -> float:
    value = part.get(key) if isinstance(part, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise AdapterError(f"iperf3's report of this transfer has no {key}, which {name} needs")
    return float(value)


def pace(_argv: Sequence[str]) -> Pace:
    """A stream of bytes: nobody waits for an answer."""
    return Pace(Loop.NONE)


def problems(argv: Sequence[str], _wanted: Collection[str], _warm_up: int) -> Iterator[str]:
    """Options without which there is no report."""
    if not has(argv, "--json", "-J", bundled="sDdV1uRZJ46"):
        yield "iperf3 must report by JSON: add --json"
    if has(argv, "--json-stream"):
        yield "iperf3 must print one report: leave out --json-stream"
    if value_of(argv, "--logfile") is not None:
        yield "iperf3 must print its report: leave out --logfile"


def notes(argv: Sequence[str]) -> Iterator[str]:
    """10 s are its default; its own part in an OMIT of seconds is a time, too."""
    if not any(value_of(argv, *names) for names in (("--bytes", "-n"), ("--blockcount", "-k"))):
        yield (
            "iperf3 ends by time (10 s where not given): for a fixed amount of work --bytes SIZE"
        )


ADAPTER = Adapter(
    name="iperf3",
    title="iperf3",
    programs=("iperf3",),
    package="iperf3",
    fields=_FIELDS,
    read=read,
    complaint=complaint,
    pace=pace,
    problems=problems,
    notes=notes,
)
