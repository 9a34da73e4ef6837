"""The floor of every table: mean and deviation of each band, of an image or of its cells, and nothing learned."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from csmoe_model.errors import ConfigError
from csmoe_model.evaluation.dataset import Bands, EvaluationSet
from csmoe_model.evaluation.extractor import Extracted
from csmoe_model.sensors import Sensor
from csmoe_model.train.probe import image_statistics

CELL_PX = 4
"""Edge of the cells of its map."""


class StatisticsExtractor:
    """Mean and standard deviation of every band of a data set over the valid pixels, in the data's own unit.

    Images come as they are, neither standardised nor, where `image_px` is the data's own size, resized.

    Args:
        data: Whose sensors and bands.
        image_px: Edge of its images; resizing changes deviations a little.
    """

    kind = "statistics"
    module = None
    num_layers = 1
    """Its map has the statistics of cells of `CELL_PX`."""

    def __init__(self, data: EvaluationSet, image_px: int | None = None) -> None:
        self.name = "image statistics"
        self.inputs = {name: _as_it_is(bands) for name, bands in data.sensors.items()}
        self.image_px = image_px or _edge(data)

    def __call__(self, sensor: str, images: Tensor, valid: Tensor, layers: Sequence[int] = ()) -> Extracted:
        """See `Extractor`."""
        if sensor not in self.inputs:
            raise ConfigError(f"{self.name}: no sensor '{sensor}', but {', '.join(self.inputs)}")
        if bad := [k for k in layers if k]:
            raise ConfigError(f"{self.name}: layers {bad} of 1: there is layer 0 alone")
        return Extracted(image_statistics(images, valid), tuple(_cells(images, valid) for _ in layers))

    def width(self, sensor: str) -> int:
        """Two a band."""
        return 2 * self.inputs[sensor].num_bands

    def macs(self, sensor: str) -> int:
        """A product for the mean and one for the deviation, of every value."""
        return 2 * self.inputs[sensor].num_bands * self.image_px**2


def _cells(images: Tensor, valid: Tensor) -> Tensor:
    """(B, 2 C, h, w) Mean and deviation of every cell over its valid pixels; 0 where it has none."""
    share = functional.avg_pool2d(valid.float(), CELL_PX, ceil_mode=True).clamp(min=1e-6)
    known = torch.where(valid, images, 0.0)
    mean, square = (functional.avg_pool2d(x, CELL_PX, ceil_mode=True) / share for x in (known, known.square()))
    return torch.cat([mean, (square - mean.square()).clamp(min=0).sqrt()], 1)


def _as_it_is(bands: Bands) -> Sensor:
    zero, one = (0.0,) * len(bands.names), (1.0,) * len(bands.names)
    return Sensor(bands=bands.names, unit=bands.unit, gsd_m=bands.gsd_m, mean=zero, std=one)


def _edge(data: EvaluationSet) -> int:
    """Of the first sample; images that are not square are resized."""
    return int(max(max(image.shape[1:]) for image in data.reader.images(0).values()))
