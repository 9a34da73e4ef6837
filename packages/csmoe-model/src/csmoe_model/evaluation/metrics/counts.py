"""How often each class is met: accuracy, F1 and IoU follow from three sums over samples or pixels.

Since they are sums, a resample of the samples is a product with how often each counts; see `intervals`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int64]
Labels = Codes | Bools
"""(N,) A class of each sample, or (N, K) which classes each has."""


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Of K classes on the last axis; the axes before are samples or resamples. A share of nothing is NaN."""

    both: Array
    """(..., K) In the reference and in the prediction."""
    reference: Array
    predicted: Array

    @property
    def recall(self) -> Array:
        """Share of the reference that was found."""
        return ratio(self.both, self.reference)

    @property
    def f1(self) -> Array:
        """Harmonic mean of recall and precision."""
        return ratio(2 * self.both, self.reference + self.predicted)

    @property
    def iou(self) -> Array:
        """Intersection over union."""
        return ratio(self.both, self.reference + self.predicted - self.both)

    @property
    def occurs(self) -> Bools:
        """Classes that the reference has."""
        return self.reference > 0

    @property
    def micro(self) -> Counts:
        """(..., 1) Of all classes together."""
        return Counts(*(part.sum(-1, keepdims=True) for part in (self.both, self.reference, self.predicted)))

    def named(self, classes: Sequence[str]) -> list[tuple[int, str]]:
        """Codes and names of the classes that the reference of any sample has."""
        return [(k, name) for k, name in enumerate(classes) if self.occurs[..., k].any()]

    def weighted(self, weights: Array) -> Counts:
        """(R, K) Sums over samples (N, K) of which each counts `weights` (R, N) times."""
        return Counts(weights @ self.both, weights @ self.reference, weights @ self.predicted)


def of_sets(reference: Bools, predicted: Bools) -> Counts:
    """Of samples, from the classes (N, K) that each has."""
    return Counts((reference & predicted).astype(float), reference.astype(float), predicted.astype(float))


def of_codes(reference: Codes, predicted: Codes, num_classes: int) -> Counts:
    """Of samples, from the class (N,) of each."""
    every = np.arange(num_classes)
    return of_sets(reference[:, None] == every, predicted[:, None] == every)


def ratio(part: Array, whole: Array) -> Array:
    """NaN where the whole is nothing."""
    shares = np.full(np.broadcast(part, whole).shape, np.nan)
    np.divide(part, whole, out=shares, where=whole > 0)
    return shares


def macro(values: Array, among: Bools) -> Array:
    """Mean over the classes on the last axis that are `among` those that count; NaN where none is."""
    return ratio(np.where(among, values, 0.0).sum(-1), among.sum(-1).astype(float))
