"""Semantic segmentation: a head is trained on dense features, chosen on validation, and judged on the test split.

Images are taken at their own scale: crops of the extractor's size in training, overlapping windows where they are
judged. With `resize` whole images are brought to the extractor's size, and scores back to that of the mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from csmoe_model.evaluation.crops import IGNORED, Scene, Scenes
from csmoe_model.evaluation.dataset import EvaluationSet
from csmoe_model.evaluation.extractor import Extractor
from csmoe_model.evaluation.figures import Figures
from csmoe_model.evaluation.fitting import Course, Fitted, Numbers, Split, fit, seeded, split_of, usable
from csmoe_model.evaluation.heads import Segmenter, build_segmenter
from csmoe_model.evaluation.metrics.intervals import Resampling
from csmoe_model.evaluation.metrics.segmentation import PixelCounts
from csmoe_model.evaluation.prepare import Preparation
from csmoe_model.evaluation.segment_batches import (
    Looked,
    SegmentConfig,
    Work,
    crops_each,
    fresh_batches,
    kept,
    kept_batches,
    looked_at,
)
from csmoe_model.evaluation.sliding import Maps, Slider


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SegmentationResult:
    """What a segmenter came to on the test split."""

    figures: Figures
    confusion: npt.NDArray[np.int64]
    """(K, K) Pixels by reference (row) and predicted class (column)."""
    samples: Numbers
    """(N,) Numbers of the test samples."""
    image_miou: npt.NDArray[np.float64]
    """(N,) Of each, over the classes that it has; NaN where no pixel counts."""
    fitted: Fitted
    segmenter: Segmenter
    """Its extractor is a copy where the backbone has learned."""
    preparation: Preparation
    """How the extractor was fed."""
    notes: tuple[str, ...]
    """What a reader of results has to know."""


def segment(
    data: EvaluationSet,
    extractor: Extractor,
    config: SegmentConfig,
    *,
    device: torch.device,
    resampling: Resampling | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> SegmentationResult:
    """A segmenter trained on the training split, its best epoch chosen on validation, judged on the test split.

    Args:
        data: With masks and all three splits.
        extractor: The backbone; it is left as it is.
        config: How.
        device: Where to compute.
        resampling: For intervals over the test images.
        advance: Is told how many more images are done, of those that `num_images` says.

    Raises:
        ConfigError: Sensor, layers, head or batch do not fit.
        DataError: A split is missing, or a sample cannot be read.
        TrainingError: The training did not stay finite.
    """
    with seeded(config.seed, device):
        split = split_of(data)
        work = _open(data, extractor, config, device, advance)
        fitted = _fit(work, split)
        return _judge(work, fitted, split.test, resampling)


def num_images(data: EvaluationSet, extractor: Extractor, config: SegmentConfig) -> int:
    """Images that `segment` goes through, every crop counted; all are taken to be as large as the first one."""
    train, validation, test = map(len, split_of(data))
    crops = train * crops_each(data, extractor.image_px, config)
    steps = crops // min(config.batch, crops) * min(config.batch, crops)
    return (train + validation) * config.keeps + config.epochs * (steps + validation) + test


def predict(
    data: EvaluationSet, segmenter: Segmenter, config: SegmentConfig, samples: Sequence[int], device: torch.device
) -> Iterator[tuple[Scene, Tensor]]:
    """Scenes of samples and the predicted class (H, W) of every pixel; `segmenter` and `config` as of a result."""
    work = Work(data, config, _scenes(data, segmenter.extractor, config), _slider(segmenter, config, device))
    for scene, chunks in looked_at(work, samples):
        yield scene, work.slider.scores(scene, chunks, config.overlap).argmax(0)


def _open(
    data: EvaluationSet,
    extractor: Extractor,
    config: SegmentConfig,
    device: torch.device,
    advance: Callable[[int], None],
) -> Work:
    """The work, with a new head."""
    extractor = usable(extractor, config, device)
    scenes = _scenes(data, extractor, config)
    segmenter = build_segmenter(
        extractor,
        tuple(scenes.preparation.feeds),
        config.head,
        len(data.classes),
        width=config.width,
        layers=config.layers,
    )
    return Work(data, config, scenes, _slider(segmenter, config, device), advance)


def _scenes(data: EvaluationSet, extractor: Extractor, config: SegmentConfig) -> Scenes:
    size = extractor.image_px if config.resize else None
    return Scenes(data, Preparation(data, config.inputs(extractor), size, config.normalise))


def _slider(segmenter: Segmenter, config: SegmentConfig, device: torch.device) -> Slider:
    return Slider(segmenter=segmenter, batch=config.batch, device=device, precision=config.precision)


def _fit(work: Work, split: Split) -> Fitted:
    config, segmenter = work.config, work.slider.segmenter
    make = kept_batches if config.keeps else fresh_batches
    steps, batches = make(work, split.train)
    judged = kept(work, split.validation, config.overlap) if config.keeps else None
    parts = [(segmenter.head, 1.0)]
    if not config.frozen:
        assert segmenter.extractor.module is not None
        parts.append((segmenter.extractor.module, config.backbone_lr))
    course = Course(
        name=segmenter.extractor.name,
        parts=parts,
        batches=batches,
        steps=steps,
        loss=lambda batch: _loss(work, *batch),
        score=lambda: _validated(work, judged or looked_at(work, split.validation)),
    )
    return fit(course, config)


def _judge(work: Work, fitted: Fitted, samples: Numbers, resampling: Resampling | None) -> SegmentationResult:
    pixels, each, unseen, padded = _pixels(work), [], 0, 0
    for scene, chunks in looked_at(work, samples):
        predicted = work.slider.scores(scene, chunks, work.config.overlap).argmax(0)
        own = _pixels(work)
        for counts in (pixels, own):
            counts.add(predicted[None], scene.reference[None])
        each.append(own.figures()["miou/dataset"].value)
        unseen += scene.unseen_labels
        padded += min(scene.seen.shape) < work.slider.px
        work.advance(1)
    notes = work.scenes.preparation.notes()
    if unseen:
        share = unseen / (unseen + int(pixels.confusion.sum()))
        notes.append(f"{share:.2%} of the labelled test pixels are seen by no sensor and count for nothing")
    if padded:
        notes.append(f"{padded:,} of {len(samples):,} test images are smaller than the model's {work.slider.px} px")
    return SegmentationResult(
        figures=pixels.figures(resampling),
        confusion=pixels.confusion,
        samples=samples,
        image_miou=np.array(each),
        fitted=fitted,
        segmenter=work.slider.segmenter,
        preparation=work.scenes.preparation,
        notes=tuple(notes),
    )


def _loss(work: Work, maps: Maps, reference: Tensor) -> Tensor:
    """Cross entropy, mean over the pixels that count."""
    scores = work.slider.window_scores(maps)
    reference = reference.to(scores.device)
    total = functional.cross_entropy(scores, reference, ignore_index=IGNORED, reduction="sum")
    work.advance(len(reference))
    return total / (reference != IGNORED).sum().clamp(min=1)


def _validated(work: Work, judged: Looked) -> float:
    """The headline."""
    pixels = _pixels(work)
    for scene, chunks in judged:
        predicted = work.slider.scores(scene, chunks, work.config.overlap).argmax(0)
        pixels.add(predicted[None], scene.reference[None])
        work.advance(1)
    return pixels.figures()["miou/dataset"].value


def _pixels(work: Work) -> PixelCounts:
    return PixelCounts(work.data.classes, IGNORED)
