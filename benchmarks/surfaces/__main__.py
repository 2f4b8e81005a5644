"""Prints what the recorded surfaces hold: how much, the noise, and how well they are interpolated.

python -m benchmarks.surfaces [NAME ...] [--recorded FOLDER]
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.costs.rig import note, table
from benchmarks.surfaces.definitions import NAMES
from benchmarks.surfaces.model import Surface
from benchmarks.surfaces.store import RECORDED, read


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="What the recorded surfaces hold.")
    parser.add_argument("name", nargs="*", help=", ".join(NAMES))
    parser.add_argument("--recorded", type=Path, default=RECORDED)
    options = parser.parse_args(argv)
    surfaces = load(options.recorded, options.name or NAMES)
    if not surfaces:
        raise SystemExit(f"nothing is recorded in {options.recorded}: benchmarks.surfaces.record")
    show(surfaces)
    return 0


def load(folder: Path, names: Sequence[str] = NAMES) -> list[Surface]:
    """Those that are there."""
    paths = [folder / f"{name}.jsonl" for name in names]
    return [Surface(read(path)) for path in paths if path.exists()]


def show(surfaces: Sequence[Surface]) -> None:
    """Noise and interpolation, as Markdown."""
    noise_rows, error_rows = [], []
    for surface in surfaces:
        head, noise, errors = surface.recording.head, surface.noise(), surface.errors()
        best, _ = surface.best(head.points)
        noise_rows.append(
            [
                head.surface,
                str(len(head.axes)),
                surface.recording.text,
                f"{math.expm1(best):+.0%}",
                f"{noise.sd:.1%} ({noise.sd_low:.1%} to {noise.sd_high:.1%})",
                f"{noise.reference_sd:.1%}",
                f"{noise.lag1:+.2f}",
                f"{noise.drift_per_hour:+.1%}" if noise.hours > 0.1 else "too short",
            ]
        )
        error_rows.append(
            [head.surface]
            + [
                f"{value:.3f}"
                for value in (
                    errors.shepard,
                    errors.nearest,
                    errors.additive,
                    errors.mean,
                    errors.noise,
                )
            ]
            + [", ".join(f"{axis.name.split('/')[-1]} {w:g}" for axis, w in _weights(surface))]
        )
    table(
        "Recorded surfaces",
        [
            "surface",
            "knobs",
            "recorded",
            "best",
            "sd of a window (5-95 %)",
            "reference sd",
            "lag-1",
            "drift/h",
        ],
        noise_rows,
    )
    for surface in surfaces:
        note(f"{surface.recording.head.surface}: {'; '.join(surface.recording.sittings)}")
    table(
        "Leave-one-out error (log ratio)",
        ["surface", "Shepard", "nearest", "additive", "mean", "noise of a point", "weights"],
        error_rows,
    )


def _weights(surface: Surface) -> list[tuple[object, float]]:
    return list(zip(surface.axes, surface.weights, strict=True))


if __name__ == "__main__":
    sys.exit(main())
