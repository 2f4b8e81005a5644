"""What `tune --contexts` keeps: `contexts/<id>/`, built like a study. Standard library only.

`contexts.json` is the answer: the leaves, the tree, how often it was wrong. `fingerprints.jsonl`
holds one line a window (also in the folder of each phase's study): what was seen under which
settings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ktune.kernel.values import Value
from ktune.records import atomic
from ktune.records.codec import RecordError, decode, encode
from ktune.records.stored import read_record

_FILE, _FINGERPRINTS = "contexts.json", "fingerprints.jsonl"


@dataclass(frozen=True)
class LeafRecord:
    """One assignment of an adaptive policy. `study` is empty where it is the baseline's."""

    name: str
    phases: tuple[str, ...]
    assignment: Mapping[str, Value]
    study: str = ""


@dataclass(frozen=True)
class ContextsRecord:
    """`contexts.json`. `tree` is None where no adaptive policy came of it; `reason` says why."""

    studies: Mapping[str, str]
    """By phase: the study that looked for its setting."""
    leaves: tuple[LeafRecord, ...]
    baseline: Mapping[str, Value]
    tree: Any = None
    """As it stands in the policy."""
    errors: Mapping[str, float] = field(default_factory=dict)
    """By leaf: the share of held-out windows taken for another's."""
    samples: Mapping[str, int] = field(default_factory=dict)
    """By leaf: the windows that the tree was grown from."""
    reason: str = ""


@dataclass(frozen=True)
class FingerprintRecord:
    """One window of a phase: its settings, and what the workload looked like."""

    phase: str
    settings: Mapping[str, Value]
    features: Mapping[str, int]


def write_contexts(folder: Path, record: ContextsRecord) -> None:
    """Keep it. Raises OSError."""
    atomic.write_json(folder / _FILE, encode(record))


def read_contexts(folder: Path) -> ContextsRecord | None:
    """None while there is no answer. Raises RecordError."""
    return read_record(ContextsRecord, folder / _FILE)


def append_fingerprint(folder: Path, record: FingerprintRecord) -> None:
    """Add one. Raises OSError."""
    line = json.dumps(encode(record), separators=(",", ":"), allow_nan=False)
    atomic.append_line(folder / _FINGERPRINTS, line, sync=False)


def read_fingerprints(folder: Path) -> tuple[FingerprintRecord, ...]:
    """All that were written completely. Raises RecordError."""
    path = folder / _FINGERPRINTS
    try:
        whole = path.read_bytes().rpartition(b"\n")[0]
    except FileNotFoundError:
        return ()
    found = []
    for number, line in enumerate(whole.split(b"\n") if whole else (), start=1):
        where = f"{path}:{number}"
        try:
            raw = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{where}: not JSON ({error})") from error
        found.append(decode(FingerprintRecord, raw, where))
    return tuple(found)
