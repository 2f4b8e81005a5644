"""Child program: the emulated long link between a scope and a peer. Standard library only.

It enters the scope, makes `tunA` there, then a second network namespace of its own with `tunB`:
the peer, "the rest of the world". The peer's own settings are set once, generously, so that only
the scope's settings limit a transfer; they belong to a namespace that this program made and
that ends with it, so they are neither tuned nor journaled. No rights are left once it forwards.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from ktune.kernel.namespaces import CLONE_NEWNET, NamespaceRef, enter, unshare
from ktune.kernel.tunable import sysctl_path, write_text
from ktune.measure import rights
from ktune.measure.link.forward import Direction, forward
from ktune.measure.link.protocol import PEER_NETWORK, PEER_PREFIX
from ktune.measure.link.server import listen, serve
from ktune.measure.link.tun import open_tun
from ktune.measure.netlink import add_route, bring_up

SCOPE_ADDRESS, PEER_ADDRESS = "10.9.0.1", "10.9.0.2"
_BUFFER_LIMIT = 256 << 20
PEER_SETTINGS = {
    "net.ipv4.tcp_rmem": f"4096 4194304 {_BUFFER_LIMIT}",
    "net.ipv4.tcp_wmem": f"4096 4194304 {_BUFFER_LIMIT}",
    # Every kernel has reno, every namespace may use it, and its slow start looks at losses
    # only: the delay of a busy host does not end it early, as HyStart of cubic would.
    "net.ipv4.tcp_congestion_control": "reno",
    "net.ipv4.tcp_no_metrics_save": "1",
    "net.ipv4.tcp_slow_start_after_idle": "0",
}


def main(argv: Sequence[str]) -> int:
    """One argument: the link as JSON. Says `ready` or `refused STEP: WHY` on standard output."""
    options = json.loads(argv[0])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    step = "enter the scope"
    try:
        enter(NamespaceRef(options["netns"], options["userns"] or None))
        step = "make the TUN device of the scope"
        near = open_tun("tunA", SCOPE_ADDRESS, options["mtu"])
        add_route(PEER_NETWORK, PEER_PREFIX, "tunA")
        step = "make the peer's namespace"
        unshare(CLONE_NEWNET)
        bring_up("lo")
        _settle_peer()
        step = "make the TUN device of the peer"
        far = open_tun("tunB", PEER_ADDRESS, options["mtu"])
        add_route(PEER_NETWORK, PEER_PREFIX, "lo", local=True)
        step = "start the peer's server"
        server = _start_server(options["port"], (near, far))
        rights.drop_capabilities()
    except OSError as error:
        _say(f"refused {step}\t{error.errno or 0}\t{error}")
        return 1
    _say("ready")
    os.chdir("/")
    try:
        forward(_directions(options, near, far), sys.stdin.fileno())
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(server, signal.SIGKILL)
    return 0


def _settle_peer() -> None:
    for name, text in PEER_SETTINGS.items():
        write_text(sysctl_path(name), text)


def _start_server(port: int, devices: tuple[int, int]) -> int:
    listener = listen(port)
    parent = os.getpid()
    pid = os.fork()
    if pid:
        listener.close()
        return pid
    try:
        # Only the forwarder may hold the devices: they end with it.
        for fd in (0, 1, *devices):
            os.close(fd)
        rights.drop_capabilities()
        rights.die_with_parent(parent)
        serve(listener)
    finally:
        os._exit(1)


def _directions(options: dict[str, Any], near: int, far: int) -> tuple[Direction, Direction]:
    delay, rate, queue = options["rtt_s"] / 2, options["rate_bit_s"], options["queue_bytes"]
    return (
        Direction(near, far, delay, rate, queue),
        Direction(far, near, delay, rate, queue),
    )


def _say(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # interrupted meanwhile: nobody wants to know
        os.write(sys.stdout.fileno(), text.encode() + b"\n")
