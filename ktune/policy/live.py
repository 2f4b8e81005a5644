"""Live values of knobs in a scope. Reads only; nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ktune.kernel.namespaces import NamespaceRef
from ktune.kernel.tunable import Tunable, read_value
from ktune.kernel.values import Value, ValueFormatError
from ktune.policy.scope import run_inside


def read_live(tunables: Iterable[Tunable], ref: NamespaceRef | None) -> dict[str, Value | None]:
    """Values by key as the scope shows them; None for what is gone or unreadable."""
    wanted = list(tunables)

    def read_all() -> list[Any]:
        return [_read(tunable) for tunable in wanted]

    values = run_inside(ref, read_all, otherwise=[None] * len(wanted))
    return {
        tunable.key: tuple(value) if isinstance(value, list) else value
        for tunable, value in zip(wanted, values, strict=True)
    }


def _read(tunable: Tunable) -> Value | None:
    try:
        return read_value(tunable)
    except (OSError, ValueFormatError):
        return None
