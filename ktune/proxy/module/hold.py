"""The guardian's lease in the kernel: its knobs held by an open /dev/ktune. Standard library only.

The guardian keeps its journal and its client; the module writes for it, and restores: when asked,
at a deadline half a second after the guardian's own, and when the guardian's file closes, however
it ends. What the module can't write (debugfs) goes through files.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Mapping, Sequence

from ktune.kernel.tunable import Outcome, Tunable, WriteResult, outcome_of, taken
from ktune.kernel.values import Value, ValueFormatError, ValueType, format_value, parse
from ktune.kernel.wording import counted
from ktune.proxy.actuator import KnobFiles, restore
from ktune.proxy.allowlist import Rule
from ktune.proxy.backends import ProxyChoice
from ktune.proxy.model import ForeignWrite, LeaseTunable, ProxyError, RestoreReport
from ktune.proxy.module.device import (
    ABI,
    DEVICE,
    ELEMENTS_MAX,
    SPECIALS_MAX,
    TEXT_MAX,
    Couple,
    Device,
    Done,
    KernelLimits,
    KnobNow,
)
from ktune.proxy.module.modes import emergency
from ktune.proxy.planner import Held, covers

_GRACE_S = 0.5
"""The kernel's deadline is so much later than the guardian's, which tells its client why."""
_LEAST, _MOST = -(2**63), 2**63 - 1
_UNREACHABLE = (
    *(errno.EACCES, errno.EOPNOTSUPP, errno.ENOENT),
    *(errno.ENOSPC, errno.EEXIST, errno.EMSGSIZE),
)
"""Not in the kernel's list, a file that it can't write by itself, not in its own mounts of procfs,
sysfs and cgroup2 (debugfs), one too many, the same file by another name, too long: such a knob goes
through its file."""
NOT_IN_A_NAMESPACE = "it holds knobs of the host only, not of a network namespace"
_KINDS = {
    "either_or": Couple.EITHER_OR,
    "resets": Couple.DRAGS,
    "moves": Couple.DRAGS,
}


class ModuleHold:
    """A KnobAccess through the kernel module; `why` says why there is none."""

    def __init__(self, choice: ProxyChoice, *, in_namespace: bool) -> None:
        """Open the device where the choice allows. Never raises."""
        self._choice = choice
        self._device: Device | None = None
        self._files = KnobFiles()
        self._index: dict[str, int] = {}
        self._begun = self._committed = False
        self._kept: set[str] = set()
        self.why = ""
        if choice not in (ProxyChoice.AUTO, ProxyChoice.MODULE):
            return
        if in_namespace:
            self.why = NOT_IN_A_NAMESPACE
            return
        try:
            self._device = _opened()
        except OSError as error:
            self.why = _SAID.get(error.errno or 0, error.strerror or str(error))

    @property
    def is_open(self) -> bool:
        """The device is there and ours."""
        return self._device is not None

    @property
    def device(self) -> Device | None:
        """The session in the kernel, None where the module holds nothing."""
        return self._device

    @property
    def numbers(self) -> Mapping[str, int]:
        """The session's knobs by key."""
        return self._index

    def take(
        self,
        rules: Mapping[str, Rule],
        limits: Mapping[str, LeaseTunable],
        held: Mapping[str, Held],
    ) -> tuple[str, ...] | None:
        """Add the leased knobs, and what is coupled with them to be watched. Returns those that go
        through files all the same, None where the module does not hold the lease: `why` says why.

        Raises:
            ProxyError: `proxy`: the module was asked for by name and does not hold the set, or
                another session of it holds one of these knobs.
        """
        owned = False
        if self._device is not None:
            try:
                by_file = self._add(self._device, rules, limits, held)
                if set(by_file) < set(limits):
                    self._couple(self._device, held)
                    return by_file
                self.why = f"it can write none of these knobs ({by_file[0]}...)"
            except OSError as error:
                self.why = _SAID.get(error.errno or 0, error.strerror or str(error))
                owned = error.errno == errno.EBUSY  # a file's writes would fight with its owner
            self.close()
        if owned or self._choice is ProxyChoice.MODULE:
            raise ProxyError("proxy", f"the kernel module does not hold this lease: {self.why}")
        return None

    def read(self, tunable: Tunable) -> Value | None:
        """The live value, None when it can't be read."""
        return self._files.read(tunable)

    def write(self, tunable: Tunable, value: Value, before: Value | None) -> WriteResult:
        """Have the kernel write and read back."""
        index = self._index.get(tunable.key)
        if index is None or self._device is None:
            return self._files.write(tunable, value, before)
        if before == value:
            return WriteResult(tunable.key, Outcome.UNCHANGED, before, value, before)
        try:
            (done,) = self._device.apply([(index, format_value(tunable.type, value))])
        except OSError as error:
            observed = self.read(tunable)
            return WriteResult(tunable.key, Outcome.REFUSED, before, value, observed, error.errno)
        observed = _parsed(tunable.type, done.text)
        if done.done in (Done.APPLIED, Done.UNCHANGED, Done.OTHERWISE):
            return taken(tunable, value, before, observed)
        code = errno.EINTR if done.done is Done.NOT_TRIED else done.errno
        return WriteResult(tunable.key, outcome_of(code), before, value, observed, code)

    def lasts(self, lease_s: float) -> None:
        """The deadline is `lease_s` seconds from now, and half a second more for the guardian.

        Raises:
            ProxyError: `proxy`: the module grants no lease now, or has ended it.
        """
        if self._device is None or not self._index:
            return
        try:
            if self._begun:
                self._device.renew(lease_s + _GRACE_S)
            else:
                self._device.begin(lease_s + _GRACE_S)
                self._begun = True
        except OSError as error:
            raise ProxyError(
                "proxy", f"the kernel module grants no lease: {_lease_why(error)}"
            ) from error

    def keep(self, key: str) -> None:
        """Somebody else wrote `key`: the kernel leaves it alone, too."""
        index = self._index.get(key)
        if self._device is not None and index is not None:
            self._device.keep(index)
            self._kept.add(key)

    def commit(self) -> None:
        """What is in force stays when this process ends. Raises ProxyError."""
        if self._device is None or not self._begun:
            return
        try:
            self._device.commit()
        except OSError as error:
            raise ProxyError("proxy", f"the kernel module: {error.strerror}") from error
        self._committed = True

    def restore(self, held: Mapping[str, Held], *, written: Sequence[str]) -> RestoreReport | None:
        """Have the kernel restore, and tell what it did. None: it holds nothing.

        A knob that somebody else has left to us again goes back through its file: what the kernel
        was told to keep it never writes.
        """
        if self._device is None or not self._begun or self._committed:
            return None
        started = time.monotonic()
        for key, item in held.items():
            if item.foreign:
                self.keep(key)
        result = self._device.release()
        ours_again = {key for key in self._kept if not held[key].foreign}
        knobs = {
            key: self._device.knob(index)
            for key, index in self._index.items()
            if key not in ours_again
        }
        rest = {key: item for key, item in held.items() if key not in knobs}
        files = restore(rest, self._files, written=[key for key in written if key in rest])
        return _report(
            {key: (held[key], now) for key, now in knobs.items()},
            files,
            refused_attempts=result.attempts_refused,
            duration_s=time.monotonic() - started,
        )

    def close(self) -> None:
        """Let go; the kernel restores what is neither released nor committed."""
        if self._device is not None:
            self._device.close()
            self._device = None
            self._index = {}

    def _add(
        self,
        device: Device,
        rules: Mapping[str, Rule],
        limits: Mapping[str, LeaseTunable],
        held: Mapping[str, Held],
    ) -> tuple[str, ...]:
        """Leased knobs that go through files all the same."""
        by_file = []
        for key in sorted(held, key=lambda key: key not in limits):
            asked = limits.get(key)
            try:
                added = device.add(
                    key,
                    rules[key].tunable.type,
                    _kernel_limits(asked) if asked else None,
                    watch=asked is None,
                )
            except OSError as error:
                if error.errno not in _UNREACHABLE:
                    raise
                if asked is not None:
                    by_file.append(key)
            else:
                self._index[key] = added.index
        return tuple(by_file)

    def _couple(self, device: Device, held: Mapping[str, Held]) -> None:
        """Tell how the knobs hang together; of those that bound each other the kernel finds out."""
        for source, index in self._index.items():
            told = set()
            for coupling in held[source].couplings:
                kind = _KINDS.get(coupling.kind)
                for target in _covered(coupling.keys, self._index) - {source}:
                    if kind is not None and (kind, target) not in told:
                        told.add((kind, target))
                        device.couple(kind, index, self._index[target])


