"""JSON files of records, read back: bounded, strict, each error with its file. Stdlib only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from ktune.records.codec import RecordError, decode

T = TypeVar("T")

MAX_RECORD_BYTES = 16 << 20
"""A record larger than this is not one of ours."""


def read_json(path: Path, max_bytes: int = MAX_RECORD_BYTES) -> object:
    """What the file says.

    Raises:
        FileNotFoundError: there is none.
        RecordError: it can't be read, is too large or is not JSON.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise RecordError(f"{path}: larger than {max_bytes >> 20} MiB")
        return json.loads(data)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: not JSON ({error})") from error


def read_record(kind: type[T], path: Path, max_bytes: int = MAX_RECORD_BYTES) -> T | None:
    """The dataclass `kind` that the file holds, None where there is no file.

    Raises:
        RecordError: it can't be read, or is not what its format says.
    """
    try:
        data = read_json(path, max_bytes)
    except FileNotFoundError:
        return None
    return decode(kind, data, str(path))
