"""Figures of semantic segmentation, from how many pixels each class has.

with the masks of a test set, batch by batch:
    pixels.add(predicted, reference)
figures = pixels.figures(resampling)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from csmoe_model.errors import DataError
from csmoe_model.evaluation.figures import Figures
from csmoe_model.evaluation.metrics.counts import Array, Counts, macro
from csmoe_model.evaluation.metrics.intervals import Resampling, means, with_intervals


class PixelCounts:
    """Confusion matrices of images.

    Args:
        classes: Names, by code.
        ignore_index: Of reference pixels that count for nothing.
    """

    def __init__(self, classes: Sequence[str], ignore_index: int | None = None) -> None:
        self._classes, self._ignore = tuple(classes), ignore_index
        self._images: list[npt.NDArray[np.int64]] = []

    def add(self, predicted: Tensor, reference: Tensor) -> None:
        """Counts images (B, H, W) of class codes.

        Raises:
            DataError: A code is none of the classes.
        """
        num, size = len(self._classes), len(reference)
        counts = torch.ones_like(reference, dtype=torch.bool)
        if self._ignore is not None:
            counts = reference != self._ignore
        predicted = predicted.to(reference.device)
        for name, codes in (("reference", reference[counts]), ("predicted", predicted[counts])):
            if len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < num:
                raise DataError(
                    f"{name} mask: has codes {int(codes.min())} to {int(codes.max())} for {num} classes: "
                    "give the ignore index, or map the codes"
                )
        image = torch.arange(size, device=reference.device)[:, None, None].expand_as(reference)
        place = ((image * num + reference) * num + predicted)[counts].cpu()
        self._images.append(torch.bincount(place, minlength=size * num**2).view(size, num, num).numpy())

    @property
    def confusion(self) -> npt.NDArray[np.int64]:
        """(K, K) Pixels by reference (row) and predicted class (column)."""
        return np.asarray(self._per_image().sum(0))

    @property
    def image_miou(self) -> Array:
        """(N,) Mean IoU of each image over the classes in its reference; NaN where no pixel counts."""
        own = self._counts()
        return macro(own.iou, own.occurs)

    def figures(self, resampling: Resampling | None = None) -> Figures:
        """Figures of the data set; samples of the intervals are images.

        `miou/dataset`, the headline: from counts over all images, the mean over classes that occur in the reference, so
        that an absent one counts neither as 0 nor as 1; `miou/dataset-predicted`: over those that occur in the
        reference or in the prediction, an absent one that was predicted as 0. `iou/micro`: intersections of all classes
        over their unions. `miou/image`: the mean of `image_miou`.
        """
        own = self._counts()

        def measure(weights: Array) -> Mapping[str, Array]:
            counts = own.weighted(weights)
            return {
                "miou/dataset": macro(counts.iou, counts.occurs),
                "miou/dataset-predicted": macro(counts.iou, counts.occurs | (counts.predicted > 0)),
                "iou/micro": counts.micro.iou[:, 0],
                "accuracy/pixel": counts.micro.recall[:, 0],
                "f1/macro": macro(counts.f1, counts.occurs),
                **{f"iou/class/{name}": counts.iou[:, k] for k, name in own.named(self._classes)},
            }

        figures = with_intervals(measure, len(own.both), resampling)
        return figures | means({"miou/image": self.image_miou}, resampling)

    def _counts(self) -> Counts:
        matrices = self._per_image().astype(float)
        return Counts(np.diagonal(matrices, axis1=1, axis2=2), matrices.sum(2), matrices.sum(1))

    def _per_image(self) -> npt.NDArray[np.int64]:
        num = len(self._classes)
        return np.concatenate([np.zeros((0, num, num), np.int64), *self._images])
