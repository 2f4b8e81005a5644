"""What the runtime asks of each kind of server."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ktune.profile.services.places import Place

if TYPE_CHECKING:  # the runner needs no model
    from ktune.measure.services.programs import Programs


@dataclass(frozen=True)
class Ground:
    """Where and as whom a server runs. `user` runs it, `client` the workload; `secret`: a password
    that was drawn with the template."""

    place: Place
    programs: Programs
    user: str
    client: str
    port: int | None
    secret: str = ""


class Hands(Protocol):
    """What a kind may have done while it makes a template or waits for its server."""

    def run(self, *argv: str, timeout_s: float = 60.0) -> str:
        """A command as the server's user; its output. Raises ServiceError."""
        ...

    def fill(self, *argv: str, timeout_s: float = 600.0) -> None:
        """`ktune.measure.workloads.fill` as that user, in the scope. Raises ServiceError."""
        ...

    def serving(self) -> AbstractContextManager[None]:
        """The server runs on the data as they are, and ends in order. Raises ServiceError."""
        ...


class Kind(Protocol):
    """One kind of server, with the profile's settings."""

    @property
    def gentle(self) -> int:
        """The signal that ends it in order."""
        ...

    @property
    def quick(self) -> int:
        """... and at once, without leaving anything half written in the kernel."""
        ...

    def argv(self, ground: Ground) -> tuple[str, ...]:
        """The server's command line: in the foreground, no configuration of the host's."""
        ...

    def made_of(self) -> Mapping[str, str | int]:
        """What its template depends on, besides the server's version; empty: it needs none."""
        ...

    def make(self, ground: Ground, hands: Hands) -> None:
        """Fill the empty data folder. Raises ServiceError, OSError."""
        ...

    def settle(self, ground: Ground) -> Mapping[str, str]:
        """Files of the data folder that are written anew before each start, by name."""
        ...

    def ready(self, ground: Ground, hands: Hands) -> bool:
        """Whether it answers now (asked again while not). Raises ServiceError."""
        ...

    def checkpoint(self, ground: Ground) -> tuple[str, ...]:
        """The command that makes a checkpoint; empty: it has none."""
        ...

    def disturbance(self, words: str) -> str:
        """What its words of a window say against that window; empty: nothing."""
        ...

    def environment(self, ground: Ground) -> Mapping[str, str]:
        """What its clients find in their environment."""
        ...
