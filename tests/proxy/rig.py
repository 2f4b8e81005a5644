"""What proxy tests stand on: paths, network namespaces, loop devices, a client to kill."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ktune.kernel.namespaces import CLONE_NEWNET, NamespaceRef, setns
from ktune.kernel.tunable import Tunable, sysctl_path
from ktune.kernel.values import Value, ValueType, parse
from ktune.proxy.backends import ProxyChoice
from ktune.proxy.client import Lease, LeaseRequest, open_lease
from ktune.proxy.journal import is_held
from ktune.proxy.model import LeaseTunable
from tests.knobs import write_knob

PATIENCE = float(os.environ.get("KTUNE_TEST_PATIENCE", "1"))
"""Limits of waiting are multiplied by it: an emulated machine is slow."""
_LOOP_ADD = 0x4C80
_LOOP_REMOVE = 0x4C81
_REPO = Path(__file__).resolve().parents[2]
_REMOTE = (sys.executable, "-m", "tests.proxy.remote")

TYPES = {
    "net.ipv4.tcp_rmem": ValueType.VECTOR,
    "net.ipv4.tcp_wmem": ValueType.VECTOR,
    "net.ipv4.tcp_congestion_control": ValueType.WORD,
    "net.ipv4.ip_local_port_range": ValueType.VECTOR,
}
NET_KEYS = (
    *TYPES,
    "net.ipv4.ipfrag_low_thresh",
    "net.ipv4.ipfrag_high_thresh",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.icmp_ratelimit",
)
"""What tests of the proxy write below `net.`."""
ROUNDED = ("net.ipv4.icmp_ratelimit", "net.ipv4.tcp_invalid_ratelimit")


@dataclass(frozen=True)
class Paths:
    """Stands for StatePaths: two folders of the test's own."""

    journal: Path
    runtime: Path

    @classmethod
    def under(cls, folder: Path) -> Paths:
        return cls(folder / "journal", folder / "run")


def tunable(key: str) -> Tunable:
    """A knob by its key; type by name (INT unless known otherwise)."""
    if key.startswith("/"):
        words = ("scheduler", "enabled", "defrag")
        kind = ValueType.CHOICE if key.rsplit("/", 1)[1] in words else ValueType.INT
        return Tunable(key, key, kind)
    return Tunable(key, sysctl_path(key), TYPES.get(key, ValueType.INT), key in ROUNDED)


def wanted(*keys: str, **limits: Any) -> list[LeaseTunable]:
    """What a client asks for, the same limits for each."""
    return [LeaseTunable(tunable(key), **limits) for key in keys]


def lease(
    paths: Paths,
    *keys: str,
    namespace: NamespaceRef | None = None,
    run_id: str = "test",
    proxy: ProxyChoice = ProxyChoice.AUTO,
) -> Lease:
    """Open a lease on knobs by key."""
    request = LeaseRequest(run_id=run_id, why="a test", who="pytest")
    return open_lease(wanted(*keys), request, paths=paths, namespace=namespace, proxy=proxy)


