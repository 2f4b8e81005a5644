"""What was told of a trial, as plain data in Optuna's storage: what `resume` reads back."""

from __future__ import annotations

from typing import Any

from ktune.search.trials import InfeasibleTrial, ScoredTrial, Told, VoidTrial


def packed(told: Told) -> dict[str, Any]:
    """As JSON."""
    if isinstance(told, ScoredTrial):
        return {
            "score": told.score,
            "constraints": dict(told.constraints),
            "objectives": dict(told.objectives),
        }
    if isinstance(told, InfeasibleTrial):
        return {"infeasible": told.reason}
    return {"void": told.reason}


def unpacked(kept: dict[str, Any], revised: dict[str, Any] | None) -> Told:
    """Back again; `revised` is the score that was corrected since."""
    if "score" in kept:
        told = revised or kept
        return ScoredTrial(told["score"], kept["constraints"], told["objectives"])
    if "infeasible" in kept:
        return InfeasibleTrial(kept["infeasible"])
    return VoidTrial(kept["void"])
