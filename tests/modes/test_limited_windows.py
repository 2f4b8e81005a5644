"""A run that may take so many windows: never more, and what a proof does not need is searched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from ktune.evidence.pairs import Arm
from ktune.modes.resume import progress_of
from ktune.modes.settings import Overrides, settings_of
from ktune.profile.load import parse_profile
from ktune.records.types import Phase, Proof, ProofOutcome, WindowRecord
from tests.modes.rig import FIN, PROFILE, Simulated, Values, rig

_LEARNING = (Phase.LEARNING, Phase.FINALISTS)


def limited(windows: int, simplify: bool = False) -> str:
    search = f"{{trials: 500, stop_after: 500, baseline_every: 4, seed: 11, windows: {windows}"
    return PROFILE.replace(
        "{trials: 12, stop_after: 12, baseline_every: 4, seed: 11",
        search + ("" if simplify else ", simplify: false"),
    )


def rising(values: Values, _: int) -> float:
    fin = values[FIN]
    assert isinstance(fin, int)
    return 100.0 + fin


@dataclass
class Ran:
    proof: Proof
    records: tuple[WindowRecord, ...]


def ran(tmp_path: Path, windows: int, noise: float, *, simplify: bool = False) -> Ran:
    with rig(tmp_path, limited(windows, simplify)) as it:
        with it.tuning(Simulated(rising, noise=noise)) as tuning:
            proof = tuning.run().proof
        assert proof is not None
        return Ran(proof, it.study.windows().records)


def count(records: tuple[WindowRecord, ...], *phases: Phase) -> int:
    return sum(record.phase in phases for record in records)


@pytest.mark.parametrize(("windows", "searched"), [(54, 14), (60, 22), (120, 82)])
def test_a_quiet_run_proves_its_best_within_its_windows(
    tmp_path: Path, windows: int, searched: int
) -> None:
    """What the proof does not need is searched, as soon as there is something to tell it by."""
    it = ran(tmp_path, windows, noise=0.005)

    assert it.proof.outcome is ProofOutcome.IMPROVED
    assert windows - 12 <= len(it.records) <= windows
    assert count(it.records, *_LEARNING) >= searched


def test_a_noisy_run_keeps_more_for_its_proof(tmp_path: Path) -> None:
    quiet = ran(tmp_path / "quiet", 120, noise=0.005)
    noisy = ran(tmp_path / "noisy", 120, noise=0.3)

    assert len(noisy.records) <= 120
    assert count(noisy.records, *_LEARNING) <= count(quiet.records, *_LEARNING) - 20


def test_leaving_out_what_does_not_matter_is_within_the_windows_too(tmp_path: Path) -> None:
    it = ran(tmp_path, 80, noise=0.005, simplify=True)

    assert it.proof.outcome is ProofOutcome.IMPROVED
    assert len(it.records) <= 80


def test_a_calibration_comes_on_top_and_a_resume_goes_on_counting() -> None:
    settings = settings_of(
        parse_profile(PROFILE.encode(), file="simulated.yaml"), Overrides(), drawn_seed=0
    )
    phases = [Phase.CALIBRATION, Phase.SWITCHING, Phase.LEARNING, Phase.FINALISTS, Phase.DECISION]
    records = [
        WindowRecord(
            seq=number,
            phase=phase,
            arm=Arm.BASELINE,
            pair=None,
            trial=None,
            assignment={},
            metrics={"speed": 100.0},
            validity="valid",
            reason="",
            started_at="",
            duration_s=1.0,
        )
        for number, phase in enumerate(phases)
    ]

    assert progress_of(records, settings).windows_before_search == 2
