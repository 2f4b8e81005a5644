"""Child program that holds an ephemeral scope: a network namespace that ends with this process.

Standard library only. It makes the namespace, brings up its loopback (which also proves that
it really has the rights there: Ubuntu 24.04 grants the user namespace but not the
capabilities), says `ready COOKIE` and waits. End of file on standard input means that the tuner
is gone, by whatever death: it ends, and the kernel takes the namespace and all its settings
away. After `keep SECONDS` it outlives the tuner and ends at SIGTERM or after that time.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Sequence

from ktune.kernel.namespaces import NamespaceRef, enter, netns_cookie, new_network
from ktune.measure.netlink import bring_up


def main(argv: Sequence[str]) -> int:
    """`[--userns]` makes and holds; `--cookie-of NETNS [USERNS]` only tells an identity."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if argv[:1] == ["--cookie-of"]:
        enter(NamespaceRef(argv[1], argv[2] if len(argv) > 2 else None))
        _say(str(netns_cookie()))
        return 0
    try:
        new_network(with_user_namespace="--userns" in argv)
        bring_up("lo")
        _say(f"ready {netns_cookie()}")
    except OSError as error:
        _say(f"refused {error.errno or 0} {error}")
        return 1
    os.chdir("/")
    _hold()
    return 0


def _hold() -> None:
    poller = select.poll()
    poller.register(sys.stdin.fileno(), select.POLLIN)
    until: float | None = None
    while until is None or time.monotonic() < until:
        left = None if until is None else (until - time.monotonic()) * 1000
        if not poller.poll(left):
            continue
        line = os.read(sys.stdin.fileno(), 256)
        if line.startswith(b"keep "):
            until = time.monotonic() + float(line.split()[1])
            _say("kept")
        elif not line:
            if until is None:
                return
            poller.unregister(sys.stdin.fileno())


def _say(text: str) -> None:
    os.write(sys.stdout.fileno(), text.encode() + b"\n")
