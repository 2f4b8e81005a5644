"""/proc/sys/kernel/tainted: bits that the kernel sets when something went wrong in it.

Source: Documentation/admin-guide/tainted-kernels.rst. Bits of modules (proprietary, out of tree,
staging, unsigned...) and of user space (6) are no trouble. A bit that is set already tells nothing
new; the kernel log does.
"""

from __future__ import annotations

from ktune.measure.guardrails.source import Guardrail, KeptFile, Unwatchable, reason_of

_TROUBLE = {
    4: "machine check (M)",
    5: "bad page (B)",
    7: "oops or BUG (D)",
    9: "warning (W)",
    14: "soft lockup (L)",
}


def tainted_by(before: int, after: int) -> list[str]:
    """What went wrong between two readings.

    >>> tainted_by(1, 1 | 1 << 9 | 1 << 12)
    ['warning (W)']
    """
    new = after & ~before
    return [what for bit, what in _TROUBLE.items() if new >> bit & 1]


class Taint(Guardrail):
    """A bit of trouble appeared. Also finds what was lost from the kernel log."""

    name = "kernel_warnings taint"
    every_s = 2.0  # the log is quicker

    def __init__(self, path: str = "/proc/sys/kernel/tainted") -> None:
        self._path = path
        self._file: KeptFile | None = None
        self._before = 0

    def open(self) -> str:
        """See Guardrail."""
        try:
            self._file = KeptFile(self._path)
            self._before = self._now()
        except OSError as error:
            raise Unwatchable(reason_of(error)) from None
        already = tainted_by(0, self._before)
        return f"set already, nothing new from it: {', '.join(already)}" if already else ""

    def crossed(self, now_s: float) -> str | None:
        """See Guardrail."""
        now = self._now()
        found = tainted_by(self._before, now)
        self._before = now
        return f"the kernel is newly tainted: {', '.join(found)}" if found else None

    def forget(self) -> None:
        """See Guardrail."""
        self._before = self._now()

    def close(self) -> None:
        """See Guardrail."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _now(self) -> int:
        assert self._file is not None
        text = self._file.read().strip()
        if not text.isdigit():
            raise OSError(f"{self._path}: not a number")
        return int(text)
