"""Does the running kernel contradict the catalog? Decisions only: `observe` reads, this judges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ktune.catalog.catalog import Catalog
from ktune.catalog.model import DEVICE, CouplingKind, KnobEntry, Match, Version
from ktune.catalog.netns_probe import Probe, probe
from ktune.catalog.observe import Observation, kernel_version, matches, observe
from ktune.kernel.limits import host_facts
from ktune.kernel.values import ValueFormatError, ValueType, choices_of, parse


class Level(StrEnum):
    """How bad a finding is."""

    CONTRADICTION = "contradiction"
    """The catalog is wrong for this kernel."""
    NOTE = "note"
    """Worth knowing; the catalog may still be right."""


@dataclass(frozen=True)
class Finding:
    """One sentence about one knob."""

    level: Level
    key: str
    text: str


@dataclass(frozen=True)
class Report:
    """The verdict on the whole catalog. Names are entries, not files."""

    read: tuple[str, ...]
    missing: tuple[str, ...]
    """Not here, and the entry says why that can be."""
    findings: tuple[Finding, ...]
    limits_tried: int = 0
    notes: tuple[str, ...] = field(default=())

    @property
    def contradictions(self) -> tuple[Finding, ...]:
        """What must be put right."""
        return tuple(item for item in self.findings if item.level is Level.CONTRADICTION)


@dataclass(frozen=True)
class Context:
    """What findings depend on besides the file."""

    version: Version
    facts: Mapping[str, int]


def run_check(catalog: Catalog, *, write_in_netns: bool = True) -> Report:
    """Read every knob here, and the `net.` ones in a fresh network namespace too.

    Limits are tried by writing only in that namespace, which dies with its child process.
    """
    context = Context(kernel_version(), host_facts())
    inside = probe(write=write_in_netns)
    seen_inside = {item.key: item for item in inside.observations}
    read, missing = [], []
    findings = list(judge_catalog(catalog, context))
    for entry in catalog.tunable():
        observed = [(item, observe(item.key, item.path)) for item in matches(catalog, entry)]
        own = seen_inside.get(entry.name)
        findings += judge_entry(entry, observed, own, context)
        if any(item.text is not None for _, item in observed) or (own and own.text is not None):
            read.append(entry.name)
        else:
            missing.append(entry.name)
    findings += _refused(inside)
    notes = (f"no network namespace of its own: {inside.error}",) if inside.error else ()
    bad = {item.key for item in findings if item.level is Level.CONTRADICTION}
    return Report(
        tuple(read),
        tuple(name for name in missing if name not in bad),
        tuple(findings),
        inside.tried,
        notes,
    )


def judge_catalog(catalog: Catalog, context: Context) -> Iterator[Finding]:
    """What needs no kernel: defaults in limits, limits in order, couplings that resolve."""
    for entry in catalog.tunable():
        low, high = entry.limits(context.facts)
        if isinstance(low, int) and isinstance(high, int) and low > high:
            yield _wrong(
                entry.name, f"on this machine the minimum {low} is above the maximum {high}"
            )
        unset = entry.zero_unwritable and entry.default == 0
        fits = entry.default is None or unset or entry.accepts(entry.default, context.facts)
        if not fits:
            yield _wrong(entry.name, f"the default {entry.default!r} is out of limits")
        for coupling in entry.couplings:
            for key in coupling.keys:
                if not _known(catalog, key):
                    yield _wrong(entry.name, f"{coupling.kind.value} names {key}, which is unknown")
                elif coupling.kind is CouplingKind.EITHER_OR and DEVICE in key:
                    yield _wrong(entry.name, "either_or names a pattern")


def judge_entry(
    entry: KnobEntry,
    observed: Iterable[tuple[Match, Observation]],
    inside: Observation | None,
    context: Context,
) -> Iterator[Finding]:
    """One entry against its files here, and in a namespace of its own."""
    for match, item in observed:
        yield from _judge_file(match, item, context)
    if inside is None:
        return
    if entry.namespaced and inside.missing and _expected(entry, context):
        yield _wrong(entry.name, "said to be namespaced, but a new network namespace lacks it")
    elif not entry.namespaced and inside.writable:
        yield _wrong(
            entry.name, "writable in a new network namespace, but not said to be namespaced"
        )
    elif entry.namespaced and not inside.missing and not inside.writable:
        yield _wrong(entry.name, "said to be namespaced, but read-only in a new network namespace")


def _judge_file(match: Match, item: Observation, context: Context) -> Iterator[Finding]:
    entry = match.entry
    if item.missing:
        if _expected(entry, context):
            yield _wrong(item.key, "missing, and nothing in the entry says why")
        return
    if not entry.in_kernel(context.version):
        yield _note(item.key, "here, although the entry's versions leave this kernel out")
    if item.text is None:
        if not entry.condition:
            yield _note(item.key, f"can't be read: {item.why}")
        return
    yield from _judge_text(match, item.text, context)


def _judge_text(match: Match, text: str, context: Context) -> Iterator[Finding]:
    entry = match.entry
    try:
        value = parse(entry.type, text)
    except ValueFormatError as error:
        yield _wrong(match.key, f"not of type {entry.type.value}: {error}")
        return
    if isinstance(value, tuple) and entry.length != len(value):
        yield _wrong(match.key, f"has {len(value)} numbers, the entry says {entry.length}")
        return
    if entry.type is ValueType.CHOICE and entry.choices:
        unknown = set(choices_of(text)) - set(entry.choices)
        if unknown:
            yield _note(match.key, f"offers words the entry lacks: {' '.join(sorted(unknown))}")
    partner_rules = value == 0 and any(
        coupling.kind is CouplingKind.EITHER_OR for coupling in entry.couplings
    )
    if not partner_rules and not entry.accepts(value, context.facts):
        yield _note(match.key, f"the current value {value!r} is out of the catalog's limits")


def _expected(entry: KnobEntry, context: Context) -> bool:
    return entry.in_kernel(context.version) and not entry.condition


def _known(catalog: Catalog, key: str) -> bool:
    """Whether a coupled key, pattern or glob names entries of the catalog."""
    if catalog.entry(key) or catalog.find(key.replace(DEVICE, "device")):
        return True
    if "*" not in key:
        return False
    head = key.partition("*")[0]
    return any(entry.name.startswith(head) for entry in catalog) or bool(
        catalog.find(key.replace(DEVICE, "device").replace("*", "glob"))
    )


def _refused(inside: Probe) -> Iterator[Finding]:
    for item in inside.refusals:
        yield _wrong(item.key, f"the kernel does not take the limit {item.value}: {item.why}")


def _wrong(key: str, text: str) -> Finding:
    return Finding(Level.CONTRADICTION, key, text)


def _note(key: str, text: str) -> Finding:
    return Finding(Level.NOTE, key, text)
