"""What a recorded surface says of a setting that was not measured, and how windows there vary.

Interpolation is Shepard's: a mean of the measured points weighted by inverse distance, in the
logarithm of the metric. Each axis has a weight of its own, so that a knob without effect does not
dilute; weights, exponent and smoothing are those with the least leave-one-out error. Rejected: the
nearest point alone (steps that no kernel has, and the luckiest point as the optimum); a Gaussian
process (the GP sampler would search its own kind of function); a random forest (MLOS's SMAC and
FLAML would search theirs, and scikit-learn for one function). `errors` shows what each choice
costs, with the recorded noise beside it.

Noise is resampled from the recording itself: standardised deviations of windows from their
point's mean, in the order of measuring, in blocks of random length (the stationary bootstrap,
Politis and Romano 1994), times the spread around the setting. So heavy tails, what lasts from
window to window, and drift over a block stay as they were.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.surfaces.points import place_of
from benchmarks.surfaces.store import REFERENCE, Recording, axis_of
from ktune.kernel.values import Value
from ktune.search.space import Axis

Array = NDArray[np.float64]

BLOCK = 12
"""Mean length of a block, in windows."""
_WEIGHTS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
_POWERS = (2.0, 4.0, 8.0)
_SMOOTHINGS = (0.0, 0.05, 0.15, 0.5, 2.0)
_PASSES = 2
_SHRINK = 4.0
"""The spread around a point is worth so many windows of the whole surface's."""


@dataclass(frozen=True)
class Errors:
    """Leave-one-out errors (root mean square, log ratio) of ways to interpolate."""

    shepard: float
    nearest: float
    additive: float
    """Each axis's effect by itself, added up: what is left of it is interaction."""
    mean: float
    noise: float
    """Standard error of a point's own mean: no way can do better."""


@dataclass(frozen=True)
class Noise:
    """Of the recording; log ratios of single windows."""

    sd: float
    """Typical (median of the squares) around a point's mean."""
    sd_low: float
    sd_high: float
    """Fifth and ninety-fifth percentile over the surface."""
    reference_sd: float
    lag1: float
    """Correlation of neighbouring reference windows."""
    drift_per_hour: float
    """Slope of the reference windows, over `hours`."""
    hours: float


