"""The promotion rule by itself, on simulated pairs: error rates, power, and the rules it replaced.

    python -m benchmarks.evidence.rule                 all tables, some minutes
    python -m benchmarks.evidence.rule --runs 200      a small form

Pure arithmetic on `ktune.evidence`, no kernel, no sessions. Seeded. Exit 1 where a promise is
broken beyond chance.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.costs.rig import machine, note, table
from benchmarks.evidence import alternatives
from benchmarks.evidence.noise import PAIR_SD, Kind, ar1_season_drift, gauss, spiky, student3
from benchmarks.evidence.rates import percent, share, upper_limit
from ktune.evidence.binomial import lower_limit
from ktune.evidence.coin import Order, toss
from ktune.evidence.decide import Decision, Outcome, Rule, decide
from ktune.evidence.estimate import estimate_gain
from ktune.evidence.pairs import Direction, PairResult, PairState, change_of, log_gain_of

NOMINAL = 0.05
PAIRS = 30
AFTER = 10
MEI = 0.02
EFFECTS = (0.25, 0.5, 0.68, 0.8, 1.0, 1.5, 2.0, 3.0)
_MARGIN_SDS = (0.03, 0.05, 0.07, 0.10)
_STOPS = ((0.03, math.sqrt(2) * PAIR_SD), (0.05, math.sqrt(2) * PAIR_SD), (0.03, PAIR_SD))
_FAR = 1_000_003
"""Between the seeds of two runs."""


@dataclass(frozen=True)
class Setting:
    """What is true of the pairs of a row, and what must be shown of them."""

    name: str
    noise: Kind
    gain: float = 0.0
    """Log ratio."""
    order_effect: float = 0.0
    by_coin: bool = True
    minimum_gain: float = 0.0
    """What must be exceeded, as a log ratio."""


def pairs_of(setting: Setting, run: int, count: int = PAIRS) -> list[PairResult]:
    """Pairs of one simulated proof: the windows of a stream, two by two, in the coin's order."""
    windows = setting.noise(run)
    found = []
    for draw in range(count):
        first, second = next(windows), next(windows) + setting.order_effect
        candidate_first = setting.by_coin and toss(run, "rule", draw) is Order.CANDIDATE_FIRST
        log_ratio = first - second if candidate_first else second - first
        order = Order.CANDIDATE_FIRST if candidate_first else Order.BASELINE_FIRST
        found.append(PairResult(draw, order, PairState.MEASURED, setting.gain + log_ratio))
    return found


def decisions(setting: Setting, runs: int, seed: int) -> list[Decision]:
    """So many decisions, each on windows of its own."""
    rule = Rule(minimum_gain=setting.minimum_gain)
    return [decide(pairs_of(setting, seed * _FAR + run), rule) for run in range(runs)]


def _of_sd(kind: Callable[..., object], sd: float) -> Kind:
    return lambda seed: kind(seed, sd)  # type: ignore[return-value]


def _still(seed: int) -> itertools.repeat[float]:
    return itertools.repeat(0.0)


def false_promotions(runs: int, seed: int) -> bool:
    """No true gain: how many are promoted, and whether that is what chance allows."""
    mei = log_gain_of(MEI)
    settings = [
        Setting("Gauss", gauss),
        Setting("Student t (3)", student3),
        Setting("spiky", spiky),
        Setting("AR(1) .9, season, drift", ar1_season_drift),
        Setting("order effect 2 %, sd 5 %", gauss, order_effect=0.02),
        Setting("order effect 2 %, sd 2 %", _of_sd(gauss, 0.02), order_effect=0.02),
        Setting("order effect 2 %, sd 0", _still, order_effect=0.02),
        Setting("true gain = MEI, against: mei", gauss, mei, minimum_gain=mei),
    ]
    bugs = [
        Setting("planted: fixed order, sd 5 %", gauss, order_effect=0.02, by_coin=False),
        Setting(
            "planted: fixed order, sd 2 %", _of_sd(gauss, 0.02), order_effect=0.02, by_coin=False
        ),
    ]
    kept, lines = True, []
    for setting in (*settings, *bugs):
        found = decisions(setting, runs, seed)
        hits = sum(item.outcome is Outcome.IMPROVED for item in found)
        limit = lower_limit(hits, runs, 0.99)
        met = (limit <= NOMINAL) == setting.by_coin
        kept &= met
        verdict = ("met" if setting.by_coin else "found out") if met else "MISSED"
        pairs = f"{statistics.fmean(item.pairs for item in found):.1f}"
        lines.append(
            (setting.name, f"{hits} / {runs}", share(hits, runs), percent(limit), verdict, pairs)
        )
    head = ("noise", "promoted", "rate", "99 % lower limit", "nominal 5 %", "pairs (mean)")
    table("The rule alone: no true gain", head, lines)
    return kept


def power(runs: int, seed: int) -> bool:
    """True gains in units of the sd."""
    kept, lines = True, []
    kinds: dict[str, Kind] = {"Gauss": gauss, "Student t (3)": student3, "spiky": spiky}
    for name, kind in kinds.items():
        promoted, pairs = [f"promoted, {name}"], [f"pairs (mean), {name}"]
        for effect in EFFECTS:
            found = decisions(Setting(name, kind, effect * PAIR_SD), runs, seed)
            hits = sum(item.outcome is Outcome.IMPROVED for item in found)
            promoted.append(share(hits, runs, 0))
            pairs.append(f"{statistics.fmean(item.pairs for item in found):.1f}")
        wanted = decisions(Setting(name, kind, log_gain_of(0.10)), runs, seed)
        hits = sum(item.outcome is Outcome.IMPROVED for item in wanted)
        kept &= upper_limit(hits, runs) >= 0.85
        promoted.append(share(hits, runs))
        pairs.append(f"{statistics.fmean(item.pairs for item in wanted):.1f}")
        lines += [promoted, pairs]
    head = ("true gain / sd", *(f"{effect:g}" for effect in EFFECTS), "10 % at sd 5 %")
    table("The rule alone: power within 30 pairs", head, lines)
    return kept


