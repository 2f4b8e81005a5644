"""The tuner's side of the emulated long link: start it, watch it, end it."""

from __future__ import annotations

import errno
import json
import select
import subprocess
from types import TracebackType
from typing import Self

from ktune.errors import KtuneError, RefusedError
from ktune.kernel.namespaces import NamespaceRef
from ktune.kernel.waiting import close_and_wait
from ktune.measure.child import program
from ktune.measure.link.tun import DEVICE
from ktune.measure.specs import LinkSpec

_READY_S = 10.0


class LongLink:
    """Context manager: the scope is joined to a peer for as long as the block runs."""

    def __init__(self, spec: LinkSpec, scope: NamespaceRef) -> None:
        self._spec = spec
        self._scope = scope
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        spec = self._spec
        options = {
            "netns": self._scope.netns,
            "userns": self._scope.userns or "",
            "rtt_s": spec.rtt_s,
            "rate_bit_s": spec.rate_bit_s,
            "queue_bytes": spec.queue_bytes,
            "mtu": spec.mtu,
            "port": spec.port,
        }
        self._process = subprocess.Popen(
            program("ktune.measure.link.emulator", json.dumps(options)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            _check(self._answer(self._process))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The forwarder's process id while it runs."""
        return self._process.pid if self._process else None

    def health(self) -> str | None:
        """None while the link works; a `HealthCheck` of the runner."""
        if self._process is None:
            return "the emulated link is not open"
        code = self._process.poll()
        return None if code is None else f"the emulated link's process is gone (exit code {code})"

    def close(self) -> None:
        """End it; the peer's namespace ends with it."""
        process, self._process = self._process, None
        if process is None:
            return
        close_and_wait(process, 2.0)

    def _answer(self, process: subprocess.Popen[bytes]) -> str:
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], _READY_S)[0]:
            raise KtuneError(f"the emulated link was not ready within {_READY_S:g} s")
        return process.stdout.readline().decode("utf-8", "replace").strip()


def _check(answer: str) -> None:
    if answer == "ready":
        return
    step, code, text = (answer.removeprefix("refused ") + "\t0\tits process died").split("\t")[:3]
    number = int(code)
    hint = ""
    if "TUN" in step and number in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        hint = f"this kernel or container has no {DEVICE} (modprobe tun)"
    elif "TUN" in step and number in (errno.EACCES, errno.EPERM):
        hint = f"this user may not open {DEVICE} (most systems allow it to all): sudo make tune"
    raise RefusedError(f"the emulated link could not {step}: {text}", hint=hint)
