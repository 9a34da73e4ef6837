"""What a segmenter learns from and is judged by: windows whose maps are kept, or scenes looked at anew each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from csmoe_model.config import Positive, Share
from csmoe_model.errors import ConfigError, DataError
from csmoe_model.evaluation.crops import IGNORED, Scene, Scenes, stacked
from csmoe_model.evaluation.dataset import EvaluationSet
from csmoe_model.evaluation.fitting import FitConfig, Numbers, ahead, chance_of, shuffled
from csmoe_model.evaluation.heads import HeadName
from csmoe_model.evaluation.sliding import Chunk, Maps, Slider
from csmoe_model.evaluation.windows import cover

Looked = Iterable[tuple[Scene, Iterable[Chunk]]]
"""Scenes and the maps of their windows."""
Batches = tuple[int, Iterator[tuple[Maps, Tensor]]]
"""How many an epoch has, and those of all epochs: maps, and references (B, px, px)."""
_MOST_KEPT_BYTES = 8 * 2**30


class SegmentConfig(FitConfig):
    """How a segmenter is made."""

    head: HeadName = "linear"
    layers: tuple[int, ...] | None = None
    """Whose maps the head sees; none: four, evenly spread, the last one included."""
    width: Positive = 256
    """Channels of UPerNet and DPT."""
    augment: bool = False
    """Training images are turned and mirrored by chance; without it a frozen backbone sees every image only once."""
    resize: bool = False
    """Whole images at the extractor's size, in place of windows at their own scale."""
    overlap: Share = 0.5
    """Least overlap of windows, in edges, where a segmenter is judged."""

    @property
    def keeps(self) -> bool:
        """Whether maps are computed once."""
        return self.frozen and not self.augment


@dataclass(frozen=True, slots=True)
class Work:
    """A segmenter to be made."""

    data: EvaluationSet
    config: SegmentConfig
    scenes: Scenes
    slider: Slider
    advance: Callable[[int], None] = lambda _: None


def looked_at(work: Work, samples: Sequence[int] | Numbers) -> Looked:
    """Scenes and their windows, computed as they are asked for."""
    for scene in ahead(work.scenes, map(int, samples), work.config.workers):
        yield scene, work.slider.chunks(scene, work.config.overlap)


def kept(work: Work, samples: Numbers, overlap: float) -> list[tuple[Scene, list[Chunk]]]:
    """Scenes without their pixels, and the maps of their windows.

    Raises:
        ConfigError: They are too many to be kept.
    """
    found = []
    for scene in ahead(work.scenes, map(int, samples), work.config.workers):
        chunks = [(places, [one.cpu() for one in maps]) for places, maps in work.slider.chunks(scene, overlap)]
        size = sum(one.nbytes for _, maps in chunks for one in maps) * len(samples)
        if size > _MOST_KEPT_BYTES:
            raise ConfigError(
                f"data set {work.data.name}: maps of {len(samples):,} images would take about {size / 2**30:.0f} GiB: "
                "augment, so that they are computed anew, or choose fewer layers"
            )
        found.append((replace(scene, images={}, valid={}), chunks))
        work.advance(1)
    return found


def kept_batches(work: Work, train: Numbers) -> Batches:
    """Windows side by side, their maps computed once."""
    config, size = work.config, work.slider.px
    windows: list[tuple[list[Tensor], Tensor]] = []
    for scene, chunks in kept(work, train, 0.0):
        for places, maps in chunks:
            for k, place in enumerate(places):
                reference = scene.window(place, size).reference
                if (reference != IGNORED).any():
                    windows.append(([one[k] for one in maps], reference))
    batch = _batch(work, len(windows))

    def batches() -> Iterator[tuple[Maps, Tensor]]:
        for _, rows in shuffled(len(windows), batch, config.epochs, config.seed):
            maps, references = zip(*(windows[row] for row in rows), strict=True)
            yield [torch.stack(layer) for layer in zip(*maps, strict=True)], torch.stack(references)

    return len(windows) // batch, batches()


def fresh_batches(work: Work, train: Numbers) -> Batches:
    """Crops by chance, in an epoch as many as would cover the images."""
    config, size = work.config, work.slider.px
    count = len(train) * crops_each(work.data, size, config)
    batch = _batch(work, count)

    def read(drawn: tuple[int, list[int]]) -> Scene:
        epoch, rows = drawn
        chances = [chance_of(config.seed, epoch, row + 1) for row in rows]
        samples = [int(train[row % len(train)]) for row in rows]
        return stacked(
            [work.scenes.crop(*one, turn=config.augment) for one in zip(samples, [size] * batch, chances, strict=True)]
        )

    def batches() -> Iterator[tuple[Maps, Tensor]]:
        for scenes in ahead(read, shuffled(count, batch, config.epochs, config.seed), config.workers):
            with torch.set_grad_enabled(not config.frozen):
                maps = work.slider.maps(scenes)
            yield maps, scenes.reference

    return count // batch, batches()


def _batch(work: Work, count: int) -> int:
    """Windows of a training step."""
    if not count:
        raise DataError(f"data set {work.data.name}: no pixel of the training split counts: look at its masks")
    batch = min(work.config.batch, count)
    if batch == 1 and work.config.head == "upernet":
        raise ConfigError("head 'upernet': its normalisation needs 2 windows in a batch at least: give more, or 'dpt'")
    return batch


def crops_each(data: EvaluationSet, size: int, config: SegmentConfig) -> int:
    """Crops of a training image in an epoch."""
    if config.resize:
        return 1
    first = data.reader.mask(int(data.of_split("train")[0]))
    return len(cover(first.shape, size, 0.0))