def module_state() -> tuple[bool, str]:
    """Whether the kernel module can be used here, and that in words; writes nothing."""
    try:
        device = _opened()
    except OSError as error:
        return False, _SAID.get(error.errno or 0, error.strerror or str(error))
    try:
        info = device.info()
    finally:
        device.close()
    knobs, leases = counted(info.rules, "knob"), counted(info.sessions - 1, "lease")
    return True, f"version {info.version}, {knobs}, {leases} now"


def _lease_why(error: OSError) -> str:
    said = emergency()
    if said is not None:
        return f"it is in an emergency: {said} (`ktune recover --end-emergency`)"
    return _SAID.get(error.errno or 0, error.strerror or str(error))


def _opened() -> Device:
    device = Device()
    try:
        if device.info().abi != ABI:
            raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))
    except OSError:
        device.close()
        raise
    return device


_SAID = {
    errno.ENOENT: f"it is not loaded ({DEVICE} is missing)",
    errno.ENXIO: "it is being unloaded",
    errno.EACCES: "only root may use it",
    errno.EPERM: "it needs CAP_SYS_ADMIN, or is in an emergency (`ktune recover --end-emergency`)",
    errno.EXDEV: NOT_IN_A_NAMESPACE,
    errno.EMFILE: "it holds as many sessions as it can",
    errno.EBUSY: "another session of it holds one of the knobs",
    errno.EPROTO: "it speaks another version of its interface",
    errno.ENOTTY: "it speaks another version of its interface",
    errno.ESTALE: "it has ended the lease and restored",
}


