"""The five samplers by name, each with what it needs said plainly when it is missing.

| name | for | limits |
|---|---|---|
| tpe | the default; numbers, choices, constraints; 3-8 ms a draw | no noise model |
| gp | smooth objectives, few trials; fits the noise; constraints | needs torch; 0.3-2 s a draw |
| cmaes | many trials on numbers | choices drawn at random, constraints ignored, unpickles |
| random, qmc | reference, start-up designs | learn nothing, constraints ignored |
"""

from __future__ import annotations

from enum import StrEnum
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ktune.errors import RefusedError
from ktune.search.quiet import quiet

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class SamplerName(StrEnum):
    """`--sampler`."""

    TPE = "tpe"
    GP = "gp"
    CMAES = "cmaes"
    RANDOM = "random"
    QMC = "qmc"


NEEDS: dict[SamplerName, tuple[str, ...]] = {
    SamplerName.GP: ("torch", "scipy"),
    SamplerName.CMAES: ("cmaes",),
    SamplerName.QMC: ("scipy",),
}
"""Modules besides Optuna; the extra of ktune that brings them has the sampler's name."""


def missing_modules(name: SamplerName) -> tuple[str, ...]:
    """What a sampler needs and this Python lacks."""
    return tuple(module for module in NEEDS.get(name, ()) if find_spec(module) is None)


def refuse_missing(name: SamplerName) -> None:
    """Raises RefusedError where a module that the sampler needs is missing; names the extra."""
    missing = missing_modules(name)
    if missing:
        raise RefusedError(
            f"the sampler {name.value} needs {' and '.join(missing)}, not installed here",
            hint=f"pip install 'ktune[{name.value}]', or use --sampler tpe",
        )


def refuse_pruning() -> None:
    """Raises RefusedError where scipy, which the Wilcoxon test needs, is missing."""
    if find_spec("scipy") is None:
        raise RefusedError(
            "search.pruning: wilcoxon needs scipy, not installed here",
            hint="pip install 'ktune[pruning]', or leave pruning out",
        )


STARTUP = 10
"""Random trials before tpe goes by what it has seen: Optuna's default (docs/search.md compares)."""


def make_sampler(
    name: SamplerName, seed: int, *, trials_before: int = 0, startup: int = STARTUP
) -> BaseSampler:
    """Build the sampler. `startup`: random trials of tpe, those before it included.

    `trials_before` enters the seed, for a resumed study would else draw its first random points
    again. (A QMC sequence goes on by itself, by an index in the study: its seed stays.)

    Raises:
        RefusedError: a module is missing; names the extra to install.
    """
    refuse_missing(name)
    from optuna import samplers

    seeded = (seed + 1_000_003 * trials_before) % 2**32
    with quiet():
        match name:
            case SamplerName.TPE:
                return samplers.TPESampler(seed=seeded, n_startup_trials=startup)
            case SamplerName.GP:
                return samplers.GPSampler(seed=seeded, warn_independent_sampling=False)
            case SamplerName.CMAES:
                return samplers.CmaEsSampler(
                    seed=seeded, warn_independent_sampling=False, with_margin=True
                )
            case SamplerName.RANDOM:
                return samplers.RandomSampler(seed=seeded)
            case SamplerName.QMC:
                return samplers.QMCSampler(
                    seed=seed % 2**32, scramble=True, warn_independent_sampling=False
                )
