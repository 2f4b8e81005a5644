"""Wakes a guest that went to sleep: QEMU tells that it did, and is told to wake it.

An alarm of the guest's own clock would do too, were it not that it may pass before the guest is
asleep, on a machine that has much else to do. Protocol: QEMU Machine Protocol (qmp-spec.txt).
"""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TextIO

SLEEP_S = 18.0
"""How long a guest sleeps; longer than the lease of a holdback (15 s)."""


class Waker:
    """Listens to QEMU on a socket of `folder` until the context is left."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "qmp"
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self._path))
        self._server.listen(1)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def words(self) -> tuple[str, ...]:
        """What QEMU has to be told."""
        return ("-qmp", f"unix:{self._path}")

    def __enter__(self) -> Waker:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()

    def _serve(self) -> None:
        with suppress(OSError):  # QEMU is gone, or never came
            connection = self._server.accept()[0]
            with connection, connection.makefile("rw", encoding="utf-8") as qemu:
                _say(qemu, "qmp_capabilities")
                for line in qemu:
                    if json.loads(line).get("event") == "SUSPEND":
                        time.sleep(SLEEP_S)
                        _say(qemu, "system_wakeup")


def _say(qemu: TextIO, command: str) -> None:
    qemu.write(json.dumps({"execute": command}) + "\n")
    qemu.flush()
