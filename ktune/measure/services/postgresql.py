"""A PostgreSQL cluster of the run's own.

Its settings are the server's defaults but for where it listens and, with `checkpoints: outside`,
that no checkpoint begins by itself (docs/services.md). Sources: PostgreSQL's documentation, "Server
Configuration", "Client Authentication", "Shutting Down the Server".
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass

from ktune.measure.services.kind import Ground, Hands
from ktune.profile.services.places import DATABASE, LOOPBACK, POSTGRESQL_PORT
from ktune.profile.services.programs import PostgresqlService

OWNER = "ktune"
"""The cluster's superuser: only the server's own account may be it."""
_RARE = ("checkpoint_timeout=1d", "max_wal_size=4GB")
_FILL_S = 3600.0


@dataclass(frozen=True)
class Postgresql:
    """`Kind`."""

    service: PostgresqlService
    gentle: int = signal.SIGINT
    """Fast shutdown."""
    quick: int = signal.SIGQUIT
    """Immediate shutdown: it releases its shared memory."""

    def argv(self, ground: Ground) -> tuple[str, ...]:
        settings = (
            f"listen_addresses={LOOPBACK if ground.port else ''}",
            f"port={_port(ground)}",
            f"unix_socket_directories={ground.place.sockets}",
            "unix_socket_permissions=0777",
            "log_checkpoints=on",
            "log_destination=stderr",
            "logging_collector=off",
            *(_RARE if self.service.checkpoints == "outside" else ()),
        )
        options = [word for setting in settings for word in ("-c", setting)]
        return (ground.programs.paths["postgres"], "-D", ground.place.data, *options)

    def made_of(self) -> Mapping[str, str | int]:
        return {"scale": self.service.scale}

    def make(self, ground: Ground, hands: Hands) -> None:
        paths = ground.programs.paths
        hands.run(
            *(paths["initdb"], "-D", ground.place.data, "-U", OWNER, "-A", "peer"),
            *("-E", "UTF8", "--locale=C.UTF-8", "--no-instructions"),
            timeout_s=300,
        )
        with hands.serving():
            role = f"CREATE ROLE {DATABASE} LOGIN PASSWORD '{ground.secret}'"
            for statement in (role, f"CREATE DATABASE {DATABASE} OWNER {DATABASE}"):
                hands.run(*_psql(ground, "postgres", statement))
            hands.run(
                *(paths["pgbench"], *_at(ground, DATABASE), "-i", "-q"),
                *("-s", str(self.service.scale), DATABASE),
                timeout_s=_FILL_S,
            )

    def settle(self, ground: Ground) -> Mapping[str, str]:
        who = dict.fromkeys((ground.user, ground.client))
        return {
            "pg_hba.conf": f"local all {OWNER} peer map=owner\n"
            f"local {DATABASE} {DATABASE} peer map=client\n"
            f"host {DATABASE} {DATABASE} {LOOPBACK}/32 scram-sha-256\n",
            "pg_ident.conf": f'owner "{ground.user}" {OWNER}\n'
            + "".join(f'client "{name}" {DATABASE}\n' for name in who),
        }

    def ready(self, ground: Ground, hands: Hands) -> bool:
        """Its lock file's eighth line says so (miscadmin.h, LOCK_FILE_LINE_PM_STATUS)."""
        try:
            fd = os.open(
                f"{ground.place.data}/postmaster.pid", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            )
        except OSError:
            return False
        with os.fdopen(fd, encoding="utf-8", errors="replace") as file:
            lines = file.read(4096).splitlines()
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def checkpoint(self, ground: Ground) -> tuple[str, ...]:
        return _psql(ground, "postgres", "CHECKPOINT")

    def disturbance(self, words: str) -> str:
        if self.service.checkpoints == "outside" and "checkpoint starting" in words:
            return "a checkpoint began within the window (`checkpoints: anywhere` allows it)"
        return ""

    def environment(self, ground: Ground) -> Mapping[str, str]:
        return {
            "PGHOST": ground.place.sockets,
            "PGPORT": str(_port(ground)),
            "PGUSER": DATABASE,
            "PGDATABASE": DATABASE,
            "PGPASSWORD": ground.secret,
        }


def _port(ground: Ground) -> int:
    return ground.port or POSTGRESQL_PORT


def _at(ground: Ground, user: str) -> tuple[str, ...]:
    return ("-h", ground.place.sockets, "-p", str(_port(ground)), "-U", user)


def _psql(ground: Ground, database: str, statement: str) -> tuple[str, ...]:
    options = ("-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement)
    return (ground.programs.paths["psql"], *_at(ground, OWNER), *options)
