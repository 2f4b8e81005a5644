"""The client in a process of its own: JSON requests on standard input, answers on output."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ktune.errors import KtuneError
from ktune.kernel.namespaces import NamespaceRef
from ktune.proxy.backends import ProxyChoice
from ktune.proxy.client import Lease
from ktune.proxy.model import thaw
from tests.proxy.rig import Paths, lease


class Client:
    """Keeps one lease."""

    lease: Lease

    def open(self, raw: dict[str, Any]) -> dict[str, Any]:
        where = NamespaceRef(raw["netns"]) if raw["netns"] else None
        paths = Paths(Path(raw["journal"]), Path(raw["runtime"]))
        self.lease = lease(paths, *raw["keys"], namespace=where, proxy=ProxyChoice(raw["proxy"]))
        return {"guardian": self.lease.guardian_pid, "journal": self.lease.journal}

    def apply(self, raw: dict[str, Any]) -> dict[str, Any]:
        values = {key: thaw(value) for key, value in raw["assignment"].items()}
        report = self.lease.apply(values, deadline_s=raw["deadline_s"])
        outcomes = {item.key: item.outcome.value for item in report.results}
        return {"good": report.ok, "outcomes": outcomes, "problems": report.problems}

    def ping(self, raw: dict[str, Any]) -> dict[str, Any]:
        return {}

    def ping_guardian(self, raw: dict[str, Any]) -> dict[str, Any]:
        self.lease.ensure_alive()
        return {}

    def release(self, raw: dict[str, Any]) -> dict[str, Any]:
        return {"report": asdict(self.lease.release())}

    def devour(self, raw: dict[str, Any]) -> dict[str, Any]:
        hoard = []
        while True:
            hoard.append(bytearray(b"x" * (1 << 20)))


def main() -> None:
    client = Client()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = getattr(client, request["op"])(request)
        except KtuneError as error:
            reply = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
