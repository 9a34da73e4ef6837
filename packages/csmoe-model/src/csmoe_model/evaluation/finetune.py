"""Fine-tuning for scene classification: pooled features -> LayerNorm -> linear, the backbone learning too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from csmoe_model.data.augment import View, draw_view, turned
from csmoe_model.errors import ConfigError
from csmoe_model.evaluation.dataset import EvaluationSet
from csmoe_model.evaluation.extract import Loaded, load
from csmoe_model.evaluation.extractor import Extractor
from csmoe_model.evaluation.fitting import (
    Course,
    FitConfig,
    Fitted,
    Numbers,
    Split,
    ahead,
    chance_of,
    fit,
    mixed,
    seeded,
    shuffled,
    split_of,
    usable,
)
from csmoe_model.evaluation.metrics.classification import multi_label, single_label
from csmoe_model.evaluation.prepare import Preparation


class FinetuneConfig(FitConfig):
    """How a backbone is fine-tuned."""

    frozen: bool = False
    """The backbone stays as it is."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FinetuneResult:
    """What a fine-tuned backbone says; figures are made of it by `metrics.classification`."""

    samples: Numbers
    """(N,) Numbers of the test samples."""
    scores: npt.NDArray[np.float64]
    """(N, K) Probabilities of the classes."""
    validation_samples: Numbers
    validation_scores: npt.NDArray[np.float64]
    """(M, K) To choose a threshold by."""
    fitted: Fitted
    extractor: Extractor
    """A copy where the backbone has learned."""
    head: nn.Module
    preparation: Preparation
    """How the extractor was fed."""
    notes: tuple[str, ...]
    """What a reader of results has to know."""


class PooledHead(nn.Module):
    """Pooled features of all sensors side by side, each normalised, 0 where a sample lacks a sensor -> (B, K).

    Args:
        widths: Of the features, by sensor.
        num_classes: Number of classes.
    """

    def __init__(self, widths: dict[str, int], num_classes: int) -> None:
        super().__init__()
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name, width in widths.items()})
        self.classify = nn.Linear(sum(widths.values()), num_classes)

    def forward(self, pooled: dict[str, Tensor], has: dict[str, Tensor]) -> Tensor:
        """`pooled`: (B, D) by sensor; `has`: (B,) whether a sample has it."""
        parts = [norm(pooled[name]).where(has[name][:, None], 0.0) for name, norm in self.norms.items()]
        scores: Tensor = self.classify(torch.cat(parts, 1))
        return scores


def finetune(
    data: EvaluationSet,
    extractor: Extractor,
    config: FinetuneConfig,
    *,
    device: torch.device,
    advance: Callable[[int], None] = lambda _: None,
) -> FinetuneResult:
    """Scores of a backbone trained on the training split, its best epoch chosen on validation.

    The choice is by overall accuracy, or by macro average precision where samples carry several labels.

    Args:
        data: With labels and all three splits.
        extractor: The backbone; it is left as it is.
        config: How.
        device: Where to compute.
        advance: Is told how many more samples are done, of those that `num_samples` says.

    Raises:
        ConfigError: There is nothing to train, no such sensor, or no labels.
        DataError: A split is missing, or a sample cannot be read.
        TrainingError: The training did not stay finite.
    """
    if extractor.module is None:
        raise ConfigError(f"{extractor.name}: has nothing that can be fine-tuned: compare it by a linear probe")
    if data.labels is None:
        raise ConfigError(f"data set {data.name}: has no labels to fine-tune for")
    with seeded(config.seed, device):
        split = split_of(data)
        extractor = usable(extractor, config, device)
        preparation = Preparation(data, config.inputs(extractor), extractor.image_px, config.normalise)
        widths = {name: extractor.width(name) for name in preparation.feeds}
        head = PooledHead(widths, len(data.classes)).to(device)
        work = _Work(data, extractor, config, device, preparation, head, advance)
        fitted = _fit(work, split)
        return FinetuneResult(
            samples=split.test,
            scores=_scores(work, split.test),
            validation_samples=split.validation,
            validation_scores=_scores(work, split.validation),
            fitted=fitted,
            extractor=extractor,
            head=head,
            preparation=preparation,
            notes=tuple(preparation.notes()),
        )


