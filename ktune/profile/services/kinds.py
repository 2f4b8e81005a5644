"""The kinds of services, as one type of a profile."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Discriminator, Tag

from ktune.profile.errors import did_you_mean, shown
from ktune.profile.fields import wrong
from ktune.profile.services.f2fs import F2fsService
from ktune.profile.services.link import LinkService
from ktune.profile.services.programs import (
    MemcachedService,
    NginxService,
    PostgresqlService,
    RedisService,
)
from ktune.profile.services.swap import SwapService

SERVICE_KINDS = ("link", "swap", "f2fs", "postgresql", "redis", "nginx", "memcached")


def _known_kind(value: object) -> object:
    if not isinstance(value, dict):
        if hasattr(value, "kind"):
            return value
        raise wrong("expected a mapping with `kind`")
    kind = value.get("kind")
    if kind not in SERVICE_KINDS:
        raise wrong(
            f"unknown kind of service {shown(kind)}; known: {', '.join(SERVICE_KINDS)}"
            + did_you_mean(str(kind), SERVICE_KINDS),
            at=("kind",),
        )
    return value


def _kind(value: object) -> str:
    return str(value["kind"] if isinstance(value, dict) else getattr(value, "kind", ""))


Service = Annotated[
    Annotated[LinkService, Tag("link")]
    | Annotated[SwapService, Tag("swap")]
    | Annotated[F2fsService, Tag("f2fs")]
    | Annotated[PostgresqlService, Tag("postgresql")]
    | Annotated[RedisService, Tag("redis")]
    | Annotated[NginxService, Tag("nginx")]
    | Annotated[MemcachedService, Tag("memcached")],
    Discriminator(_kind),
    BeforeValidator(_known_kind),
]
"""Told apart by `kind`."""
