"""Model of an f2fs of the run's own."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ktune.profile.fields import Model, Size


class F2fsService(Model):
    """A log-structured file system on a loop device, there as long as the run."""

    tags: ClassVar[frozenset[str]] = frozenset({"f2fs"})
    kind: Literal["f2fs"] = Field(
        description="A new f2fs on a loop device, gone with the run (root, a kernel with f2fs, "
        "f2fs-tools).",
        examples=["f2fs"],
    )
    size: Size = Field(
        ge=64 << 20,
        le=1 << 40,
        description="Bytes of its image, which is in the state directory.",
        examples=["256M"],
    )
    mode: Literal["adaptive", "lfs"] = Field(
        default="adaptive",
        description="Its mount option `mode`: `lfs` never writes in place nor into holes.",
        examples=["lfs"],
    )
