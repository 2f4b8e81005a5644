"""What client and guardian exchange: plain frozen data with a JSON form. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ktune.kernel.tunable import Outcome, Tunable, WriteResult
from ktune.kernel.values import Value, ValueType

Json = dict[str, Any]

PROTOCOL_VERSION = 1


class ProxyError(Exception):
    """The guardian refuses a request; `kind` is stable, the text is for people."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def value_to_json(value: Value | None) -> Any:
    """JSON form: a vector is a list."""
    return list(value) if isinstance(value, tuple) else value


def value_from_json(kind: ValueType, raw: Any) -> Value:
    """The typed value behind its JSON form.

    Raises:
        ProxyError: the form does not fit the type.
    """
    if kind is ValueType.INT and isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    if kind is ValueType.VECTOR and isinstance(raw, list) and raw:
        if all(isinstance(item, int) and not isinstance(item, bool) for item in raw):
            return tuple(raw)
    elif kind not in (ValueType.INT, ValueType.VECTOR) and isinstance(raw, str):
        return raw
    raise ProxyError("bad-value", f"{raw!r} is not a value of type {kind.value}")


@dataclass(frozen=True)
class LeaseTunable:
    """A tunable with the limits that the profile sets; the guardian adds the catalog's own.

    `minimum`/`maximum`: int, or per element for a vector; `special` values are always allowed.
    """

    tunable: Tunable
    minimum: Value | None = None
    maximum: Value | None = None
    choices: tuple[str, ...] | None = None
    special: tuple[Value, ...] = ()

    def to_json(self) -> Json:
        return {
            "key": self.tunable.key,
            "type": self.tunable.type.value,
            "min": value_to_json(self.minimum),
            "max": value_to_json(self.maximum),
            "choices": None if self.choices is None else list(self.choices),
            "special": [value_to_json(item) for item in self.special],
        }


@dataclass(frozen=True)
class Writer:
    """Who wrote, as the BPF guard saw it. `pid`: as the initial pid namespace counts; `netns`:
    cookie of its network namespace, None where it could not be had."""

    pid: int
    comm: str
    uid: int
    netns: int | None

    @property
    def text(self) -> str:
        """For people."""
        where = "" if self.netns is None else f", network namespace {self.netns}"
        return f"{self.comm} (pid {self.pid}, uid {self.uid}{where})"

    def to_json(self) -> Json:
        return dict(self.__dict__)

    @classmethod
    def from_json(cls, raw: Json) -> Writer:
        netns = raw["netns"]
        where = None if netns is None else int(netns)
        return cls(int(raw["pid"]), str(raw["comm"]), int(raw["uid"]), where)


@dataclass(frozen=True)
class ForeignWrite:
    """Somebody else changed a leased knob: we last observed `expected`, now there is `found`.

    `by`: who it was, None where only polling noticed.
    """

    key: str
    expected: Value | None
    found: Value | None
    by: Writer | None = field(default=None, compare=False)

    def to_json(self) -> Json:
        return {
            "key": self.key,
            "expected": value_to_json(self.expected),
            "found": value_to_json(self.found),
            "by": None if self.by is None else self.by.to_json(),
        }

    @classmethod
    def from_json(cls, raw: Json) -> ForeignWrite:
        by = None if raw.get("by") is None else Writer.from_json(raw["by"])
        return cls(str(raw["key"]), thaw(raw["expected"]), thaw(raw["found"]), by)


@dataclass(frozen=True)
class ApplyReport:
    """What became of one switch."""

    results: tuple[WriteResult, ...]
    foreign: tuple[ForeignWrite, ...] = ()

    @property
    def ok(self) -> bool:
        """Every knob is as intended and nobody else wrote one."""
        return not self.foreign and all(result.outcome.success for result in self.results)

    @property
    def problems(self) -> tuple[str, ...]:
        """One line for each knob that is not as intended."""
        bad = [result.message for result in self.results if not result.outcome.success]
        return (*bad, *(foreign_message(item) for item in self.foreign))

    def to_json(self) -> Json:
        return {
            "results": [result_to_json(result) for result in self.results],
            "foreign": [item.to_json() for item in self.foreign],
        }

    @classmethod
    def from_json(cls, raw: Json) -> ApplyReport:
        return cls(
            tuple(result_from_json(item) for item in raw["results"]),
            tuple(ForeignWrite.from_json(item) for item in raw["foreign"]),
        )


@dataclass(frozen=True)
class RestoreReport:
    """What a restore did. `verified`: every knob of ours reads as its original again."""

    restored: tuple[WriteResult, ...] = ()
    unchanged: tuple[str, ...] = ()
    foreign: tuple[ForeignWrite, ...] = ()
    failed: tuple[WriteResult, ...] = ()
    refused_attempts: int = 0
    verified: bool = True
    duration_s: float = 0.0
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> Json:
        return {
            "restored": [result_to_json(item) for item in self.restored],
            "unchanged": list(self.unchanged),
            "foreign": [item.to_json() for item in self.foreign],
            "failed": [result_to_json(item) for item in self.failed],
            "refused_attempts": self.refused_attempts,
            "verified": self.verified,
            "duration_s": self.duration_s,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, raw: Json) -> RestoreReport:
        return cls(
            restored=tuple(result_from_json(item) for item in raw["restored"]),
            unchanged=tuple(raw["unchanged"]),
            foreign=tuple(ForeignWrite.from_json(item) for item in raw["foreign"]),
            failed=tuple(result_from_json(item) for item in raw["failed"]),
            refused_attempts=int(raw["refused_attempts"]),
            verified=bool(raw["verified"]),
            duration_s=float(raw["duration_s"]),
            notes=tuple(raw["notes"]),
        )


def foreign_message(item: ForeignWrite) -> str:
    """One line for people."""
    who = "" if item.by is None else f" by {item.by.text}"
    return f"{item.key}: changed by somebody else, {item.expected!r} -> {item.found!r}{who} (kept)"


def result_to_json(result: WriteResult) -> Json:
    """JSON form of one write."""
    return {
        "key": result.key,
        "outcome": result.outcome.value,
        "before": value_to_json(result.before),
        "intended": value_to_json(result.intended),
        "observed": value_to_json(result.observed),
        "errno": result.errno,
    }


def result_from_json(raw: Json) -> WriteResult:
    """The write behind its JSON form."""
    return WriteResult(
        key=str(raw["key"]),
        outcome=Outcome(raw["outcome"]),
        before=thaw(raw["before"]),
        intended=thaw(raw["intended"]) if raw["intended"] is not None else "",
        observed=thaw(raw["observed"]),
        errno=raw["errno"],
    )


def thaw(raw: Any) -> Any:
    """A JSON list is a vector."""
    return tuple(raw) if isinstance(raw, list) else raw