class Surface:
    """A recording that can be asked."""

    def __init__(self, recording: Recording) -> None:
        """Raises SystemExit where there is too little to interpolate."""
        self.recording = recording
        head = recording.head
        self.axes: tuple[Axis, ...] = tuple(axis_of(record) for record in head.axes)
        self.maximize = head.direction == "maximize"
        values = _by_point(recording)
        reference = [math.log(w.value) for w in recording.of_reference if w.value]
        if len(values) < len(self.axes) + 2 or len(reference) < 3:
            raise SystemExit(f"{head.surface}: too few windows to replay ({recording.text})")
        self._reference_log = float(np.mean(reference))
        kept = sorted(values)
        self._settings = [head.points[number] for number in kept] + [head.reference]
        self._means = np.array([np.mean(values[n]) for n in kept] + [self._reference_log])
        self._counts = np.array([len(values[n]) for n in kept] + [len(reference)], dtype=float)
        self._failing = _failing(recording)
        columns = list(zip(*self._settings, strict=True))
        self._codes = [_codes(a, column) for a, column in zip(self.axes, columns, strict=True)]
        self._gaps = np.stack([_gaps(codes, codes) for codes in self._codes])
        self.deviations = _deviations(recording, values, self._reference_log)
        self._pooled = float(np.mean([d * d for _, d in self.deviations])) or 1e-12
        self._variances = self._local_variances([*values], reference, values)
        self.weights, self.power, self.smoothing = self._fitted()

    def log_value(self, setting: Sequence[Value]) -> float:
        """The metric there, without noise, as its logarithm."""
        return self._interpolated(setting, self._means)

    def gain(self, setting: Sequence[Value]) -> float:
        """Log ratio to the reference, above 0 when better."""
        change = self.log_value(setting) - self.log_value(self.recording.head.reference)
        return change if self.maximize else -change

    def sd(self, setting: Sequence[Value]) -> float:
        """Spread of single windows there, as a log ratio."""
        return math.sqrt(self._interpolated(setting, self._variances))

    def fails(self, setting: Sequence[Value]) -> str:
        """Why a candidate there fails; empty where it does not: as the nearest measured point."""
        if not self._failing:
            return ""
        failing = list(self._failing)
        columns = list(zip(*failing, strict=True))
        squares = np.zeros(len(failing))
        for i, axis in enumerate(self.axes):
            gaps = _gaps(_codes(axis, [setting[i]]), _codes(axis, columns[i]))
            squares += self.weights[i] * gaps[0] ** 2
        near = int(np.argmin(squares))
        return self._failing[failing[near]] if squares[near] < self._squares(setting).min() else ""

    def stream(self, seed: int) -> Iterator[float]:
        """Standardised deviations for one run after the other, endless."""
        rng = random.Random(f"noise {self.recording.head.surface} {seed}")
        scale = math.sqrt(self._pooled)
        shapes = [d / scale for _, d in self.deviations]
        at = rng.randrange(len(shapes))
        while True:
            yield shapes[at]
            at = rng.randrange(len(shapes)) if rng.random() < 1 / BLOCK else (at + 1) % len(shapes)

    def best(self, draws: Sequence[Sequence[Value]]) -> tuple[float, Sequence[Value]]:
        """The largest true gain among settings, those that were measured included."""
        return max(
            ((self.gain(setting), setting) for setting in [*draws, *self._settings]),
            key=lambda item: item[0],
        )

    def errors(self) -> Errors:
        """How well what was left out is told."""
        means = self._means
        own = np.sqrt(np.mean(self._variances / self._counts))
        rest = (means.sum() - means) / (len(means) - 1)
        nearest = self._leave_one_out(self.weights, 64.0, 0.0)
        return Errors(
            shepard=self._leave_one_out(self.weights, self.power, self.smoothing),
            nearest=nearest,
            additive=self._additive_error(),
            mean=float(np.sqrt(np.mean((means - rest) ** 2))),
            noise=float(own),
        )

    def noise(self) -> Noise:
        """For a table."""
        spread = np.sqrt(self._variances)
        windows = [w for w in self.recording.of_reference if w.value]
        logs = np.array([math.log(w.value) for w in windows if w.value])
        hours = np.array([w.at_s / 3600 for w in windows])
        centred = logs - logs.mean()
        lag1 = float((centred[1:] * centred[:-1]).sum() / max(1e-12, (centred**2).sum()))
        slope = float(np.polyfit(hours, logs, 1)[0]) if len(set(hours)) > 1 else 0.0
        return Noise(
            sd=float(np.median(spread)),
            sd_low=float(np.quantile(spread, 0.05)),
            sd_high=float(np.quantile(spread, 0.95)),
            reference_sd=float(logs.std(ddof=1)),
            lag1=lag1,
            drift_per_hour=slope,
            hours=float(hours.max() - hours.min()),
        )

    def _squares(self, setting: Sequence[Value]) -> Array:
        """Squared distances to every measured setting."""
        found = np.zeros(len(self._settings))
        for i, axis in enumerate(self.axes):
            found += self.weights[i] * _gaps(_codes(axis, [setting[i]]), self._codes[i])[0] ** 2
        return found

    def _interpolated(self, setting: Sequence[Value], what: Array) -> float:
        squares = self._squares(setting)
        return float(_shepard(squares, what, self._counts, self.power, self.smoothing))

    def _leave_one_out(self, weights: Sequence[float], power: float, smoothing: float) -> float:
        squares = np.tensordot(np.array(weights), self._gaps**2, axes=1)
        np.fill_diagonal(squares, np.inf)
        told = _shepard(squares, self._means, self._counts, power, smoothing)
        return float(np.sqrt(np.mean((told - self._means) ** 2)))

    def _fitted(self) -> tuple[tuple[float, ...], float, float]:
        """Coordinate descent from equal weights; the same recording gives the same."""
        best = ([1.0] * len(self.axes), 4.0, 0.05)
        error = self._leave_one_out(*best)
        for _ in range(_PASSES):
            for axis, weight in itertools.product(range(len(self.axes)), _WEIGHTS):
                weights = [*best[0][:axis], weight, *best[0][axis + 1 :]]
                if any(weights):
                    best, error = self._better(best, error, (weights, best[1], best[2]))
            for power in _POWERS:
                for smoothing in _SMOOTHINGS:
                    best, error = self._better(best, error, (best[0], power, smoothing))
        return tuple(best[0]), best[1], best[2]

    def _better(
        self,
        best: tuple[list[float], float, float],
        error: float,
        other: tuple[list[float], float, float],
    ) -> tuple[tuple[list[float], float, float], float]:
        found = self._leave_one_out(*other)
        return (other, found) if found < error - 1e-9 else (best, error)

    def _additive_error(self) -> float:
        """Least squares on each axis's own terms (powers up to 3, choices), leave-one-out by the
        hat matrix with a small ridge."""
        columns = [np.ones(len(self._settings))]
        for i, axis in enumerate(self.axes):
            places = [place_of(axis, setting[i]) for setting in self._settings]
            numbers = np.array([p if isinstance(p, float) else 0.0 for p in places])
            if any(isinstance(p, float) for p in places):
                columns += [numbers, numbers**2, numbers**3]
            words = sorted({str(p) for p in places if not isinstance(p, float)})
            drop = 0 if any(isinstance(p, float) for p in places) else 1
            columns += [np.array([float(str(p) == word) for p in places]) for word in words[drop:]]
        design = np.stack(columns, axis=1)
        hat = design @ np.linalg.solve(design.T @ design + 1e-4 * np.eye(design.shape[1]), design.T)
        left = (self._means - hat @ self._means) / np.maximum(1e-3, 1 - np.diag(hat))
        return float(np.sqrt(np.mean(left**2)))

    def _local_variances(
        self, numbers: Sequence[int], reference: Sequence[float], values: Mapping[int, list[float]]
    ) -> Array:
        """Each point's own variance, drawn towards the surface's: three windows know little."""
        pooled = self._pooled
        found = []
        for number in sorted(numbers):
            logs = np.array(values[number])
            own = float(((logs - logs.mean()) ** 2).sum())
            freedom = len(logs) - 1
            found.append((own + _SHRINK * pooled) / (freedom + _SHRINK))
        logs = np.array(reference)
        found.append(
            (float(((logs - logs.mean()) ** 2).sum()) + _SHRINK * pooled)
            / (len(logs) - 1 + _SHRINK)
        )
        return np.array(found)


