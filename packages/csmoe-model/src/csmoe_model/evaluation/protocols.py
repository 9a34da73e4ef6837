"""The protocol of each task: backbones on a data set, each run a record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch

from csmoe_model.evaluation.candidates import Candidate
from csmoe_model.evaluation.classification import ClassifyConfig, classify, prior_floor
from csmoe_model.evaluation.comparison import Comparison
from csmoe_model.evaluation.dataset import SPLITS
from csmoe_model.evaluation.extract import JOINT
from csmoe_model.evaluation.extractor import Extractor
from csmoe_model.evaluation.figures import Figures
from csmoe_model.evaluation.finetune import FinetuneConfig, FinetuneResult, finetune, num_samples
from csmoe_model.evaluation.metrics.classification import best_threshold, multi_label, single_label
from csmoe_model.evaluation.metrics.intervals import Resampling
from csmoe_model.evaluation.prepare import Preparation
from csmoe_model.evaluation.records import ModelAbout, Record, as_values, versions
from csmoe_model.evaluation.retrieval import RetrievalConfig, RetrievalResult, retrieve
from csmoe_model.evaluation.segment_batches import SegmentConfig
from csmoe_model.evaluation.segmentation import SegmentationResult, num_images, segment
from csmoe_model.nn.model import CSMoE


def classification(comparison: Comparison, backbones: Sequence[Candidate], config: ClassifyConfig) -> Iterator[Record]:
    """Records of frozen features by neighbours and a linear probe, that of the label prior first.

    Raises:
        DataError: There are no labels, a split is missing, or a sample cannot be read.
    """
    yield _prior(comparison, config)
    for candidate in backbones:
        yield classified(comparison, candidate(config.seed), config)


def classified(comparison: Comparison, extractor: Extractor, config: ClassifyConfig) -> Record:
    """The record of a backbone in `classification`; raises DataError as that does."""
    features, preparation = comparison.features(extractor, SPLITS)
    found = classify(features, comparison.data, config)
    settings = config.model_dump(mode="json") | {
        "chosen_c": {key: max(curve, key=lambda c: curve[c]) for key, curve in found.curves.items()},
        "curves": {key: {f"{c:g}": score for c, score in curve.items()} for key, curve in found.curves.items()},
        "confusion": {key: matrix.tolist() for key, matrix in found.confusion.items()},
        "thresholds": found.thresholds,
    }
    notes = [*comparison.left_out(features), *found.notes]
    return comparison.record("classification", extractor, preparation, found.figures, settings, notes)


def finetuning(
    comparison: Comparison, backbones: Sequence[Candidate], config: FinetuneConfig, seeds: Sequence[int]
) -> Iterator[Record]:
    """Records of fine-tuned backbones, one a seed; those that have nothing to learn are left out.

    Raises:
        DataError: There are no labels, a split is missing, or a sample cannot be read.
        TrainingError: A training did not stay finite.
    """
    data = comparison.data
    for seed in seeds:
        for candidate in backbones:
            extractor = candidate(seed)
            if extractor.module is None:
                continue
            own = config.model_copy(update={"seed": seed, "normalise": comparison.normalisation(extractor)})
            with comparison.counting(f"{extractor.name}, seed {seed}", num_samples(data, own)) as advance:
                found = finetune(data, extractor, own, device=comparison.device, advance=advance)
            method = "probe-sgd" if own.frozen else "finetune"
            figures = {
                f"{method}/{own.sensor or _view(found.preparation)}/{name}": figure
                for name, figure in _judged(comparison, found, seed).items()
            }
            settings = own.model_dump(mode="json") | {
                "resamples": comparison.resamples,
                "best_epoch": found.fitted.best,
            }
            yield comparison.record("classification", extractor, found.preparation, figures, settings, found.notes)


def segmentation(
    comparison: Comparison,
    backbones: Sequence[Candidate],
    config: SegmentConfig,
    seeds: Sequence[int],
    *,
    done: Callable[[Extractor, SegmentationResult, SegmentConfig], None] = lambda *_: None,
) -> Iterator[Record]:
    """Records of segmenters, one a backbone and seed; backbones without dense features are left out.

    Args:
        comparison: The data.
        backbones: To compare.
        config: The head and its training.
        seeds: Of head, order and random weights.
        done: Is given every segmenter, to draw what it makes of images.

    Raises:
        DataError: There are no masks, a split is missing, or a sample cannot be read.
        TrainingError: A training did not stay finite.
    """
    data = comparison.data
    for seed in seeds:
        for candidate in backbones:
            extractor = candidate(seed)
            if not extractor.num_layers:
                continue
            own = config.model_copy(update={"seed": seed, "normalise": comparison.normalisation(extractor)})
            resampling = Resampling(resamples=comparison.resamples, seed=seed) if comparison.resamples else None
            with comparison.counting(f"{extractor.name}, seed {seed}", num_images(data, extractor, own)) as advance:
                found = segment(data, extractor, own, device=comparison.device, resampling=resampling, advance=advance)
            view = own.sensor or _view(found.preparation)
            method = own.head if own.frozen else f"{own.head}-finetuned"
            done(extractor, found, own)
            figures = {f"{method}/{view}/{name}": figure for name, figure in found.figures.items()}
            settings = own.model_dump(mode="json") | {
                "resamples": comparison.resamples,
                "best_epoch": found.fitted.best,
                "confusion": found.confusion.tolist(),
            }
            yield comparison.record("segmentation", extractor, found.preparation, figures, settings, found.notes)


def retrieval(
    comparison: Comparison,
    backbones: Sequence[Candidate],
    config: RetrievalConfig,
    *,
    done: Callable[[Extractor, RetrievalResult, Mapping[str, str]], None] = lambda *_: None,
) -> Iterator[Record]:
    """Records of searches, in every direction between the sensors.

    Args:
        comparison: The data.
        backbones: To compare; those with retrieval heads search with them.
        config: Splits, depths, controls.
        done: Is given every result, and the data set's sensor behind each of the backbone's, to draw galleries.

    Raises:
        DataError: A split is missing, or a sample cannot be read.
    """
    for split in (config.query_split, config.archive_split):
        comparison.data.of_split(split)
    for candidate in backbones:
        extractor = candidate(config.seed)
        features, preparation = comparison.features(extractor, (config.query_split, config.archive_split))
        found = retrieve(
            features[config.query_split],
            features[config.archive_split],
            comparison.data,
            config,
            _heads(extractor, comparison.device),
        )
        done(extractor, found, {name: feed.source for name, feed in preparation.feeds.items()})
        figures = {
            f"{kind}/{direction.name}/{name}": figure
            for direction in found.directions.values()
            for kind, figures in direction.figures.items()
            for name, figure in figures.items()
        }
        settings = config.model_dump(mode="json") | {
            "protocol": found.protocol,
            "left_out": {name: direction.left_out for name, direction in found.directions.items()},
        }
        notes = [*comparison.left_out(features), *found.notes]
        yield comparison.record("retrieval", extractor, preparation, figures, settings, notes)


def _prior(comparison: Comparison, config: ClassifyConfig) -> Record:
    """The floor that looks at no image."""
    return Record(
        task="classification",
        settings=config.model_dump(mode="json"),
        data=comparison.about,
        model=ModelAbout(name="label prior", kind="prior", weights=None, num_parameters=0, macs={}),
        inputs={},
        image_px=0,
        normalise="none",
        seed=config.seed,
        figures=as_values(prior_floor(comparison.data, config)),
        notes=(),
        versions=versions(),
        device="cpu",
    )


def _judged(comparison: Comparison, found: FinetuneResult, seed: int) -> Figures:
    data = comparison.data
    assert data.labels is not None
    truth = data.labels[found.samples]
    resampling = Resampling(resamples=comparison.resamples, seed=seed) if comparison.resamples else None
    if data.labels.ndim == 1:
        return single_label(truth.astype(int), found.scores.argmax(1), data.classes, resampling)
    held_out = data.labels[found.validation_samples].astype(bool)
    threshold = best_threshold(held_out, found.validation_scores)
    return multi_label(truth.astype(bool), found.scores, data.classes, tuned=threshold, resampling=resampling)


def _view(preparation: Preparation) -> str:
    return JOINT if len(preparation.feeds) > 1 else next(iter(preparation.feeds))


def _heads(extractor: Extractor, device: torch.device) -> Any:
    """Retrieval heads of our own models, where they have them."""
    model = extractor.module
    if not isinstance(model, CSMoE) or model.retrieval is None:
        return None

    @torch.no_grad()
    def head(_sensor: str, role: Literal["same", "cross"], pooled: torch.Tensor) -> torch.Tensor:
        return model.project(pooled.to(device), role).float().cpu()

    return head
