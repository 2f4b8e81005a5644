"""The methods by name, and how one runs on a recorded surface."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.comparison.ktune_side import KtuneSide
from benchmarks.comparison.mlos import run_mlos
from benchmarks.comparison.problem import Outcome, Setting, simulated
from benchmarks.comparison.searches import plain
from benchmarks.surfaces.model import Surface
from benchmarks.surfaces.simulate import StandIns
from ktune.profile.space import Dimension, DimensionKind
from ktune.search.samplers import SamplerName, missing_modules
from ktune.search.space import Axis, Space

DEFAULT, TUNED, RANDOM, TPE = "default", "TuneD", "random", "Optuna TPE"
FLAML, SMAC = "MLOS FLAML", "MLOS SMAC"
TPE_WARM, KTUNE_WARM = "Optuna TPE, TuneD first", "ktune tpe, TuneD first"
"""What TuneD sets is measured first, as an `expert` setting of a profile is."""
KTUNE = (*(f"ktune {name.value}" for name in SamplerName), KTUNE_WARM)
METHODS = (DEFAULT, TUNED, RANDOM, TPE, TPE_WARM, FLAML, SMAC, *KTUNE)
DEAR = frozenset({FLAML, SMAC, f"ktune {SamplerName.GP.value}"})
"""They get few seeds: a run takes half a minute or more."""
FIXED = frozenset({DEFAULT, TUNED})
"""Without a search, so without chance."""
_TUNED = json.loads(Path(__file__).with_name("tuned.json").read_text())


@dataclass(frozen=True)
class Tools:
    """What there is to run with."""

    mlos_venv: Path | None

    def missing(self, method: str) -> str:
        """Why a method can't run here; empty where it can."""
        if method in (FLAML, SMAC):
            there = self.mlos_venv and (self.mlos_venv / "bin" / "mlos_bench").exists()
            return "" if there else "install_mlos.sh VENV, then --mlos-venv VENV"
        if method in KTUNE:
            modules = missing_modules(SamplerName(sampler_of(method)))
            return f"{' and '.join(modules)} not installed" if modules else ""
        return ""


def run_seeds(
    surface: Surface, method: str, windows: int, seeds: Sequence[int], tools: Tools
) -> Iterator[tuple[int, Outcome]]:
    """Runs of one method, one seed after the other."""
    reference = surface.recording.head.reference
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ktune-compare-")))
        folder.chmod(0o755)
        if method in KTUNE:
            expert = [tuned_setting(surface)] if method == KTUNE_WARM else []
            side = stack.enter_context(KtuneSide(folder, StandIns(surface), windows, expert))
            for seed in seeds:
                yield seed, side.run(sampler_of(method), seed)
            return
        space = space_of(surface.axes, reference)
        for seed in seeds:
            if method in FIXED:
                chosen = tuned_setting(surface) if method == TUNED else reference
                yield seed, Outcome(chosen, None, 0, 0.0)
                continue
            problem = simulated(surface, space, seed, windows)
            if method in (FLAML, SMAC):
                assert tools.mlos_venv is not None
                optimizer = method.split()[1]
                yield seed, run_mlos(problem, optimizer, tools.mlos_venv, folder / f"mlos-{seed}")
            else:
                first = [tuned_setting(surface)] if method == TPE_WARM else []
                yield seed, plain(problem, "random" if method == RANDOM else "tpe", first)


def sampler_of(method: str) -> str:
    """Of one of ktune's."""
    return method.split()[1].rstrip(",")


def tuned_setting(surface: Surface) -> Setting:
    """`tuned` of a recorded surface."""
    head = surface.recording.head
    return tuned(head.surface, surface.axes, head.reference)


def tuned(surface: str, axes: Sequence[Axis], reference: Setting) -> Setting:
    """What the best matching TuneD profile sets; the rest as the reference has it."""
    values = _TUNED["surfaces"][surface]["values"]
    return tuple(values.get(axis.name, now) for axis, now in zip(axes, reference, strict=True))


def tuned_axes(surface: str) -> frozenset[str]:
    """The axes that it sets."""
    return frozenset(_TUNED["surfaces"][surface]["values"])


def tuned_profile(surface: str) -> str:
    """Which one it is."""
    return str(_TUNED["surfaces"][surface]["profile"])


def tuned_source() -> str:
    """Where its values are from."""
    return str(_TUNED["source"])


def space_of(axes: Sequence[Axis], reference: Setting) -> Space:
    """The axes by themselves, each a knob of its own (an element of a vector, too)."""
    dimensions = []
    for axis in axes:
        if axis.number is None:
            dimensions.append(Dimension(axis.name, DimensionKind.CHOICE, choices=axis.choices))
            continue
        number = axis.number
        dimensions.append(
            Dimension(
                axis.name,
                DimensionKind.INT,
                low=number.low,
                high=number.high,
                step=number.step,
                log=number.log,
                special=axis.choices,
            )
        )
    names = [axis.name for axis in axes]
    return Space(dimensions, (), dict(zip(names, reference, strict=True)))
