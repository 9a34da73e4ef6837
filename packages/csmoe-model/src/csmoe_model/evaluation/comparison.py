"""Backbones on a data set by one protocol, each run a record: features -> figures, or a head -> figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from csmoe_model.evaluation.candidates import Candidate
from csmoe_model.evaluation.classification import ClassifyConfig, classify, prior_floor
from csmoe_model.evaluation.dataset import SPLITS, EvaluationSet
from csmoe_model.evaluation.extract import JOINT, Features, extract
from csmoe_model.evaluation.extractor import Extractor
from csmoe_model.evaluation.figures import Figures
from csmoe_model.evaluation.finetune import FinetuneConfig, FinetuneResult, finetune, num_samples
from csmoe_model.evaluation.metrics.classification import best_threshold, multi_label, single_label
from csmoe_model.evaluation.metrics.intervals import Resampling
from csmoe_model.evaluation.prepare import Normalise, Preparation, own_scale
from csmoe_model.evaluation.records import (
    DataAbout,
    ModelAbout,
    Record,
    about_data,
    about_inputs,
    about_model,
    as_values,
    versions,
)
from csmoe_model.evaluation.retrieval import RetrievalConfig, RetrievalResult, retrieve
from csmoe_model.evaluation.segment_batches import SegmentConfig
from csmoe_model.evaluation.segmentation import SegmentationResult, num_images, segment
from csmoe_model.nn.model import CSMoE

Counting = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Shows so many samples of a stage; its value is told how many more are done."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A data set and how backbones are fed from it."""

    data: EvaluationSet
    normalise: Literal["auto", "model", "data"] = "auto"
    """Auto: with a model's own statistics where the units allow, else with the data's."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    batch: int = 64
    workers: int = 0
    resamples: int = 1000
    """Of the test samples, for intervals; 0: none."""
    counting: Counting = lambda _name, _total: nullcontext(lambda _count: None)

    @cached_property
    def about(self) -> DataAbout:
        """The data set, as records have it."""
        return about_data(self.data)

    def normalisation(self, extractor: Extractor) -> Normalise:
        """Whose statistics standardise; never chosen by a score. Image statistics are of standardised bands."""
        if extractor.kind == "statistics":
            return "data"
        if self.normalise != "auto":
            return self.normalise
        return "model" if own_scale(self.data, extractor.inputs) else "data"

    def features(self, extractor: Extractor, splits: Sequence[str]) -> tuple[dict[str, Features], Preparation]:
        """Features of some splits, those that have samples."""
        preparation = Preparation(self.data, extractor.inputs, extractor.image_px, self.normalisation(extractor))
        samples = {split: (self.data.split == split).nonzero()[0] for split in dict.fromkeys(splits)}
        samples = {split: own for split, own in samples.items() if len(own)}
        with self.counting(extractor.name, sum(map(len, samples.values()))) as advance:
            features = {
                split: extract(
                    self.data,
                    own,
                    extractor,
                    preparation,
                    device=self.device,
                    batch=self.batch,
                    workers=self.workers,
                    advance=advance,
                )
                for split, own in samples.items()
            }
        return features, preparation

    @staticmethod
    def left_out(features: Mapping[str, Features]) -> list[str]:
        """What there is to say of samples that have no pixel of any sensor of a backbone."""
        return [
            f"{own.num_empty} samples of {split} have no valid pixel of any sensor that it takes: left out"
            for split, own in features.items()
            if own.num_empty
        ]

    def record(
        self,
        task: str,
        extractor: Extractor,
        preparation: Preparation,
        figures: Figures,
        settings: Mapping[str, Any],
        notes: Sequence[str],
    ) -> Record:
        """Figures with all that they depend on."""
        return Record(
            task=task,
            settings=dict(settings),
            data=self.about,
            model=about_model(extractor, list(preparation.feeds)),
            inputs=about_inputs(preparation),
            image_px=extractor.image_px,
            normalise=preparation.normalise,
            seed=settings["seed"],
            figures=as_values(figures),
            notes=tuple(dict.fromkeys([*preparation.notes(), *notes])),
            versions=versions(),
            device=str(self.device),
        )


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


def write_results(folder: Path, records: Sequence[Record]) -> list[Path]:
    """Writes records, table, all figures and a plot of quality against cost into a folder; their paths.

    Raises:
        ConfigError: The records cannot be compared.
    """
    from csmoe_model.evaluation.plots import draw_costs
    from csmoe_model.evaluation.records import write_records
    from csmoe_model.evaluation.tables import long_csv, markdown

    table, figures = markdown(records), long_csv(records)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.md").write_text(table, encoding="utf-8")
    (folder / "figures.csv").write_text(figures, encoding="utf-8")
    draw_costs(records, folder / "costs.png")
    write_records(folder / "results.json", records)  # the last: where it is, all is
    return sorted(folder.glob("*"))
