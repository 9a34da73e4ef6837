"""Images with their references, ready for an extractor: whole, or crops by chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from csmoe_model.data.augment import draw_view, turned
from csmoe_model.errors import DataError
from csmoe_model.evaluation.dataset import EvaluationSet, Float32
from csmoe_model.evaluation.prepare import Preparation
from csmoe_model.evaluation.windows import Place, cut

IGNORED = -1
"""Class of pixels that count for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """Prepared images of a sample or a window of it, with its reference; or of several, with a B before each shape."""

    images: dict[str, Tensor]
    """(C, H, W) Standardised, 0 where invalid, by sensor of the extractor."""
    valid: dict[str, Tensor]
    seen: Tensor
    """(H, W) Where a sensor sees something."""
    reference: Tensor
    """(H, W), or the size of the mask where images are resized. Class; `IGNORED` where it counts for nothing, or where
    nothing is seen."""
    unseen_labels: int = 0
    """Pixels with a class that no sensor sees."""

    def window(self, place: Place, size: int) -> Scene:
        """A window, its reference at the size of the images; beyond the scene nothing is valid and nothing counts."""
        reference = nearest(self.reference, self.seen.shape)
        return Scene(
            images={name: cut(image, place, size) for name, image in self.images.items()},
            valid={name: cut(valid, place, size) for name, valid in self.valid.items()},
            reference=cut(reference - IGNORED, place, size) + IGNORED,
            seen=cut(self.seen, place, size),
        )


def stacked(scenes: Sequence[Scene]) -> Scene:
    """Scenes of one size."""
    names = scenes[0].images
    return Scene(
        images={name: torch.stack([scene.images[name] for scene in scenes]) for name in names},
        valid={name: torch.stack([scene.valid[name] for scene in scenes]) for name in names},
        reference=torch.stack([scene.reference for scene in scenes]),
        seen=torch.stack([scene.seen for scene in scenes]),
    )


class Scenes:
    """The scenes of a data set; safe for threads.

    Args:
        data: The data set.
        preparation: Its `image_px` says whether images are resized, their references being left as they are.
    """

    def __init__(self, data: EvaluationSet, preparation: Preparation) -> None:
        self._data, self.preparation = data, preparation

    def __call__(self, sample: int) -> Scene:
        """A whole scene; raises DataError where a sample cannot be read, or its mask does not fit."""
        return self._scene(*self._read(sample))

    def crop(self, sample: int, size: int, chance: torch.Generator, *, turn: bool) -> Scene:
        """A window of `size` by chance, or the resized scene; turned and mirrored by chance if asked.

        Raises:
            DataError: As for a whole one.
        """
        images, mask = self._read(sample)
        if self.preparation.image_px is None:
            window = tuple(_span(length, size, chance) for length in mask.shape)
            images = {name: pixels[:, *window] for name, pixels in images.items()}
            mask = mask[window]
        scene = self._scene(images, mask).window(Place(0, 0), size)
        return _turned(scene, size, chance) if turn else scene

    def _read(self, sample: int) -> tuple[dict[str, Float32], npt.NDArray[np.int64]]:
        """Pixels and classes, with `IGNORED` in place of the data set's own code."""
        name, classes = self._data.ids[sample], len(self._data.classes)
        sources = {feed.source for feed in self.preparation.feeds.values()}
        images = {key: pixels for key, pixels in self._data.reader.images(sample).items() if key in sources}
        mask = self._data.reader.mask(sample)
        ignore = self._data.ignore_index
        counts = np.ones(mask.shape, bool) if ignore is None else mask != ignore
        known = mask[counts]
        mask = np.where(counts, mask, IGNORED)
        if known.size and not 0 <= known.min() <= known.max() < classes:
            raise DataError(
                f"mask of sample {name}: has codes {known.min()} to {known.max()} where the data set has {classes} "
                f"classes (and ignores {ignore}): name its classes, or the code to ignore"
            )
        other = {key: pixels.shape[1:] for key, pixels in images.items() if pixels.shape[1:] != mask.shape}
        if other and self.preparation.image_px is None:
            key, shape = next(iter(other.items()))
            raise DataError(
                f"sample {name}: {key} has {shape[0]} x {shape[1]} px, the mask {mask.shape[0]} x {mask.shape[1]}: "
                "let images be resized (resize)"
            )
        return images, mask

    def _scene(self, images: dict[str, Float32], mask: npt.NDArray[np.int64]) -> Scene:
        prepared = self.preparation(images)
        size = self.preparation.image_px
        height, width = mask.shape if size is None else (size, size)
        seen = torch.zeros(height, width, dtype=torch.bool)
        both = {}
        for name, feed in self.preparation.feeds.items():
            shape = (len(feed.channels), height, width)
            both[name] = prepared.get(name) or (torch.zeros(shape), torch.zeros(shape, dtype=torch.bool))
            known = [channel is not None for channel in feed.channels]
            seen |= both[name][1][known].any(0)
        reference = torch.from_numpy(mask)
        counts = nearest(seen, mask.shape)
        return Scene(
            images={name: image for name, (image, _) in both.items()},
            valid={name: valid for name, (_, valid) in both.items()},
            reference=reference.where(counts, IGNORED),
            seen=seen,
            unseen_labels=int((~counts & (reference != IGNORED)).sum()),
        )


def nearest(image: Tensor, size: Sequence[int]) -> Tensor:
    """An image (H, W) of another size, every pixel as the one under its middle."""
    if image.shape == tuple(size):
        return image
    rows, columns = (
        ((torch.arange(wanted) + 0.5) * length / wanted).long()
        for wanted, length in zip(size, image.shape, strict=True)
    )
    return image[rows][:, columns]


def _span(length: int, size: int, chance: torch.Generator) -> slice:
    """A window by chance along an axis, or all of it where it is shorter."""
    start = int(torch.randint(max(0, length - size) + 1, (), generator=chance))
    return slice(start, min(length, start + size))


def _turned(scene: Scene, size: int, chance: torch.Generator) -> Scene:
    view = draw_view(size, size, (1.0, 1.0), chance)

    def alike(image: Tensor) -> Tensor:
        return torch.from_numpy(turned(image.numpy(), view).copy())

    return Scene(
        images={name: alike(image) for name, image in scene.images.items()},
        valid={name: alike(valid) for name, valid in scene.valid.items()},
        reference=alike(scene.reference),
        seen=alike(scene.seen),
    )
