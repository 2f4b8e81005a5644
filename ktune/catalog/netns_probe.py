"""The catalog's `net.*` knobs in a network namespace of this process's own.

Run as a child (`python -m ktune.catalog.netns_probe [--write]`), because a process that has left
its namespace can't safely come back. With --write it also tries each knob's limits there: nothing
that it writes outlives it, and no knob outside `net.` is touched.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from ktune.catalog.catalog import Catalog, load_catalog
from ktune.catalog.model import CouplingKind, KnobEntry, Match
from ktune.catalog.observe import Observation, observe
from ktune.kernel.limits import host_facts
from ktune.kernel.namespaces import new_network
from ktune.kernel.tunable import Outcome, read_value, write_value
from ktune.kernel.values import Value, ValueFormatError

_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Refusal:
    """A limit of the catalog that the kernel does not take."""

    key: str
    value: str
    why: str


@dataclass(frozen=True)
class Probe:
    """What a fresh namespace shows; `error` says why there is none."""

    observations: tuple[Observation, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    tried: int = 0
    error: str = ""


def probe(*, write: bool) -> Probe:
    """Start the child and read its findings. Never raises OSError."""
    command = [sys.executable, "-m", "ktune.catalog.netns_probe", *(["--write"] if write else [])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Probe(error=str(error))
    if done.returncode:
        return Probe(error=(done.stderr.strip().splitlines() or ["no message"])[-1])
    raw = json.loads(done.stdout)
    return Probe(
        tuple(Observation(**item) for item in raw["observations"]),
        tuple(Refusal(**item) for item in raw["refusals"]),
        raw["tried"],
    )


def main(argv: Sequence[str]) -> int:
    """The child: enter a namespace, look, and print JSON."""
    try:
        new_network(with_user_namespace=False)
    except PermissionError:
        new_network(with_user_namespace=True)
    catalog = load_catalog()
    entries = [item for item in catalog.tunable() if item.name.startswith("net.")]
    found = [observe(item.name, _match(catalog, item.name).path) for item in entries]
    tried, refusals = _try_limits(catalog, entries) if "--write" in argv else (0, [])
    json.dump(
        {
            "observations": [asdict(item) for item in found],
            "refusals": [asdict(item) for item in refusals],
            "tried": tried,
        },
        sys.stdout,
    )
    return 0


def _try_limits(catalog: Catalog, entries: Sequence[KnobEntry]) -> tuple[int, list[Refusal]]:
    facts, tried, refusals = host_facts(), 0, []
    for entry in entries:
        match = _match(catalog, entry.name)
        if not entry.namespaced or not observe(match.key, match.path).writable:
            continue
        low, high = entry.limits(facts)
        for value, edge in ((low, 0), (high, 1), *((item, 1) for item in entry.special)):
            if value is None:
                continue
            tried += 1
            why = _try(catalog, match, _whole(entry, value), edge, facts)
            if why:
                refusals.append(Refusal(entry.name, str(value), why))
    return tried, refusals


def _try(
    catalog: Catalog, match: Match, value: Value, edge: int, facts: dict[str, int]
) -> str | None:
    """Why the kernel refuses `value`, with ordered partners moved out of its way first."""
    kinds = (CouplingKind.NOT_BELOW, CouplingKind.NOT_ABOVE)
    partners = [
        _match(catalog, key)
        for coupling in match.entry.couplings
        if coupling.kind is kinds[edge]
        for key in coupling.keys
    ]
    with _kept([match, *partners]):
        for partner in partners:
            bound = partner.entry.limits(facts)[edge]
            if bound is not None:
                write_value(partner.to_tunable(), bound, None)
        result = write_value(match.to_tunable(), value, None)
    if result.outcome is Outcome.CLAMPED:
        return f"it stores {result.observed!r} instead"
    return None if result.outcome.success else result.message


@contextmanager
def _kept(held: Sequence[Match]) -> Iterator[None]:
    """Put the values of `held` back, twice, so that their order does not matter."""
    values: list[tuple[Match, Value]] = []
    for match in held:
        try:
            values.append((match, read_value(match.to_tunable())))
        except (OSError, ValueFormatError):
            continue  # a value that can't be read can't be put back; the namespace ends anyway
    yield
    for match, value in values * 2:
        write_value(match.to_tunable(), value, None)


def _whole(entry: KnobEntry, value: Value) -> Value:
    return (value,) * entry.length if entry.length and isinstance(value, int) else value


def _match(catalog: Catalog, key: str) -> Match:
    match = catalog.find(key)
    if match is None:
        raise LookupError(f"{key} is coupled with, but not in the catalog")
    return match


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
