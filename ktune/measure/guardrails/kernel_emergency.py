"""The kernel module's own emergency: by hand, for want of memory, after a restore that failed.

The module restores its leases alone, but has let go of a policy that was committed: whoever watches
that one brings the baseline back. `mode` wakes poll(2) when it changes (kmod/ABI-modes.md).
"""

from __future__ import annotations

import select
from collections.abc import Mapping

from ktune.measure.guardrails.source import Guardrail, KeptFile, Unwatchable, reason_of
from ktune.proxy.module.modes import SYSFS, emergency

_MODE = SYSFS / "mode"
_EMERGENCY = "emergency"


class KernelEmergency(Guardrail):
    """Crossed while the module is in an emergency."""

    name = "kernel module's emergency"

    def __init__(self) -> None:
        self._file: KeptFile | None = None

    @staticmethod
    def there() -> bool:
        """The module is loaded."""
        return _MODE.exists()

    def open(self) -> str:
        """See Guardrail."""
        try:
            self._file = KeptFile(str(_MODE))
            self._now()  # sysfs wakes who has read before
        except OSError as error:
            raise Unwatchable(reason_of(error)) from None
        return ""

    def crossed(self, now_s: float) -> str | None:
        """See Guardrail."""
        if self._now() != _EMERGENCY:
            return None
        return f"the kernel module is in an emergency: {emergency() or 'over again'}"

    def quiet(self, now_s: float) -> bool:
        """See Guardrail."""
        return self._now() != _EMERGENCY

    def fds(self) -> Mapping[int, int]:
        """See Guardrail."""
        return {} if self._file is None else {self._file.fd: select.POLLPRI}

    def woken(self, fd: int, events: int) -> None:
        """See Guardrail."""
        self._now()  # else poll(2) would not sleep again

    def close(self) -> None:
        """See Guardrail."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _now(self) -> str:
        assert self._file is not None
        return self._file.read().decode("utf-8", "replace").strip()
