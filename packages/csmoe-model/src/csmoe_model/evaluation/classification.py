"""Scene classification from frozen features: neighbours, a linear probe, and the label prior as their floor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field
from torch import Tensor

from csmoe_model.config import Positive, Section
from csmoe_model.errors import ConfigError, DataError
from csmoe_model.evaluation.dataset import EvaluationSet
from csmoe_model.evaluation.extract import Features
from csmoe_model.evaluation.figures import Figures
from csmoe_model.evaluation.knn import Distance, neighbours, votes
from csmoe_model.evaluation.linear_probe import Labelled, ProbeConfig, linear_probe
from csmoe_model.evaluation.metrics.classification import best_threshold, confusion, multi_label, single_label
from csmoe_model.evaluation.metrics.counts import Array, Bools, Codes, Labels
from csmoe_model.evaluation.metrics.intervals import Resampling


class ClassifyConfig(Section):
    """What is measured."""

    methods: tuple[Literal["knn", "linear"], ...] = ("knn", "linear")
    neighbours: tuple[Positive, ...] = (5, 20, 200)
    distances: tuple[Distance, ...] = ("cosine", "l2")
    probe: ProbeConfig = ProbeConfig()
    resamples: Annotated[int, Field(ge=0)] = 1000
    """Of the test samples, for intervals; 0: none."""
    by_group: bool = False
    """Draws whole groups of the data set again, not samples."""
    seed: int = 0

    def resampling(self, data: EvaluationSet, samples: Codes) -> Resampling | None:
        """For some samples of a data set.

        Raises:
            ConfigError: It has no groups.
        """
        if self.by_group and data.group is None:
            raise ConfigError(f"data set {data.name}: has no groups for intervals over groups: leave by_group out")
        if not self.resamples:
            return None
        groups = data.group[samples] if self.by_group and data.group is not None else None
        return Resampling(resamples=self.resamples, seed=self.seed, groups=groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified:
    """What classification found; keys begin with the method and the view, as `linear/s2`, `knn5-cosine/joint`."""

    figures: Figures = field(default_factory=dict)
    """`<method>/<view>/<figure>`; figures as `metrics.classification` names them."""
    confusion: dict[str, Codes] = field(default_factory=dict)
    """(K, K) Test samples by true class (row) and predicted class (column), of single labels."""
    thresholds: dict[str, float] = field(default_factory=dict)
    """Of `f1@tuned`, of several labels."""
    curves: dict[str, dict[float, float]] = field(default_factory=dict)
    """What validation said of each C of the linear probe."""
    notes: list[str] = field(default_factory=list)


class _Split(NamedTuple):
    samples: Codes
    features: Tensor
    labels: Labels


class _Scores(NamedTuple):
    """(N, K) Each."""

    test: Array
    validation: Array | None


def classify(features: Mapping[str, Features], data: EvaluationSet, config: ClassifyConfig) -> Classified:
    """Figures of every view, each sensor and all together, over the samples that have it.

    Args:
        features: By split: train, test, and validation where there is one, without which there is no linear probe and
            no tuned threshold.
        data: What the features are of.
        config: What is measured.

    Raises:
        DataError: The data set has no labels, or no validation split for a linear probe.
        ConfigError: See `ClassifyConfig.resampling`.
    """
    labels = _labels(data)
    if "linear" in config.methods and ("validation" not in features or not len(features["validation"].samples)):
        raise DataError(
            f"data set {data.name}: has no validation samples to choose C of the linear probe on, which is never done "
            "on test: make that split, or measure k-NN alone"
        )
    found = Classified()
    for view in features["test"].views:
        every = {split: _of_view(own, view, labels) for split, own in features.items()}
        splits = {split: own for split, own in every.items() if len(own.samples)}
        if missing := [split for split in ("train", "test") if split not in splits]:
            found.notes.append(f"{view}: left out, no {' and no '.join(missing)} samples have it")
            continue
        found.notes.extend(f"{view}: {note}" for note in _caveats(splits, data.classes))
        resampling = config.resampling(data, splits["test"].samples)
        for name, scores in _scored(splits, len(data.classes), config, view, found):
            _add(found, f"{name}/{view}", splits, scores, data, resampling)
    return found


def prior_floor(data: EvaluationSet, config: ClassifyConfig) -> Figures:
    """`prior/<figure>` of the test split: what needs no features.

    Of single labels, everything is the commonest class of training; of several, every sample scores the shares of the
    classes in training.

    Raises:
        DataError: The data set has no labels, or no training or test split.
        ConfigError: See `ClassifyConfig.resampling`.
    """
    labels = _labels(data)
    train, test = labels[data.of_split("train")], data.of_split("test")
    scores = train.mean(0) if labels.ndim == 2 else np.bincount(train, minlength=len(data.classes)) / len(train)
    threshold = None
    if labels.ndim == 2 and (data.split == "validation").any():
        held_out = labels[data.split == "validation"].astype(np.bool_)
        threshold = best_threshold(held_out, np.tile(scores, (len(held_out), 1)))
    figures = _figures(labels[test], np.tile(scores, (len(test), 1)), data, threshold, config.resampling(data, test))
    return {f"prior/{name}": value for name, value in figures.items()}


def _scored(
    splits: Mapping[str, _Split], num_classes: int, config: ClassifyConfig, view: str, found: Classified
) -> Iterator[tuple[str, _Scores]]:
    """Scores of every method, by its name."""
    train, test, validation = splits["train"], splits["test"], splits.get("validation")
    several = train.labels.ndim == 2
    if "knn" in config.methods:
        depths = [k for k in config.neighbours if k <= len(train.samples)]
        if more := sorted({*config.neighbours} - {*depths}):
            names = ", ".join(map(str, more))
            found.notes.append(f"{view}: no k-NN of {names} neighbours among {len(train.samples):,} training samples")
        asked = [test, validation] if several and validation else [test]
        for distance in config.distances if depths else ():
            near = [neighbours(train.features, own.features, max(depths), distance) for own in asked]
            for k in depths:
                scores = [votes(own.first(k), train.labels, num_classes) for own in near]
                yield f"knn{k}-{distance}", _Scores(scores[0], scores[1] if len(scores) > 1 else None)
    if "linear" in config.methods and not validation:
        found.notes.append(f"{view}: no linear probe, no validation samples have it")
    elif "linear" in config.methods and validation:
        own, held_out = (Labelled(one.features, one.labels) for one in (train, validation))
        probed = linear_probe(own, held_out, test.features, num_classes, config.probe)
        found.curves[f"linear/{view}"] = dict(probed.curve)
        found.notes.extend(f"{view}: linear probe: {note}" for note in probed.notes)
        yield "linear", _Scores(probed.test, probed.validation)


def _add(
    found: Classified,
    key: str,
    splits: Mapping[str, _Split],
    scores: _Scores,
    data: EvaluationSet,
    resampling: Resampling | None,
) -> None:
    truth = splits["test"].labels
    if truth.ndim == 1:
        found.confusion[key] = confusion(truth.astype(np.int64), scores.test.argmax(1), len(data.classes))
    elif scores.validation is not None:
        found.thresholds[key] = best_threshold(splits["validation"].labels.astype(np.bool_), scores.validation)
    figures = _figures(truth, scores.test, data, found.thresholds.get(key), resampling)
    found.figures.update({f"{key}/{name}": value for name, value in figures.items()})


def _figures(
    truth: Labels, scores: Array, data: EvaluationSet, threshold: float | None, resampling: Resampling | None
) -> Figures:
    if truth.ndim == 1:
        return single_label(truth.astype(np.int64), scores.argmax(1), data.classes, resampling)
    return multi_label(truth.astype(np.bool_), scores, data.classes, tuned=threshold, resampling=resampling)


def _caveats(splits: Mapping[str, _Split], classes: tuple[str, ...]) -> Iterator[str]:
    """What makes figures say less."""
    has = {split: _occurs(own.labels, len(classes)) for split, own in splits.items()}
    if absent := [name for name, known in zip(classes, has["test"], strict=True) if not known]:
        yield f"no test sample is {', '.join(absent)}: left out of macro figures"
    unseen = has["test"] & ~has["train"]
    if unseen.any():
        yield f"no training sample is {', '.join(np.array(classes)[unseen])}, but test samples are"
    if splits["test"].labels.ndim == 2 and "validation" not in splits:
        yield "no validation samples, hence no tuned threshold"


def _occurs(labels: Labels, num_classes: int) -> Bools:
    return np.asarray(labels.any(0)) if labels.ndim == 2 else np.isin(np.arange(num_classes), labels)


def _of_view(features: Features, view: str, labels: Labels) -> _Split:
    pooled, has = features.view(view)
    samples = features.samples[has]
    return _Split(samples, pooled[has], labels[samples])


def _labels(data: EvaluationSet) -> Labels:
    if data.labels is None:
        raise DataError(f"data set {data.name}: has no labels of whole samples to classify")
    return data.labels
