"""Redis and memcached of the run's own."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass

from ktune.measure.services.kind import Ground, Hands
from ktune.profile.services.places import LOOPBACK
from ktune.profile.services.programs import MemcachedService, RedisService

_CONNECTIONS = "4096"


@dataclass(frozen=True)
class Redis:
    """`Kind`. It starts from a dump or an append-only file, and writes neither anew by itself: no
    fork that nobody asked for disturbs a window."""

    service: RedisService
    gentle: int = signal.SIGTERM
    quick: int = signal.SIGTERM

    def argv(self, ground: Ground) -> tuple[str, ...]:
        return (
            ground.programs.server,
            *("--port", str(ground.port or 0), "--bind", LOOPBACK),
            *("--unixsocket", ground.place.socket("redis"), "--unixsocketperm", "777"),
            *("--dir", ground.place.data, "--dbfilename", "dump.rdb"),
            *("--save", "", *self._append_only()),
            *("--daemonize", "no", "--supervised", "no", "--logfile", ""),
        )

    def made_of(self) -> Mapping[str, str | int]:
        if not self.service.keys:
            return {}
        facts: dict[str, str | int] = {"keys": self.service.keys, "value": self.service.value}
        return {**facts, "append_only": "yes"} if self._appends else facts

    def make(self, ground: Ground, hands: Hands) -> None:
        """With an append-only file it reads no dump when it starts: that file has the keys then."""
        save = () if self._appends else ("--save", "1")
        with hands.serving():
            hands.fill(*_filling(ground, self.service), *save, timeout_s=3600)

    @property
    def _appends(self) -> bool:
        return self.service.append_only != "off"

    def _append_only(self) -> tuple[str, ...]:
        if not self._appends:
            return ("--appendonly", "no")
        words = ("--appendonly", "yes", "--appendfsync", self.service.append_only)
        return (*words, "--auto-aof-rewrite-percentage", "0")

    def settle(self, ground: Ground) -> Mapping[str, str]:
        return {}

    def ready(self, ground: Ground, hands: Hands) -> bool:
        hands.fill("--kind", "redis", "--at", ground.place.socket("redis"))
        return True

    def checkpoint(self, ground: Ground) -> tuple[str, ...]:
        return ()

    def disturbance(self, words: str) -> str:
        return ""

    def environment(self, ground: Ground) -> Mapping[str, str]:
        return {}


@dataclass(frozen=True)
class Memcached:
    """`Kind`. It keeps nothing on disk: its values are set anew after each start.

    With a port it has no Unix socket: the server can't do both (memcached(1), -s).
    """

    service: MemcachedService
    gentle: int = signal.SIGTERM
    quick: int = signal.SIGTERM

    def argv(self, ground: Ground) -> tuple[str, ...]:
        where = (
            ("-l", LOOPBACK, "-p", str(ground.port), "-U", "0")
            if ground.port
            else ("-s", ground.place.socket("memcached"), "-a", "0777")
        )
        service = self.service
        memory_mib = max(service.memory >> 20, 1)
        limits = ("-m", str(memory_mib), "-t", str(service.threads), "-c", _CONNECTIONS)
        return (ground.programs.server, *where, *limits)

    def made_of(self) -> Mapping[str, str | int]:
        return {}

    def make(self, ground: Ground, hands: Hands) -> None:
        """Nothing to make."""

    def settle(self, ground: Ground) -> Mapping[str, str]:
        return {}

    def ready(self, ground: Ground, hands: Hands) -> bool:
        hands.fill(*_filling(ground, self.service))
        return True

    def checkpoint(self, ground: Ground) -> tuple[str, ...]:
        return ()

    def disturbance(self, words: str) -> str:
        return ""

    def environment(self, ground: Ground) -> Mapping[str, str]:
        return {}


def _filling(ground: Ground, service: RedisService | MemcachedService) -> tuple[str, ...]:
    at = ground.place.socket(service.kind)
    if service.kind == "memcached" and ground.port:
        at = f"{LOOPBACK}:{ground.port}"
    amounts = ("--keys", str(service.keys), "--value", str(service.value))
    return ("--kind", service.kind, "--at", at, *amounts)
