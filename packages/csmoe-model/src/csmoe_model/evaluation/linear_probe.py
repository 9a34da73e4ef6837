"""The linear probe: logistic regression on frozen features.

Features are standardised with means and deviations of the training split. Of the strengths C (small: strongly
regularised) validation chooses one, by the mean accuracy of the classes, or with several labels by the mean of their
average precision. The model fitted again with that C on training and validation together is tested once.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from csmoe_model.config import Positive, Section
from csmoe_model.errors import DataError
from csmoe_model.evaluation.metrics.classification import multi_label, single_label
from csmoe_model.evaluation.metrics.counts import Array, Labels


class ProbeConfig(Section):
    """How the fits are made."""

    strengths: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = tuple(
        10.0**power for power in range(-4, 4)
    )
    """C of scikit-learn: the sum of the losses of all samples weighs C, half the squared weights weigh 1."""
    max_iter: Positive = 500
    tolerance: Annotated[float, Field(gt=0)] = 1e-3
    """Of the largest part of the gradient of the mean loss."""


class Labelled(NamedTuple):
    """Samples of a split."""

    features: Tensor
    """(N, D)"""
    labels: Labels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Probed:
    """What a linear probe found."""

    test: Array
    """(N, K) Scores, 0 to 1."""
    validation: Array
    """(M, K) Of the model that has not seen validation, with the C that was chosen."""
    strength: float
    curve: Mapping[float, float]
    """What validation said of each C."""
    notes: tuple[str, ...]


def linear_probe(
    train: Labelled, validation: Labelled, test: Tensor, num_classes: int, config: ProbeConfig | None = None
) -> Probed:
    """Scores of test samples by the C that does best on validation; of several that do, the smallest.

    A class that training does not have scores 0.

    Raises:
        DataError: There are no training samples, or no validation samples to choose C on.
    """
    config = config or ProbeConfig()
    if not len(train.labels):
        raise DataError("linear probe: no training samples: look at the splits and at who has the sensor")
    if not len(validation.labels) or not (validation.labels.ndim == 1 or validation.labels.any()):
        raise DataError(
            "linear probe: no labelled validation samples to choose C on, which is never done on test: make that split"
        )
    own, held_out, asked = _standardised(train.features, validation.features, test)
    fit, notes = _Fit(train.labels, num_classes, config), []
    found: dict[float, Array] = {}
    for strength in sorted(config.strengths):
        notes += fit(own, strength)
        found[strength] = fit.scores(held_out)
    curve = {strength: _quality(validation.labels, scores) for strength, scores in found.items()}
    best = max(curve, key=lambda strength: curve[strength])
    if len(curve) > 1 and best in (min(curve), max(curve)):
        notes.append(f"the best C, {best:g}, is at the edge of those tried")
    final = _Fit(np.concatenate([train.labels, validation.labels]), num_classes, config)
    notes += final(np.concatenate([own, held_out]), best)
    return Probed(test=final.scores(asked), validation=found[best], strength=best, curve=curve, notes=tuple(notes))


class _Fit:
    """Logistic regression: one over the classes, or with several labels one for each; a fit starts from the last."""

    def __init__(self, labels: Labels, num_classes: int, config: ProbeConfig) -> None:
        from sklearn.linear_model import LogisticRegression

        self._labels, self._num_classes = labels, num_classes
        varied = [0] if labels.ndim == 1 and len(np.unique(labels)) > 1 else []
        if labels.ndim == 2:
            varied = [k for k in range(num_classes) if 0 < labels[:, k].sum() < len(labels)]
        self._models = {
            k: LogisticRegression(max_iter=config.max_iter, tol=config.tolerance, warm_start=True) for k in varied
        }

    def __call__(self, features: Array, strength: float) -> list[str]:
        """Fits; what a reader has to know of it."""
        from sklearn.exceptions import ConvergenceWarning

        missed = 0
        for k, model in self._models.items():
            model.set_params(C=strength)
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                model.fit(features, self._labels if self._labels.ndim == 1 else self._labels[:, k])
            missed += any(issubclass(one.category, ConvergenceWarning) for one in said)
        return [f"{missed} of {len(self._models)} fits with C {strength:g} did not converge"] if missed else []

    def scores(self, features: Array) -> Array:
        """(N, K) 0 to 1; a class that all or no samples of the fit have is certain."""
        if self._labels.ndim == 2:
            scores = np.tile(self._labels.mean(0), (len(features), 1))
            for k, model in self._models.items():
                scores[:, k] = model.predict_proba(features)[:, 1]
            return scores
        scores = np.zeros((len(features), self._num_classes))
        if not self._models:
            scores[:, self._labels[0]] = 1
        for model in self._models.values():
            scores[:, model.classes_] = model.predict_proba(features)
        return scores


def _standardised(train: Tensor, *others: Tensor) -> list[Array]:
    """The training features and others, by what training has, in float64; a constant one is only centred."""
    std, mean = torch.std_mean(train.double(), dim=0, correction=0)
    std = std.where(std > 1e-9 * mean.abs(), 1.0)
    return [((part - mean) / std).numpy() for part in (train, *others)]


def _quality(labels: Labels, scores: Array) -> float:
    """Macro accuracy, or macro average precision."""
    names = [str(k) for k in range(scores.shape[1])]
    if labels.ndim == 1:
        return single_label(labels.astype(np.int64), scores.argmax(1), names)["accuracy/macro"].value
    return multi_label(labels.astype(np.bool_), scores, names)["average_precision/macro"].value