class Net:
    """A network namespace of the test's own; its knobs are read and written without ktune."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo ready; exec sleep 600"], stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"
        self.ref = NamespaceRef(f"/proc/{self._holder.pid}/ns/net")

    def read(self, key: str) -> Value:
        """The value in force in the namespace."""
        return parse(tunable(key).type, self.inside(Path(sysctl_path(key)).read_text))

    def write(self, key: str, text: str) -> None:
        """Write as an administrator would: not through ktune."""
        self.inside(lambda: write_knob(sysctl_path(key), text))

    def close(self) -> None:
        """End the holder; the namespace goes with the last process in it."""
        self._holder.kill()
        self._holder.wait()
        if self._holder.stdout:
            self._holder.stdout.close()

    def inside(self, action: Callable[[], Any]) -> Any:
        """Do something there, in this process."""
        home = "/proc/thread-self/ns/net"
        back = os.open(home, os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(self.ref.netns, CLONE_NEWNET)
            try:
                return action()
            finally:
                setns(f"/proc/self/fd/{back}", CLONE_NEWNET)
        finally:
            os.close(back)


class HostNet:
    """The host's own network scope, for back ends that know no other; only in a guest. What the
    test wrote is put back in the end."""

    ref = None

    def __init__(self) -> None:
        self._before = {key: Path(sysctl_path(key)).read_text() for key in NET_KEYS}

    def read(self, key: str) -> Value:
        """The value in force."""
        return parse(tunable(key).type, Path(sysctl_path(key)).read_text())

    def write(self, key: str, text: str) -> None:
        """Write as an administrator would."""
        write_knob(sysctl_path(key), text)

    def close(self) -> None:
        """Twice: thresholds bound each other."""
        for _ in range(2):
            for key, text in self._before.items():
                with suppress(OSError):
                    write_knob(sysctl_path(key), text)


class LoopDevice:
    """A loop device added by the test, so that it can be taken away for real."""

    def __init__(self) -> None:
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
        try:
            for number in range(900 + os.getpid() % 1000, 5000):
                with suppress(FileExistsError):
                    self.number = int(fcntl.ioctl(control, _LOOP_ADD, number))
                    break
        finally:
            os.close(control)
        self.queue = f"/sys/block/loop{self.number}/queue"

    def knob(self, name: str) -> str:
        """Its key."""
        return f"{self.queue}/{name}"

    def read(self, name: str) -> Value:
        """The value in force."""
        return parse(tunable(self.knob(name)).type, Path(self.knob(name)).read_text())

    def write(self, name: str, text: str) -> None:
        """Write as an administrator would."""
        write_knob(self.knob(name), text)

    def remove(self) -> None:
        """Make it vanish, with its knobs. A second call does nothing."""
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
        try:
            with suppress(FileNotFoundError, OSError):
                fcntl.ioctl(control, _LOOP_REMOVE, self.number)
        finally:
            os.close(control)


class RemoteClient:
    """A client in a process of its own: something to kill. `before` is argv that runs it
    (`unshare ...`), `joins` cgroups it enters first."""

    def __init__(
        self,
        *,
        before: Sequence[str] = (),
        joins: Sequence[Path] = (),
        proxy: ProxyChoice = ProxyChoice.AUTO,
    ) -> None:
        self._proxy = proxy
        entering = "".join(f"echo $$ > {folder}/cgroup.procs && " for folder in joins)
        self.process = subprocess.Popen(
            [*before, "sh", "-c", f'{entering}exec "$@"', "sh", *_REMOTE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_REPO,
            env={**os.environ, "PYTHONPATH": str(_REPO)},
            start_new_session=True,
        )

    def send(self, **request: Any) -> None:
        """Ask without waiting for the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """The next answer."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the client ended"
        reply: dict[str, Any] = json.loads(line)
        return reply

    def ask(self, **request: Any) -> dict[str, Any]:
        """Ask and wait."""
        self.send(**request)
        return self.answer()

    def open(
        self, paths: Paths, *keys: str, namespace: NamespaceRef | None = None
    ) -> dict[str, Any]:
        """Open a lease there."""
        return self.ask(
            op="open",
            journal=str(paths.journal),
            runtime=str(paths.runtime),
            keys=keys,
            netns=namespace.netns if namespace else None,
            proxy=self._proxy.value,
        )

    def apply(self, assignment: Mapping[str, Value], deadline_s: float = 60.0) -> dict[str, Any]:
        """Apply there."""
        return self.ask(op="apply", assignment=assignment, deadline_s=deadline_s)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End it whatever its state."""
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with suppress(OSError):
                    pipe.close()


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Wait for a condition; the limit only ends a test that has failed."""
    until = time.monotonic() + timeout_s * PATIENCE
    while not condition():
        assert time.monotonic() < until, "the condition did not come true"
        time.sleep(0.005 * PATIENCE)  # a look costs more where everything takes longer


def kill_both(client: RemoteClient, opened: Mapping[str, Any]) -> None:
    """Kill client and guardian so that neither can restore; the guardian is stopped first."""
    guardian = int(opened["guardian"])
    os.kill(guardian, signal.SIGSTOP)
    client.kill()
    os.kill(guardian, signal.SIGKILL)
    wait_until(lambda: not is_held(opened["journal"]))


def alive(pid: int) -> bool:
    """Runs, and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False