def num_samples(data: EvaluationSet, config: FinetuneConfig) -> int:
    """Samples that `finetune` goes through."""
    train, validation, test = map(len, split_of(data))
    batch = min(config.batch, train)
    return config.epochs * (train // batch * batch + validation) + validation + test


@dataclass(frozen=True, slots=True)
class _Work:
    data: EvaluationSet
    extractor: Extractor
    config: FinetuneConfig
    device: torch.device
    preparation: Preparation
    head: PooledHead
    advance: Callable[[int], None]

    @property
    def several(self) -> bool:
        """Whether a sample may carry several labels."""
        return self.data.task == "multi_label"


def _fit(work: _Work, split: Split) -> Fitted:
    config, module = work.config, work.extractor.module
    assert module is not None
    batch = min(config.batch, len(split.train))
    course = Course(
        name=work.extractor.name,
        parts=[(work.head, 1.0), *([] if config.frozen else [(module, config.backbone_lr)])],
        batches=_batches(work, split.train, batch),
        steps=len(split.train) // batch,
        loss=lambda loaded: _loss(work, loaded),
        score=lambda: _validated(work, split.validation),
    )
    return fit(course, config)


def _batches(work: _Work, train: Numbers, batch: int) -> Iterator[Loaded]:
    """Of all epochs."""
    config = work.config

    def read(drawn: tuple[int, list[int]]) -> Loaded:
        epoch, rows = drawn
        loaded = _read(work, train[rows])
        if config.augment:
            size = work.extractor.image_px
            views = [draw_view(size, size, (1.0, 1.0), chance_of(config.seed, epoch, row + 1)) for row in rows]
            for images in (loaded.images, loaded.valid):
                images.update({name: _turned(stack, views) for name, stack in images.items()})
        return loaded

    yield from ahead(read, shuffled(len(train), batch, config.epochs, config.seed), config.workers)


def _read(work: _Work, samples: Numbers) -> Loaded:
    return next(load(work.data, samples, work.preparation, batch=len(samples)))


def _turned(stack: Tensor, views: Sequence[View]) -> Tensor:
    """Images (B, C, H, W), each turned and mirrored by its view."""
    pairs = zip(stack.numpy(), views, strict=True)
    return torch.from_numpy(np.stack([turned(image, view) for image, view in pairs]))


def _logits(work: _Work, loaded: Loaded) -> Tensor:
    """(B, K) In float32."""
    pooled, has = {}, {}
    with mixed(work.config.precision, work.device):
        for name in work.preparation.feeds:
            images, valid = loaded.images[name].to(work.device), loaded.valid[name].to(work.device)
            with torch.set_grad_enabled(torch.is_grad_enabled() and not work.config.frozen):
                pooled[name] = work.extractor(name, images, valid).pooled
            has[name] = loaded.has(name).to(work.device)
        scores: Tensor = work.head(pooled, has)
    return scores.float()


def _loss(work: _Work, loaded: Loaded) -> Tensor:
    assert work.data.labels is not None
    truth = torch.from_numpy(work.data.labels[loaded.samples]).to(work.device)
    logits = _logits(work, loaded)
    work.advance(len(truth))
    if work.several:
        return functional.binary_cross_entropy_with_logits(logits, truth.float())
    return functional.cross_entropy(logits, truth)


@torch.no_grad()
def _scores(work: _Work, samples: Numbers) -> npt.NDArray[np.float64]:
    """(N, K) Probabilities."""
    parts = np.array_split(samples, -(-len(samples) // work.config.batch))
    found = []
    for loaded in ahead(lambda part: _read(work, part), parts, work.config.workers):
        logits = _logits(work, loaded).double()
        found.append((logits.sigmoid() if work.several else logits.softmax(1)).cpu().numpy())
        work.advance(len(loaded.samples))
    return np.concatenate(found)


def _validated(work: _Work, samples: Numbers) -> float:
    assert work.data.labels is not None
    truth, scores, classes = work.data.labels[samples], _scores(work, samples), work.data.classes
    if work.several:
        return multi_label(truth.astype(bool), scores, classes)["average_precision/macro"].value
    return single_label(truth.astype(np.int64), scores.argmax(1), classes)["accuracy/micro"].value