def _kernel_limits(asked: LeaseTunable) -> KernelLimits:
    """What of the profile's limits the kernel can hold; the guardian holds them all."""
    kind = asked.tunable.type
    if kind not in (ValueType.INT, ValueType.VECTOR):
        choices = asked.choices or ()
        fits = len(" ".join(choices)) < TEXT_MAX
        special = tuple(word for word in asked.special if isinstance(word, str))
        return KernelLimits(choices=(*choices, *special) if choices and fits else ())
    least, most = _numbers(asked.minimum, _LEAST), _numbers(asked.maximum, _MOST)
    length = max(len(least), len(most))
    special_numbers = tuple(item for item in asked.special if isinstance(item, int))
    whole = kind is ValueType.INT or not asked.special
    if not whole or length > ELEMENTS_MAX or len(special_numbers) > SPECIALS_MAX:
        return KernelLimits()
    if asked.minimum is None and asked.maximum is None:
        return KernelLimits()
    fill = length - 1
    return KernelLimits(
        least=least if len(least) == length else least * (fill + 1),
        most=most if len(most) == length else most * (fill + 1),
        special=special_numbers,
    )


def _numbers(limit: Value | None, otherwise: int) -> tuple[int, ...]:
    if isinstance(limit, tuple):
        return limit
    return (limit if isinstance(limit, int) else otherwise,)


def _covered(patterns: Iterable[str], keys: Iterable[str]) -> set[str]:
    names = tuple(patterns)
    return {key for key in keys if covers(names, key)}


def _parsed(kind: ValueType, text: str) -> Value | None:
    try:
        return parse(kind, text)
    except ValueFormatError:
        return None


def _report(
    knobs: Mapping[str, tuple[Held, KnobNow]],
    files: RestoreReport,
    *,
    refused_attempts: int,
    duration_s: float,
) -> RestoreReport:
    restored, failed, unchanged, foreign, notes = [], [], [], [], []
    for key, (item, knob) in knobs.items():
        before = _parsed(item.tunable.type, knob.before)
        now = _parsed(item.tunable.type, knob.live)
        match knob.done:
            case Done.APPLIED:
                restored.append(WriteResult(key, Outcome.APPLIED, before, item.original, now))
            case Done.REFUSED:
                failed.append(
                    WriteResult(key, Outcome.REFUSED, before, item.original, now, knob.errno)
                )
            case Done.FOREIGN:
                foreign.append(ForeignWrite(key, item.expected, now))
            case Done.GONE:
                notes.append(f"{key}: no longer there, nothing to restore")
            case _:
                unchanged.append(key)
    return RestoreReport(
        restored=(*restored, *files.restored),
        unchanged=(*unchanged, *files.unchanged),
        foreign=(*foreign, *files.foreign),
        failed=(*failed, *files.failed),
        refused_attempts=refused_attempts + files.refused_attempts,
        verified=not failed and files.verified,
        duration_s=duration_s,
        notes=(*notes, *files.notes),
    )
