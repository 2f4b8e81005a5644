"""Model of the emulated link."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ktune.profile.fields import Duration, LinkRate, Model, Size, Whole


class LinkService(Model):
    """An emulated long network link between the two namespaces of an ephemeral scope."""

    tags: ClassVar[frozenset[str]] = frozenset({"link"})
    kind: Literal["link"] = Field(
        description="An emulated network link with a round-trip time, a rate and a queue.",
        examples=["link"],
    )
    rtt: Duration = Field(
        description="Round-trip time of the link, both directions together.", examples=["20ms"]
    )
    rate: LinkRate = Field(
        default=None,
        description="Rate in each direction in decimal bits per second; `unlimited` sets none.",
        examples=["unlimited", "1Gbit"],
    )
    queue: Size = Field(
        default=16 * 1024**2,
        gt=0,
        description="Bytes that the link holds in each direction before it drops.",
        examples=["16M"],
    )
    mtu: Whole = Field(
        default=1500,
        ge=576,
        le=65535,
        description="Largest packet of the link in bytes.",
        examples=[1500],
    )
