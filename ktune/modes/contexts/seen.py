"""Keeps what a window of a phase looked like, with the settings that were in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ktune.proxy.client import Lease
from ktune.records.contexts import FingerprintRecord, append_fingerprint
from ktune.records.study import Study


def keep_fingerprint(
    study: Study, phase: str, lease: Lease, keys: Iterable[str], features: Mapping[str, int]
) -> None:
    """Settings are as the kernel shows them: it rounds some of what is written.

    Raises OSError, LeaseLost.
    """
    live = lease.read()
    settings = {key: value for key in keys if (value := live[key]) is not None}
    append_fingerprint(study.folder, FingerprintRecord(phase, settings, features))
