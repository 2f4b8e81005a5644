"""Models of the servers that a profile starts and stops."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, Strict, model_validator

from ktune.profile.cpus import Cpus
from ktune.profile.fields import Model, Size, Text, VersionExpression, Whole, wrong

SERVICE_NAME = r"^[a-z][a-z0-9_-]*$"
MAX_NAME = 20
"""Names are part of the path of a Unix socket, which holds 107 characters (unix(7))."""

ServiceName = Annotated[str, Strict(), Field(pattern=SERVICE_NAME, max_length=MAX_NAME)]


class ProgramService(Model):
    """What all servers have in common."""

    kind: str
    name: ServiceName = Field(
        default="",
        description="What variables, resets and errors call it; its kind where not given.",
        examples=["db"],
    )
    cpus: Cpus | None = Field(
        default=None,
        description="CPUs that it may run on; anywhere where not given.",
        examples=[[0], "0-3"],
    )
    user: Text | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\$?$",
        description="Unprivileged user that runs it (needs root); where not given, the caller, and "
        "for root the user behind sudo, else nobody.",
        examples=["postgres"],
    )
    version: VersionExpression | None = Field(
        default=None,
        description="Versions of the server that the profile is for.",
        examples=[">= 15, < 17"],
    )
    port: Whole | None = Field(
        default=None,
        ge=1024,
        le=65535,
        description="Port on 127.0.0.1 that it listens on beside its Unix socket; none where not "
        "given.",
        examples=[15432],
    )

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if isinstance(value, dict) and "name" not in value:
            return {**value, "name": value.get("kind")}
        return value


class PostgresqlService(ProgramService):
    """A PostgreSQL cluster of its own, filled by `pgbench -i`."""

    tags: ClassVar[frozenset[str]] = frozenset({"postgresql"})
    kind: Literal["postgresql"] = Field(
        description="A PostgreSQL cluster of the run's own.", examples=["postgresql"]
    )
    scale: Whole = Field(
        default=10,
        ge=1,
        le=100_000,
        description="Scale of the pgbench tables: 100,000 accounts and about 16 MB each.",
        examples=[10],
    )
    checkpoints: Literal["outside", "anywhere"] = Field(
        default="outside",
        description="`outside`: none begins by the clock or by 4 GB of WAL, and a window in which "
        "one begins all the same is void. `anywhere`: the server's own defaults.",
        examples=["outside"],
    )


class RedisService(ProgramService):
    """A Redis server that keeps nothing on disk, or an append-only file."""

    tags: ClassVar[frozenset[str]] = frozenset({"redis"})
    kind: Literal["redis"] = Field(
        description="A Redis server of the run's own.", examples=["redis"]
    )
    append_only: Literal["off", "everysec", "always"] = Field(
        default="off",
        description="Whether it keeps an append-only file, and when it has that written: once a "
        "second or before each answer.",
        examples=["everysec"],
    )
    keys: Whole = Field(
        default=0,
        ge=0,
        le=100_000_000,
        description="Keys that it holds when it starts, named as redis-benchmark's: "
        "key:000000000000 and on.",
        examples=[100000],
    )
    value: Size = Field(
        default=100, ge=1, le=1 << 20, description="Bytes of each value.", examples=[100, "1K"]
    )


class NginxService(ProgramService):
    """An nginx that serves files, or hands requests on to one that does."""

    tags: ClassVar[frozenset[str]] = frozenset({"nginx"})
    kind: Literal["nginx"] = Field(description="An nginx of the run's own.", examples=["nginx"])
    upstream: ServiceName | None = Field(
        default=None,
        description="Another nginx of the profile, listed before and with a port, to which it "
        "hands all requests on instead of serving files.",
        examples=["files"],
    )
    workers: Whole = Field(
        default=1, ge=1, le=1024, description="Worker processes.", examples=[1, 4]
    )
    files: Whole = Field(
        default=16,
        ge=1,
        le=100_000,
        description="Files that it serves: /0.bin, /1.bin and on.",
        examples=[16],
    )
    size: Size = Field(
        default=16 * 1024,
        ge=1,
        le=1 << 30,
        description="Bytes of each file.",
        examples=["16K"],
    )

    @model_validator(mode="after")
    def _serves_or_hands_on(self) -> NginxService:
        for key in ("files", "size"):
            if self.upstream is not None and key in self.model_fields_set:
                raise wrong("one with an `upstream` has no files of its own", at=(key,), key=True)
        return self


class MemcachedService(ProgramService):
    """A memcached."""

    tags: ClassVar[frozenset[str]] = frozenset({"memcached"})
    kind: Literal["memcached"] = Field(
        description="A memcached of the run's own.", examples=["memcached"]
    )
    memory: Size = Field(
        default=64 << 20,
        ge=1 << 20,
        le=1 << 40,
        description="Memory for values.",
        examples=["64M"],
    )
    threads: Whole = Field(default=1, ge=1, le=64, description="Threads.", examples=[1, 4])
    keys: Whole = Field(
        default=0,
        ge=0,
        le=10_000_000,
        description="Keys that it holds when it starts: key:000000000000 and on.",
        examples=[100000],
    )
    value: Size = Field(
        default=100, ge=1, le=512 * 1024, description="Bytes of each value.", examples=[100, "1K"]
    )
