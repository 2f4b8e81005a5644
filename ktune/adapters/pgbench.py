"""pgbench's report and its log of transactions (`--log`), PostgreSQL 14 or newer.

Sources: pgbench(1), "Per-Transaction Logging"; src/bin/pgbench/pgbench.c, processXactStats: the
logged time counts from when the transaction was due (`--rate`), else from its begin.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from ktune.adapters.folder import UnreadableError
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
    nearest_rank,
)
from ktune.adapters.options import has, number_of, per_second, value_of

_FLAGS = "CdilnNqrSv"
_PREFIX = "pgbench_log"
_FIELDS = {
    "tps": FieldSpec("1/s", Better.MORE, "transactions per second, without connecting"),
    "transactions": FieldSpec("", Better.NEITHER, "transactions measured"),
    "latency_mean": FieldSpec("ms", Better.LESS, "mean time of a transaction", True),
    "latency_stddev": FieldSpec("ms", Better.LESS, "its standard deviation, by the log", True),
    "latency_max": FieldSpec("ms", Better.LESS, "longest transaction, by the log", True),
    "lag_mean": FieldSpec("ms", Better.LESS, "how late transactions began (--rate)", True),
    "failed": FieldSpec("", Better.LESS, "transactions that failed"),
    "skipped": FieldSpec("", Better.LESS, "transactions not begun (--rate, --latency-limit)"),
    "connection_time": FieldSpec("ms", Better.LESS, "time to connect all clients"),
}
_PERCENTILES = Percentiles("latency_p", "ms", "time of a transaction, by the log")
_LINES = {
    "latency_mean": r"latency average = ([0-9.]+) ms",
    "lag_mean": r"rate limit schedule lag: avg ([0-9.]+) ",
    "failed": r"number of failed transactions: ([0-9]+) ",
    "skipped": r"number of transactions skipped: ([0-9]+) ",
    "connection_time": r"initial connection time = ([0-9.]+) ms",
    "tps": r"tps = ([0-9.]+) \(without initial connection time\)",
}
_PROCESSED = re.compile(r"^number of transactions actually processed: ([0-9]+)(?:/([0-9]+))?", re.M)
_CUT = ("tps", "transactions", "latency_mean")
"""Fields of the report that a warm-up changes."""
_WITHOUT_TIME = frozenset({"skipped", "failed", "serialization", "deadlock"})
_NEEDS = {"lag_mean": "--rate", "skipped": "--latency-limit"}


@dataclass(frozen=True)
class Logged:
    """What the log says after the warm-up: sorted times in us, and the seconds from the end of the
    warm-up's last transaction to that of the last one."""

    times_us: tuple[int, ...]
    over_s: float


def read(output: ToolOutput) -> dict[str, Number]:
    """The wanted fields. Raises AdapterError."""
    text = output.stdout
    processed = _processed(text)
    wants_log = output.warm_up > 0 or any(_by_log(name) for name in output.wanted)
    logged = _logged(output, processed) if wants_log else None
    found = {}
    for name in output.wanted:
        if logged is not None and (_by_log(name) or (output.warm_up and name in _CUT)):
            value = _from_log(logged, name)
        elif name == "transactions":
            value = float(processed)
        else:
            value = _from_report(text, name)
        found[name] = Number(value, (ADAPTER.spec(name) or _FIELDS["tps"]).unit)
    return found


def complaint(output: ToolOutput) -> str:
    """Clients that gave up: pgbench goes on with the others and still prints numbers."""
    for line in (*output.stderr.splitlines(), *output.stdout.splitlines()):
        if re.search(r"\bclient [0-9]+ (script [0-9]+ )?aborted\b|Run was aborted|: fatal: ", line):
            return f"pgbench: {line.strip().removeprefix('pgbench: ')[:200]}"
    found = _PROCESSED.search(output.stdout)
    if found and found[2] and found[1] != found[2] and not _count(output.stdout, "skipped"):
        short = int(found[2]) - int(found[1]) - _count(output.stdout, "failed")
        if short > 0:
            return f"pgbench processed only {found[1]} of {found[2]} transactions"
    return ""


def _processed(text: str) -> int:
    found = _PROCESSED.search(text)
    if found is None:
        raise AdapterError(
            "pgbench printed no report (no 'number of transactions actually processed')"
        )
    return int(found[1])


def _count(text: str, name: str) -> int:
    found = re.search(_LINES[name], text)
    return int(found[1]) if found else 0


