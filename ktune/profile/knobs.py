"""Model of the knobs that a profile lets the search move, and of relations between them."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import Field, model_validator

from ktune.kernel.values import Value
from ktune.profile.fields import Flag, Model, Quantity, Setting, Whole, wrong


class Range(Model):
    """Limits of a number: of a knob, or of one element of a vector."""

    range: tuple[Quantity, Quantity] | None = Field(
        default=None,
        description="Lowest and highest value, in the knob's unit or with a unit of their own.",
        examples=[[1, 20], ["4M", "64M"]],
    )
    step: Quantity | None = Field(
        default=None,
        description="Distance between neighbouring values, from the lowest; not with log.",
        examples=[10, "1M"],
    )
    log: Flag = Field(
        default=False,
        description="Search on a logarithmic scale: for ranges over orders of magnitude. "
        "The lowest value must be at least 1.",
        examples=[True],
    )

    @model_validator(mode="after")
    def _range_is_consistent(self) -> Self:
        if self.range is None:
            if self.step is not None or self.log:
                raise wrong("step and log need a range")
            return self
        if self.step is not None and self.log:
            raise wrong("step and log exclude each other", at=("step",))
        low, high = self.range
        if isinstance(low, int) and isinstance(high, int):
            if low > high:
                raise wrong(f"range: {low} is above {high}", at=("range",))
            if self.log and low < 1:
                raise wrong(
                    f"log needs a lowest value of at least 1, not {low}; put it into `special`",
                    at=("range", 0),
                )
        return self


class Knob(Range):
    """What the search may do with one knob: a range, choices, or ranges of vector elements."""

    choices: tuple[Setting, ...] | None = Field(
        default=None,
        min_length=1,
        description="The values to choose from, where they have no order or are few.",
        examples=[["madvise", "always", "never"], [0, 1]],
    )
    element: Whole | None = Field(
        default=None,
        ge=0,
        le=63,
        description="Of a vector knob: the element (from 0) that `range` moves; the others keep "
        "the baseline's value.",
        examples=[2],
    )
    elements: dict[Annotated[int, Field(ge=0, le=63)], Range] | None = Field(
        default=None,
        min_length=1,
        description="Of a vector knob: a range for each of several elements.",
        examples=[{"1": {"range": ["64K", "1M"], "log": True}, "2": {"range": ["4M", "64M"]}}],
    )
    special: tuple[Setting, ...] = Field(
        default=(),
        description="Values outside the range with a meaning of their own (0 = off), tried as "
        "choices beside it.",
        examples=[[0]],
    )
    only_raise: Flag = Field(
        default=False,
        description="Never below the baseline's value.",
        examples=[True],
    )
    only_lower: Flag = Field(
        default=False,
        description="Never above the baseline's value.",
        examples=[True],
    )

    @model_validator(mode="after")
    def _knob_is_consistent(self) -> Self:
        given = [
            name for name in ("range", "choices", "elements") if getattr(self, name) is not None
        ]
        if len(given) != 1:
            found = "nothing of these" if not given else " and ".join(given)
            raise wrong(f"give exactly one of range, choices, elements; found {found}")
        if self.element is not None and self.range is None:
            raise wrong("element needs a range", at=("element",))
        for index, part in (self.elements or {}).items():
            if part.range is None:
                raise wrong("an element needs a range", at=("elements", str(index)))
        if self.choices is not None and (self.special or self.only_raise or self.only_lower):
            raise wrong("choices exclude special, only_raise and only_lower")
        if self.special and (self.elements or self.element is not None):
            raise wrong("special is for whole values, not for vector elements", at=("special",))
        if self.only_raise and self.only_lower:
            raise wrong("only_raise and only_lower exclude each other")
        return self

    @property
    def ranges(self) -> dict[int | None, Range]:
        """Ranges by vector element; None stands for the whole knob. Empty with choices."""
        if self.elements is not None:
            return dict(self.elements.items())
        return {} if self.range is None else {self.element: self}


_SYSCTL = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_/:-]+)+\Z")
_UNSAFE_PART = re.compile(r"/(\.{0,2})(/|\Z)")


class Knobs(Model):
    """The knobs to search, by kind of interface."""

    sysctl: dict[str, Knob] = Field(
        default_factory=dict,
        description="Sysctls by dotted name.",
        examples=[{"vm.swappiness": {"range": [0, 100], "step": 10}}],
    )
    sysfs: dict[str, Knob] = Field(
        default_factory=dict,
        description="Files under /sys by absolute path.",
        examples=[{"/sys/kernel/mm/transparent_hugepage/enabled": {"choices": ["madvise"]}}],
    )
    cgroup: dict[str, Knob] = Field(
        default_factory=dict,
        description="Control files of cgroups by absolute path.",
        examples=[{"/sys/fs/cgroup/db/memory.high": {"range": ["256M", "4G"]}}],
    )

    @model_validator(mode="after")
    def _keys_are_well_formed(self) -> Knobs:
        for key in self.sysctl:
            if not _SYSCTL.match(key):
                raise wrong(
                    f"{key!r} is no sysctl name such as vm.swappiness", at=("sysctl", key), key=True
                )
        for kind, prefix in (("sysfs", "/sys/"), ("cgroup", "/sys/fs/cgroup/")):
            for key in getattr(self, kind):
                if not key.startswith(prefix) or _UNSAFE_PART.search(key):
                    raise wrong(
                        f"{key!r} is no plain path under {prefix}", at=(kind, key), key=True
                    )
        return self

    def all(self) -> dict[str, tuple[str, Knob]]:
        """key -> (kind, knob) in the order of the file."""
        return {
            key: (kind, knob)
            for kind in ("sysctl", "sysfs", "cgroup")
            for key, knob in getattr(self, kind).items()
        }


_OPERATORS: Mapping[str, Callable[[int, int], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_RELATION = re.compile(r"(\S+)\s+(<=|>=|<|>)\s+(\S+)\Z")
_ELEMENT = re.compile(r"(.+)\[([0-9]{1,2})\]\Z")


@dataclass(frozen=True)
class Operand:
    """A knob, or one element of a vector knob (`net.ipv4.tcp_rmem[2]`)."""

    key: str
    element: int | None = None

    def __str__(self) -> str:
        return self.key if self.element is None else f"{self.key}[{self.element}]"

    def of(self, assignment: Mapping[str, Value]) -> int | None:
        """Its number in an assignment; None where it has none there."""
        value = assignment.get(self.key)
        if isinstance(value, tuple):
            index = self.element
            return value[index] if index is not None and index < len(value) else None
        return value if isinstance(value, int) and self.element is None else None


@dataclass(frozen=True)
class Relation:
    """`left operator right` that every candidate satisfies."""

    left: Operand
    operator: str
    right: Operand | int

    def __str__(self) -> str:
        return f"{self.left} {self.operator} {self.right}"

    def holds(self, assignment: Mapping[str, Value]) -> bool:
        """Whether it holds; a relation about something that is not in the assignment does."""
        left = self.left.of(assignment)
        right = self.right if isinstance(self.right, int) else self.right.of(assignment)
        return left is None or right is None or _OPERATORS[self.operator](left, right)

    @property
    def keys(self) -> tuple[str, ...]:
        """The knobs it speaks about."""
        return tuple(side.key for side in (self.left, self.right) if isinstance(side, Operand))


def parse_relation(text: str) -> Relation:
    """`vm.dirty_background_ratio < vm.dirty_ratio`. Raises ValueError."""
    match = _RELATION.match(text.strip())
    if not match:
        raise ValueError(
            f"expected KNOB OPERATOR KNOB-or-integer with blanks between, found {text!r}; "
            "operators: < <= > >="
        )
    right = int(match[3]) if re.fullmatch(r"-?[0-9]{1,20}", match[3]) else _operand(match[3])
    return Relation(_operand(match[1]), match[2], right)


def _operand(text: str) -> Operand:
    match = _ELEMENT.match(text)
    operand = Operand(match[1], int(match[2])) if match else Operand(text)
    if not (operand.key.startswith("/sys/") or _SYSCTL.match(operand.key)):
        raise ValueError(f"{text!r} is neither a knob nor an integer")
    return operand
