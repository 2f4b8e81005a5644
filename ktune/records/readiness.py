"""What a calibration found: `readiness.json` beside its windows. Standard library only.

Made by `ktune.modes.readiness`; kept by a calibration, and by a study that calibrated before its
search or took a calibration over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ktune.errors import KtuneError
from ktune.evidence.power import TARGET
from ktune.evidence.readiness import Averaging, Effect, Spread
from ktune.kernel.values import Value
from ktune.records import atomic
from ktune.records.codec import encode
from ktune.records.stored import read_record

_FILE = "readiness.json"


@dataclass(frozen=True)
class Resolution:
    """What a proof of the gain in question will take."""

    gain: float
    """The true gain asked about, as a fraction: the MEI (`against: mei`: on top of the MEI)."""
    power: float
    """Share of proofs that would show it, at the upper limit of the noise."""
    power_as_measured: float
    """The same at the noise as measured."""
    pairs_allowed: int
    pairs_needed: int | None
    """For a power of 80 %; None where the most that is looked at is not enough."""
    smallest_gain: float | None
    """Shown with a power of 80 % within the pairs allowed; None where no gain is."""
    expected_s: float
    longest_s: float
    """The pairs of decision and gain together."""


@dataclass(frozen=True)
class Gate:
    """The promotion rule, run on pairs of identical settings."""

    fired: bool
    e_value: float
    threshold: float
    reason: str


@dataclass(frozen=True)
class Waiting:
    """How long to wait after a switch. `warm_up` is in the units of the profile's `measure:`."""

    settle_now_s: float
    settle_s: float
    warm_up: int | None
    unit: str
    enough: bool
    """False: what is recommended may still be too short."""


@dataclass(frozen=True)
class Readiness:
    """All that a calibration found. Spreads and effects are log ratios."""

    ready: bool
    pairs: int
    windows: int
    window_s: float
    """Median length of a window, switching and settling included."""
    noise: Spread
    constraints: Mapping[str, Spread]
    order: Effect
    autocorrelation: float
    carry_over: Effect | None
    """The first baseline window after a candidate; None: too few blocks could be measured."""
    lasting: Effect | None
    """The second one."""
    warm_up: Effect | None
    """The first window of a candidate against its second."""
    waiting: Waiting
    averaging: Averaging | None
    """None: too few pairs."""
    gate: Gate
    proof: Resolution
    problems: tuple[str, ...]
    """Why it is not ready."""
    helps: tuple[str, ...]
    remarks: tuple[str, ...]
    """Disturbances that cost power and don't make a proof wrong."""
    switched_to: Mapping[str, Value] = field(default_factory=dict)
    """What the candidate of the blocks changed."""
    tune_windows: int = 0
    """Windows of a whole `tune`, as planned."""
    source: str = ""
    """In a study: the calibration that this was taken over from; empty: its own windows."""

    @property
    def undecided(self) -> bool:
        """Not ready only because so few pairs know the noise poorly: as measured it would do."""
        return not self.ready and not self.gate.fired and self.proof.power_as_measured >= TARGET


def write_readiness(folder: Path, found: Readiness) -> None:
    """Put it beside its windows. Raises KtuneError."""
    try:
        atomic.write_json(folder / _FILE, encode(found))
    except OSError as error:
        raise KtuneError(f"the calibration can't be written: {error.strerror}") from error


def read_readiness(folder: Path) -> Readiness | None:
    """None where there is none. Raises RecordError."""
    return read_record(Readiness, folder / _FILE)