def _by_point(recording: Recording) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for window in recording.of_points:
        if window.value:
            found.setdefault(window.point, []).append(math.log(window.value))
    return found


def _failing(recording: Recording) -> dict[tuple[Value, ...], str]:
    """Points at which every window failed."""
    measured = {window.point for window in recording.of_points if window.value}
    return {
        recording.head.points[window.point]: window.reason or "failed"
        for window in recording.of_points
        if window.point not in measured
    }


def _deviations(
    recording: Recording, values: Mapping[int, list[float]], reference_log: float
) -> list[tuple[float, float]]:
    """(when, deviation from the point's mean) in the order of measuring. A mean of n windows takes
    part of their spread along: sqrt(n / (n - 1)) gives it back."""
    found = []
    references = sum(1 for w in recording.of_reference if w.value)
    for window in recording.windows:
        if not window.value:
            continue
        own = window.point == REFERENCE
        count = references if own else len(values[window.point])
        if count < 2:
            continue
        mean = reference_log if own else float(np.mean(values[window.point]))
        scale = math.sqrt(count / (count - 1))
        found.append((window.at_s, scale * (math.log(window.value) - mean)))
    if len(found) < 3:
        raise SystemExit(f"{recording.head.surface}: too few repeats to know its noise")
    return found


def _codes(axis: Axis, values: Sequence[Value]) -> tuple[Array, Array]:
    """Of each value its place on the axis (nan for a word) and a word's number (-1 for none)."""
    places = [place_of(axis, value) for value in values]
    words = [*map(str, axis.choices)]
    numbers = [p if isinstance(p, float) else math.nan for p in places]
    labels = [-1 if isinstance(p, float) else words.index(str(p)) for p in places]
    return np.array(numbers), np.array(labels, dtype=float)


def _gaps(one: tuple[Array, Array], other: tuple[Array, Array]) -> Array:
    """Distances on an axis, 0 to 1; 1 between different words. One row for each of `one`."""
    numbers = np.abs(one[0][:, None] - other[0][None, :])
    words = (one[1][:, None] != other[1][None, :]).astype(float)
    return np.where(np.isnan(numbers), words, numbers)


def _shepard(squares: Array, what: Array, counts: Array, power: float, smoothing: float) -> Array:
    """Weighted mean along the last axis; points count by their windows (3 of a point, the reference
    as much as two of them)."""
    scaled = np.maximum(1e-12, squares + smoothing**2)
    # relative to the nearest: large powers of small numbers would vanish
    relative = scaled / scaled.min(axis=-1, keepdims=True)
    weights = relative ** (-power / 2) * np.minimum(counts, 6.0)
    return np.asarray((weights * what).sum(axis=-1) / weights.sum(axis=-1))
