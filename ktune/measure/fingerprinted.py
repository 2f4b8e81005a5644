"""A window source that also says what the workload looked like from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ktune.errors import KtuneError
from ktune.measure.fingerprint import Fingerprint
from ktune.measure.window import Poll, WindowResult, WindowSource

Keep = Callable[[Mapping[str, int]], None]


class Fingerprinted:
    """Measures as `source` does; hands the fingerprint of each valid window to `keep`."""

    def __init__(self, source: WindowSource, fingerprint: Fingerprint, keep: Keep) -> None:
        self._source = source
        self._fingerprint = fingerprint
        self._keep = keep

    def run(self, poll: Poll) -> WindowResult:
        """Measure one window. Raises KtuneError: the kernel's counters can't be read."""
        taken(self._fingerprint)
        result = self._source.run(poll)
        found = taken(self._fingerprint)
        if result.valid:
            self._keep(found)
        return result


def taken(fingerprint: Fingerprint) -> dict[str, int]:
    """The features since the last call. Raises KtuneError."""
    try:
        return fingerprint.take()
    except (OSError, ValueError) as error:
        raise KtuneError(f"the kernel's counters can't be read: {error}") from error
