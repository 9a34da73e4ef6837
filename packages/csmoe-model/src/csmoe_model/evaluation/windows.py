"""Images larger than an extractor's, window by window: where windows lie, and how their scores become one map.

Windows of an axis are evenly spread, the first at the beginning and the last at the end, so that all pixels are covered
and neighbours overlap at least as much as asked. Scores are blended with Hann weights, which fall towards the edges of
a window, where it sees least around a pixel; weights of a pixel sum to 1, so that one window alone stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Place(NamedTuple):
    """Upper left pixel of a window."""

    top: int
    left: int


def cover(shape: Sequence[int], size: int, overlap: float) -> list[Place]:
    """Windows that cover an image, row by row; those of a smaller image begin at 0 and reach beyond it.

    Args:
        shape: (H, W) Of the image.
        size: Edge of a window.
        overlap: Least overlap of neighbours, as a share of the edge, below 1.
    """
    return [Place(*place) for place in product(*(_starts(length, size, overlap) for length in shape))]


def cut(images: Tensor, place: Place, size: int) -> Tensor:
    """A window (..., size, size) of images (..., H, W), filled up with 0 (False) below and to the right of them."""
    window = images[..., place.top : place.top + size, place.left : place.left + size]
    missing = size - window.shape[-2], size - window.shape[-1]
    return functional.pad(window, (0, missing[1], 0, missing[0])) if any(missing) else window


class Mosaic:
    """Scores of an image, of which windows come one after the other.

    Args:
        num_classes: Scores of a pixel.
        places: All windows that will come; where there are none, scores are 0.
        shape: (H, W) Of the image.
        size: Edge of a window.
    """

    def __init__(self, num_classes: int, places: Sequence[Place], shape: Sequence[int], size: int) -> None:
        middles = (torch.arange(size) + 0.5) / size  # of pixels: even the outermost ones have some weight
        edge = (math.pi * middles).sin().square()
        self._window = edge[:, None] * edge
        self._size = size
        self._weights = torch.zeros(*shape)
        self.scores = torch.zeros(num_classes, *shape)
        """(K, H, W)"""
        for place in places:
            target = self._at(self._weights, place)
            target += self._window[: target.shape[0], : target.shape[1]]

    def add(self, place: Place, scores: Tensor) -> None:
        """Scores (K, size, size) of a window; what lies beyond the image is dropped."""
        target, total = self._at(self.scores, place), self._at(self._weights, place)
        height, width = total.shape
        target += scores[:, :height, :width] * (self._window[:height, :width] / total)

    def _at(self, image: Tensor, place: Place) -> Tensor:
        return image[..., place.top : place.top + self._size, place.left : place.left + self._size]


def _starts(length: int, size: int, overlap: float) -> list[int]:
    if length <= size:
        return [0]
    step = max(1, math.floor(size * (1 - overlap)))
    count = math.ceil((length - size) / step) + 1
    return [round(k * (length - size) / (count - 1)) for k in range(count)]
