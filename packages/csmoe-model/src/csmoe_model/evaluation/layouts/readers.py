"""What the readers of several layouts share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from csmoe_model.errors import DataError
from csmoe_model.evaluation.dataset import Float32


class Unmasked:
    """A reader without masks."""

    def mask(self, sample: int) -> npt.NDArray[np.int64]:
        """Raises DataError: there are none."""
        raise DataError("a data set of scenes has no masks: segmentation needs one that has")


def on_one_grid(bands: Sequence[Float32]) -> Float32:
    """(C, H, W) Of bands (h, w) that cover the same ground, by nearest neighbour on the finest grid among them."""
    height, width = max(len(band) for band in bands), max(band.shape[1] for band in bands)
    pixels = np.empty((len(bands), height, width), np.float32)
    for target, band in zip(pixels, bands, strict=True):
        rows, columns = (np.arange(size) * own // size for size, own in zip(target.shape, band.shape, strict=True))
        target[:] = band[rows[:, None], columns]
    return pixels
