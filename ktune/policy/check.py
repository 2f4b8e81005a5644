"""May this policy be applied here? Host fit, age, scope, and every knob by the catalog.

Pure: host facts, catalog and time come in, all that is wrong comes out together.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ktune.catalog.catalog import Catalog
from ktune.catalog.model import KnobEntry
from ktune.kernel.tunable import Assignment, Tunable
from ktune.kernel.values import Value, ValueFormatError, parse
from ktune.kernel.versions import comparisons, kernel_version, version_holds
from ktune.policy.load import LoadedPolicy
from ktune.profile import units
from ktune.profile.errors import PlanRefusedError, Problem, shown
from ktune.profile.host import HostFacts
from ktune.records import clock

_OPERATORS: Mapping[str, Callable[[int, int], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_MEM_SLACK = 1.05


@dataclass(frozen=True)
class PolicyKnob:
    """One knob of a policy as it is on this host."""

    tunable: Tunable
    value: Value
    baseline: Value
    """What it was proven against."""
    kernel_moves: bool
    takes_effect: str


@dataclass(frozen=True)
class CheckedPolicy:
    """A policy that may be applied here."""

    policy: LoadedPolicy
    knobs: tuple[PolicyKnob, ...]
    leaves: Mapping[str, Assignment] = field(default_factory=dict)
    """Of an adaptive policy: the assignments by name."""

    @property
    def assignment(self) -> Assignment:
        return {knob.tunable.key: knob.value for knob in self.knobs}


def check(
    policy: LoadedPolicy,
    *,
    host: HostFacts,
    catalog: Catalog,
    now: datetime | None,
    in_namespace: bool,
) -> CheckedPolicy:
    """Every knob resolved, or all reasons why not. Without `now` its age does not matter.

    Raises:
        PlanRefusedError: the policy does not fit, is too old, or names what it must not (exit 4).
    """
    problems = list(_host_problems(policy, host, now))
    knobs = []
    for key in policy.document.assignment:
        found = _knob(policy, key, catalog, host, in_namespace=in_namespace)
        if isinstance(found, Problem):
            problems.append(found)
        else:
            knobs.append(found)
    contexts = policy.document.contexts
    leaves = {
        name: _leaf(policy, name, problems, catalog=catalog, host=host)
        for name in (contexts.leaves if contexts else ())
    }
    if problems:
        raise PlanRefusedError(problems, hint="nothing was changed")
    return CheckedPolicy(policy, tuple(knobs), leaves)


def _leaf(
    policy: LoadedPolicy,
    name: str,
    problems: list[Problem],
    *,
    catalog: Catalog,
    host: HostFacts,
) -> Assignment:
    """A leaf's values; what is wrong with them joins `problems` (unknown knobs did before)."""
    assert policy.document.contexts is not None
    found = {}
    for key, raw in policy.document.contexts.leaves[name].assignment.items():
        match = catalog.find(key)
        if match is None:
            continue
        where = policy.mark("contexts", "leaves", name, "assignment", key)
        try:
            value = _typed(match.entry, raw)
        except ValueFormatError as error:
            problems.append(Problem(where, f"{shown(key)}: {error}"))
            continue
        found[key] = value
        if not match.entry.accepts(value, host.numbers):
            limits = _limits(match.entry, host)
            said = f"{shown(key)}: {shown(value)} is outside the hard limits ({limits})"
            problems.append(Problem(where, said))
    return found


def _host_problems(
    policy: LoadedPolicy, host: HostFacts, now: datetime | None
) -> Iterator[Problem]:
    document = policy.document
    if now is not None and now > clock.moment(document.not_after):
        yield Problem(
            policy.mark("not_after"),
            f"the policy was valid until {document.not_after}: tune again, or freeze its study "
            "again with --valid-days",
        )
    if not _kernel_fits(document.fits.kernel, host.kernel):
        yield Problem(
            policy.mark("fits", "kernel"),
            f"made for kernel {document.fits.kernel}, this is {host.kernel}",
        )
    if not _mem_fits(document.fits.mem, host.mem_bytes):
        yield Problem(
            policy.mark("fits", "mem"),
            f"made for memory {document.fits.mem}, this host has "
            f"{host.mem_bytes / 1024**3:.1f} GiB",
        )
    if document.host.arch != host.arch:
        yield Problem(
            policy.mark("host", "arch"), f"proven on {document.host.arch}, this is {host.arch}"
        )


def _kernel_fits(expression: str, release: str) -> bool:
    version = kernel_version(release)
    return all(version_holds(version, sign, right) for sign, right in comparisons(expression))


def _mem_fits(expression: str, mem_bytes: int) -> bool:
    """MemTotal lacks what firmware and kernel keep for themselves: a minimum gets 5 %."""
    return all(
        _OPERATORS[sign](int(mem_bytes * _MEM_SLACK) if sign in (">", ">=") else mem_bytes, limit)
        for sign, limit in ((sign, units.size(right)) for sign, right in comparisons(expression))
    )


def _knob(
    policy: LoadedPolicy, key: str, catalog: Catalog, host: HostFacts, *, in_namespace: bool
) -> PolicyKnob | Problem:
    def wrong(message: str) -> Problem:
        return Problem(policy.mark("assignment", key), f"{shown(key)}: {message}")

    match = catalog.find(key)
    if match is None:
        near = catalog.nearest(key)
        hint = f"; did you mean {near[0]}?" if near else ""
        return wrong(f"the catalog does not know it{hint}")
    entry = match.entry
    if not entry.tunable:
        return wrong(f"never tuned: {entry.reason}")
    if in_namespace and not entry.namespaced:
        return wrong("belongs to the whole host: a namespace is no protection for it")
    if not entry.in_kernel(_major_minor(host.kernel)):
        return wrong(f"the kernel {host.kernel} does not have it")
    try:
        value = _typed(entry, policy.document.assignment[key])
        baseline = _typed(entry, policy.document.baseline[key])
    except ValueFormatError as error:
        return wrong(str(error))
    if not entry.accepts(value, host.numbers):
        return wrong(f"{shown(value)} is outside the hard limits ({_limits(entry, host)})")
    return PolicyKnob(
        match.to_tunable(), value, baseline, entry.kernel_moves, entry.takes_effect.value
    )


def _typed(entry: KnobEntry, raw: int | str) -> Value:
    """A number may be written for a knob of words (`enabled: 1`) and the other way round."""
    return parse(entry.type, str(raw))


def _limits(entry: KnobEntry, host: HostFacts) -> str:
    if entry.choices is not None:
        return "one of " + ", ".join(entry.choices)
    low, high = entry.limits(host.numbers)
    return f"{_word(low)} to {_word(high)}"


def _word(bound: Value | None) -> str:
    if bound is None:
        return "any"
    return " ".join(map(str, bound)) if isinstance(bound, tuple) else str(bound)


def _major_minor(release: str) -> tuple[int, int]:
    version = (*kernel_version(release), 0)
    return version[0], version[1]
