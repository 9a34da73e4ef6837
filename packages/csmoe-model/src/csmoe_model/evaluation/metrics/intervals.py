"""Intervals: by drawing samples again, and over seeds.

A figure is a function of how often each sample counts: once each gives its value, and as often as it is drawn, with
replacement, one value of its distribution. The interval is that of percentiles. Equal seeds draw alike, so that models
on the same samples can be compared in pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from csmoe_model.evaluation.figures import Figure, Figures
from csmoe_model.evaluation.metrics.counts import Array, ratio

LEVEL = 0.95
Measure = Callable[[Array], Mapping[str, Array]]
"""From how often each sample counts (R, N) to R values of every figure, NaN where it is not defined."""
_CELLS = 2**23
"""Of weights at once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resampling:
    """How samples are drawn again."""

    resamples: int = 1000
    seed: int = 0
    groups: npt.NDArray[np.generic] | None = None
    """(N,) Places or scenes, drawn whole; none: samples are independent."""


def with_intervals(measure: Measure, num_samples: int, resampling: Resampling | None) -> Figures:
    """Figures of all samples, with their intervals where a resampling is given."""
    values = {name: float(value[0]) for name, value in measure(np.ones((1, num_samples))).items()}
    if resampling is None or not num_samples:
        return {name: Figure(value) for name, value in values.items()}
    blocks = [measure(weights) for weights in _draws(num_samples, resampling)]
    return {
        name: Figure(value, *_percentiles(np.concatenate([block[name] for block in blocks])))
        for name, value in values.items()
    }


def means(values: Mapping[str, Array], resampling: Resampling | None) -> Figures:
    """Means over samples of what each has (N,); NaN is left out."""
    return with_intervals(mean_of(values), len(next(iter(values.values()))), resampling)


def mean_of(values: Mapping[str, Array]) -> Measure:
    """The measure behind `means`."""
    table = np.stack(list(values.values()), 1)
    known = np.isfinite(table)
    sums, counts = np.where(known, table, 0.0), known.astype(float)

    def measure(weights: Array) -> Mapping[str, Array]:
        return dict(zip(values, ratio(weights @ sums, weights @ counts).T, strict=True))

    return measure


def over_seeds(runs: Sequence[Figures]) -> Figures:
    """Means over runs of the figures that all of them have, with the t-interval of the mean; one run has none."""
    from scipy.special import stdtrit

    names = [name for name in runs[0] if all(name in run for run in runs)]
    count = len(runs)
    figures = {}
    for name in names:
        values = np.array([run[name].value for run in runs])
        mean, half = float(values.mean()), math.nan
        if count > 1:
            half = float(stdtrit(count - 1, (1 + LEVEL) / 2) * values.std(ddof=1) / math.sqrt(count))
        figures[name] = Figure(mean, mean - half, mean + half)
    return figures


def _draws(num_samples: int, resampling: Resampling) -> Iterator[Array]:
    """(r, N) How often each sample was drawn, some resamples at a time."""
    chance = np.random.default_rng(resampling.seed)
    places = None
    num = num_samples
    if resampling.groups is not None:
        names, places = np.unique(resampling.groups, return_inverse=True)
        num = len(names)
    rows = max(1, _CELLS // num_samples)
    for first in range(0, resampling.resamples, rows):
        count = min(rows, resampling.resamples - first)
        drawn = chance.integers(num, size=(count, num)) + num * np.arange(count)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=count * num).reshape(count, num).astype(float)
        yield weights if places is None else weights[:, places]


def _percentiles(values: Array) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