def _from_report(text: str, name: str) -> float:
    found = re.search(_LINES[name], text)
    if found:
        return amount(found[1], name)
    if name == "tps" and "including connections establishing" in text:
        raise AdapterError("this pgbench is older than PostgreSQL 14, whose report is another")
    needs = _NEEDS.get(name)
    raise AdapterError(f"pgbench's report has no {name}" + (f": it needs {needs}" if needs else ""))


def _by_log(name: str) -> bool:
    return name in ("latency_max", "latency_stddev") or _PERCENTILES.level(name) is not None


def _from_log(logged: Logged, name: str) -> float:
    times = logged.times_us
    if name == "transactions":
        return float(len(times))
    if name == "tps":
        if logged.over_s <= 0:
            raise AdapterError("the transactions after the warm-up took no time")
        return len(times) / logged.over_s
    if name == "latency_max":
        return times[-1] / 1000
    mean = sum(times) / len(times)
    if name == "latency_mean":
        return mean / 1000
    if name == "latency_stddev":
        return math.sqrt(sum((time - mean) ** 2 for time in times) / len(times)) / 1000
    level = _PERCENTILES.level(name)
    assert level is not None, name
    return nearest_rank(times, level, "transactions") / 1000


def _logged(output: ToolOutput, processed: int) -> Logged:
    """The log of all threads after the warm-up. Raises AdapterError."""
    prefix = value_of(output.argv, "--log-prefix") or _PREFIX
    if output.folder is None:
        raise AdapterError("there is no folder with pgbench's log")
    try:
        texts = output.folder.texts(f"{prefix}.")
    except UnreadableError as error:
        raise AdapterError(f"pgbench's log: {error}") from None
    if not texts:
        raise AdapterError("pgbench left no log in the window's folder: it needs --log")
    ended: list[tuple[int, int]] = []
    for name, text in texts.items():
        ended.extend(_rows(name, text))
    if len(ended) != processed:
        raise AdapterError(
            f"pgbench's log has {len(ended)} transactions, its report {processed}: it is not whole"
        )
    ended.sort()
    cut = output.warm_up
    if len(ended) <= cut:
        raise AdapterError(f"{len(ended)} transactions leave nothing after a warm-up of {cut}")
    begin_us = ended[cut - 1][0] if cut else min(end - time for end, time in ended)
    times = tuple(sorted(time for _, time in ended[cut:]))
    return Logged(times, (ended[-1][0] - begin_us) / 1e6)


def _rows(name: str, text: str) -> Iterator[tuple[int, int]]:
    """(end in us since the epoch, time in us) of each transaction that was carried out."""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split(" ")
        if len(words) > 2 and words[2] in _WITHOUT_TIME:
            continue
        try:
            yield int(words[4]) * 1_000_000 + int(words[5]), int(words[2])
        except (IndexError, ValueError):
            raise AdapterError(
                f"pgbench's log, {name[:40]} line {number}: {line[:60]!r} is no transaction"
            ) from None


def pace(argv: Sequence[str]) -> Pace:
    """Open with `--rate`: latency then counts from when the transaction was due."""
    rate = number_of(argv, "--rate", "-R")
    return Pace(Loop.OPEN, per_second(rate)) if rate else Pace(Loop.CLOSED)


def problems(argv: Sequence[str], wanted: Collection[str], warm_up: int) -> Iterator[str]:
    """What the log needs."""
    if not (warm_up or any(_by_log(name) for name in wanted)):
        return
    if not has(argv, "--log", "-l", bundled=_FLAGS):
        what = (
            "a warm-up" if warm_up else ", ".join(name for name in sorted(wanted) if _by_log(name))
        )
        yield f"pgbench must log its transactions for {what}: add --log"
    if value_of(argv, "--aggregate-interval") is not None:
        yield "pgbench must log each transaction: leave out --aggregate-interval"
    if value_of(argv, "--sampling-rate") is not None:
        yield "pgbench must log each transaction: leave out --sampling-rate"
    if "/" in (value_of(argv, "--log-prefix") or ""):
        yield "pgbench's log must lie in the window's folder: leave the path out of --log-prefix"


def notes(argv: Sequence[str]) -> Iterator[str]:
    """What ends by time."""
    if value_of(argv, "--time", "-T") is not None:
        yield "pgbench ends by time (--time): its windows do different amounts of work"


ADAPTER = Adapter(
    name="pgbench",
    title="pgbench",
    programs=("pgbench",),
    package="postgresql",
    fields=_FIELDS,
    percentiles=(_PERCENTILES,),
    read=read,
    complaint=complaint,
    pace=pace,
    problems=problems,
    notes=notes,
    cuts_warm_up=True,
)
