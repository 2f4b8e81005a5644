"""How benchmarks print what a study has proven."""

from __future__ import annotations

from ktune.records.types import Proof


def gain_text(proof: Proof | None) -> str:
    """Of the pairs after the decision, with its interval."""
    if proof is None or proof.gain is None:
        return "-"
    low, high = proof.gain.interval
    return f"{proof.gain.estimate:+.1%} [{low:+.1%}, {high:+.1%}]"


def claimed_text(proof: Proof | None) -> str:
    """What the search alone would have reported."""
    claimed = None if proof is None else proof.claimed_by_search
    return "-" if claimed is None else f"{claimed:+.1%}"