def margins(runs: int, seed: int) -> bool:
    """A constraint of 5 % beside a large gain: shown if nothing worsens, or right on the margin."""
    rule, lines, kept = Rule(margins={"p99": 0.05}), [], True
    for truth, worse in (("no worsening", 0.0), ("worse by the margin", 0.05)):
        cells = [truth]
        for sd in _MARGIN_SDS:
            rng, hits = random.Random(seed), 0
            for _ in range(runs):
                pairs = [
                    PairResult(
                        draw,
                        Order.BASELINE_FIRST,
                        PairState.MEASURED,
                        rng.gauss(0.5, 0.05),
                        {"p99": rng.gauss(worse, sd)},
                    )
                    for draw in range(PAIRS)
                ]
                hits += decide(pairs, rule).outcome is Outcome.IMPROVED
            kept &= not worse or lower_limit(hits, runs, 0.99) <= NOMINAL
            cells.append(share(hits, runs, 1 if worse else 0))
        lines.append(cells)
    head = ("truth", *(f"sd {percent(sd, 0)}" for sd in _MARGIN_SDS))
    table("The rule alone: a constraint of 5 % is shown", head, lines)
    return kept


def after_the_decision(runs: int, seed: int) -> bool:
    """What the pairs of the decision say of the gain, and what ten further pairs say."""
    lines, kept = [], True
    for change, sd in _STOPS:
        gain, at_stop, later, covered = log_gain_of(change), [], [], 0
        setting = Setting("", _of_sd(gauss, sd), gain)
        for run in range(runs):
            pairs = pairs_of(setting, seed * _FAR + run, PAIRS + AFTER)
            found = decide(pairs, Rule())
            if found.outcome is not Outcome.IMPROVED:
                continue
            seen = [pair.gain for pair in pairs[: found.pairs] if pair.gain is not None]
            at_stop.append(change_of(statistics.fmean(seen)))
            main = estimate_gain(pairs[found.pairs : found.pairs + AFTER], Direction.MAXIMIZE).main
            later.append(main.gain)
            covered += main.low <= change <= main.high
        if not later:
            continue
        kept &= upper_limit(covered, len(later)) >= 0.93
        lines.append(
            (
                f"{percent(change, 0)}, {percent(sd, 2)}",
                percent(statistics.median(at_stop)),
                percent(statistics.median(later)),
                f"{share(covered, len(later))} of {len(later)}",
            )
        )
    head = ("true gain, sd", "median at the stop", "median of ten further pairs", "95 % covers")
    table("The reported gain", head, lines)
    return kept


def coin_alone() -> bool:
    """Exact: all pairs are equal in size, so that only the coin varies."""
    kept, lines = True, []
    for name, rejects in alternatives.RULES.items():
        rates = [m * alternatives.by_the_coin(rejects, NOMINAL / m, PAIRS) for m in range(1, 5)]
        if rejects is alternatives.symmetric:
            kept &= max(rates) <= NOMINAL
        lines.append((name, *(percent(rate, 2) for rate in rates)))
    head = ("rule", "1 finalist", "2", "3", "4")
    table("The coin alone decides (exact, union bound): promoted at a stated 5 %", head, lines)
    return kept


def side_by_side(runs: int, seed: int) -> None:
    """The same pairs for the rules that were weighed, without futility."""
    kinds: dict[str, Kind] = {"Gauss": gauss, "t (3)": student3, "spiky": spiky}
    cells = [(kind, effect) for kind in kinds for effect in (0.0, 0.5, 1.0, 2.0)]
    lines = []
    for name, rejects in alternatives.RULES.items():
        line = [name]
        for kind, effect in cells:
            setting = Setting(kind, kinds[kind], effect * PAIR_SD)
            stops = [
                alternatives.first(rejects, _gains(setting, seed * _FAR + run), NOMINAL)
                for run in range(runs)
            ]
            fired = [stop for stop in stops if stop is not None]
            pairs = f", {statistics.median(fired):g}" if effect and fired else ""
            line.append(share(len(fired), runs, 0 if effect else 1) + pairs)
        lines.append(line)
    head = ("rule", *(f"{kind}, {effect:g} sd" for kind, effect in cells))
    table("Rules that were weighed: promoted, and pairs (median) where they fire", head, lines)


def _gains(setting: Setting, run: int) -> list[float]:
    return [pair.gain for pair in pairs_of(setting, run) if pair.gain is not None]


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description="The promotion rule by itself.")
    parser.add_argument("--runs", type=int, default=2000, help="for each cell")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    print(machine())
    kept = coin_alone()
    kept &= false_promotions(2 * options.runs, options.seed)
    kept &= power(options.runs, options.seed)
    kept &= margins(options.runs, options.seed)
    kept &= after_the_decision(options.runs, options.seed)
    side_by_side(max(1, options.runs // 4), options.seed)
    note(
        f"{options.runs} runs a cell (no true gain: {2 * options.runs}, rules that were weighed: "
        f"{max(1, options.runs // 4)}), seed {options.seed}; sd is that of a pair's log ratio."
    )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
