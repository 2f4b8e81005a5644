"""Where the files of a service lie and what `${services.NAME...}` says of it. Pure.

Paths are the same in every run of a profile, so that a plan shows them and a command can name them;
that two runs do not meet there is up to a lock (`ktune.measure.services.folder`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
POSTGRESQL_PORT = 5432
"""Part of its socket's name, where it listens on no port."""
F2FS_DEVICE = "loop71"
"""Always the same one: knobs of its file system are named by it, before it is there."""
DATABASE = "bench"
"""Name of the database and of its owner."""


@dataclass(frozen=True)
class Place:
    """The folder of one service of one profile."""

    folder: str

    @property
    def data(self) -> str:
        """What the server keeps: made from a template, gone with the service."""
        return f"{self.folder}/data"

    @property
    def sockets(self) -> str:
        """The folder of its Unix socket."""
        return f"{self.folder}/s"

    def socket(self, kind: str) -> str:
        """The Unix socket as clients name it: for PostgreSQL (libpq's `host`) its folder."""
        return self.sockets if kind == "postgresql" else f"{self.sockets}/{kind}.sock"

    def socket_file(self, kind: str, port: int | None) -> str:
        """The file itself."""
        if kind == "postgresql":
            return f"{self.sockets}/.s.PGSQL.{port or POSTGRESQL_PORT}"
        return self.socket(kind)


def place_of(state_dir: str, profile: str, service: str) -> Place:
    """The folder of a service; the profile's name is shortened to eight digits."""
    digits = hashlib.sha256(profile.encode()).hexdigest()[:8]
    return Place(f"{state_dir}/services/run/{service}-{digits}")


def values_of(place: Place, kind: str, port: int | None) -> Mapping[str, str]:
    """What a profile may ask about a service, by name; a port too is text, for a command."""
    values: dict[str, str] = {
        "socket": place.socket(kind),
        "data": place.data,
        "host": LOOPBACK,
    }
    if kind == "f2fs":
        return {"data": place.data, "device": F2FS_DEVICE}
    if port is not None:
        values["port"] = str(port)
    if kind == "postgresql":
        values |= {"user": DATABASE, "database": DATABASE}
        values.setdefault("port", str(POSTGRESQL_PORT))
    if kind == "nginx" and port is not None:
        values["url"] = f"http://{LOOPBACK}:{port}"
    return values
