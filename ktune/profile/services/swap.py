"""Model of a swap file, and of the little memory that makes a workload need it."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ktune.profile.fields import Model, Size


class SwapService(Model):
    """A swap file of the run's own, beside windows with little memory."""

    tags: ClassVar[frozenset[str]] = frozenset({"swap"})
    kind: Literal["swap"] = Field(
        description="A swap file of the run's own, and windows with little memory (root, memory "
        "controller of cgroup version 1).",
        examples=["swap"],
    )
    size: Size = Field(
        ge=8 << 20,
        le=64 << 30,
        description="Bytes of the swap file, in the state directory.",
        examples=["512M"],
    )
    memory: Size = Field(
        ge=8 << 20,
        le=1 << 40,
        description="Memory of the workload in each window, page cache included; the rest of it is "
        "swapped out.",
        examples=["128M"],
    )
