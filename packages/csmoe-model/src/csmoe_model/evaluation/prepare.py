"""From a data set's pixels to what an extractor takes: bands by name, units, standardisation, size.

An extractor's sensor is fed by that sensor of the data set which has most of its bands. Bands that the data set does
not have are filled with the mean, which is 0 once standardised; results name them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from csmoe_model.errors import ConfigError, DataError
from csmoe_model.evaluation.dataset import Bands, EvaluationSet, Float32
from csmoe_model.sensors import Sensor

Normalise = Literal["model", "data"]
"""With the extractor's own means and deviations, or with those of the data set's training split."""
_SMALLEST_POWER = 1e-6
_SEEN = 512
"""Training samples from which means and deviations of a data set are taken, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """How one sensor of an extractor is fed."""

    source: str
    """Sensor of the data set."""
    channels: tuple[int | None, ...]
    """Channel of the data set for each band; none: filled with the mean."""
    unit: tuple[str, str]
    """From, to."""
    mean: Float32
    """(C, 1, 1) In the unit converted to."""
    std: Float32
    bands: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Bands that are filled with the mean."""
        return tuple(band for band, channel in zip(self.bands, self.channels, strict=True) if channel is None)


class Preparation:
    """Feeds an extractor from a data set; for loading processes too, hence picklable.

    Args:
        data: The data set.
        inputs: What the extractor takes.
        image_px: Edge of its images; others are resized (bilinear, antialiased, over valid pixels).
        normalise: Whose means and deviations.

    Raises:
        ConfigError: No band fits, or a unit has no way to the extractor's: then `normalise` must be "data".
    """

    def __init__(
        self, data: EvaluationSet, inputs: Mapping[str, Sensor], image_px: int | None, normalise: Normalise
    ) -> None:
        self.image_px = image_px
        self.normalise = normalise
        found = {name: _match(data, sensor) for name, sensor in inputs.items()}
        if not any(found.values()):
            takes = "; ".join(f"{name}: {', '.join(sensor.bands)}" for name, sensor in inputs.items())
            has = "; ".join(f"{name}: {', '.join(bands.names)}" for name, bands in data.sensors.items())
            raise ConfigError(f"data set {data.name}: has none of the bands that the model takes ({takes}), but {has}")
        self.feeds: dict[str, Feed] = {}
        for name, source in found.items():
            if source:
                self.feeds[name] = _feed(data, source, inputs[name], normalise)

    def __call__(self, images: Mapping[str, Float32]) -> dict[str, tuple[Tensor, Tensor]]:
        """Standardised image (C, H, W), 0 where invalid, and its validity, by sensor; what is lacking is left out."""
        return {
            name: self._prepared(feed, images[feed.source])
            for name, feed in self.feeds.items()
            if feed.source in images
        }

    def notes(self) -> list[str]:
        """What a reader of results has to know."""
        return [
            f"{name}: no {', '.join(feed.missing)} in the data, filled with the mean"
            for name, feed in self.feeds.items()
            if feed.missing
        ]

    def _prepared(self, feed: Feed, pixels: Float32) -> tuple[Tensor, Tensor]:
        known = [channel for channel in feed.channels if channel is not None]
        places = [place for place, channel in enumerate(feed.channels) if channel is not None]
        values = (convert(pixels[known], *feed.unit) - feed.mean[places]) / feed.std[places]
        image = torch.zeros(len(feed.channels), *pixels.shape[1:])
        image[places] = torch.from_numpy(values.astype(np.float32))
        valid = torch.isfinite(image)
        valid[[k for k in range(len(valid)) if k not in places]] = valid[places].any(0)  # what was filled in
        image = image.nan_to_num(0.0, 0.0, 0.0)
        size = self.image_px
        return (image, valid) if size is None or image.shape[1:] == (size, size) else resized(image, valid, size)


def convert(pixels: Float32, unit: str, wanted: str) -> Float32:
    """Values in another unit.

    Raises:
        ConfigError: There is no way.
    """
    if unit == wanted:
        return pixels
    match unit, wanted:
        case "reflectance", "DN":
            return pixels * np.float32(10_000)
        case "DN", "reflectance":
            return pixels / np.float32(10_000)
        case "power", "dB":
            decibels: Float32 = np.float32(10) * np.log10(np.maximum(pixels, np.float32(_SMALLEST_POWER)))
            return decibels
        case "byte", "0-1":
            return pixels / np.float32(255)
        case "DN", "0-1":  # of display: white at a reflectance of 0.3
            return _clipped(pixels / np.float32(3000))
        case "reflectance", "0-1":
            return _clipped(pixels / np.float32(0.3))
    raise ConfigError(f"unit '{unit}' has no way to '{wanted}'")


def _clipped(values: Float32) -> Float32:
    clipped: Float32 = np.clip(values, 0, 1)
    return clipped


def own_scale(data: EvaluationSet, inputs: Mapping[str, Sensor]) -> bool:
    """Whether the units of a data set have a way to those of an extractor, so that its own statistics can be used."""
    for sensor in inputs.values():
        source = _match(data, sensor)
        try:
            if source:
                convert(np.zeros(1, np.float32), data.sensors[source].unit, sensor.unit)
        except ConfigError:
            return False
    return True


def resized(image: Tensor, valid: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """An image (C, H, W) at another size: bilinear, antialiased, weighted by validity, valid where most of it was."""

    def scaled(x: Tensor) -> Tensor:
        return functional.interpolate(x[None], (size, size), mode="bilinear", antialias=True, align_corners=False)[0]

    if valid.all():
        return scaled(image), torch.ones(len(image), size, size, dtype=torch.bool)
    weight = scaled(valid.float())
    return torch.where(weight >= 0.5, scaled(image) / weight.clamp(min=0.5), 0.0), weight >= 0.5


def statistics(
    data: EvaluationSet, source: str, channels: Sequence[int], wanted: tuple[str, str]
) -> tuple[Float32, Float32]:
    """Mean and deviation (C, 1, 1) of a sensor's channels over the training split, in the unit converted to.

    Raises:
        DataError: There is no training split, or a band is constant in it.
    """
    train = data.of_split("train")
    seen = train[np.unique(np.linspace(0, len(train) - 1, min(_SEEN, len(train))).astype(int))]
    count, total, square = np.zeros(len(channels)), np.zeros(len(channels)), np.zeros(len(channels))
    for sample in seen:
        pixels = data.reader.images(int(sample)).get(source)
        if pixels is None:
            continue
        values = convert(pixels[list(channels)], *wanted).reshape(len(channels), -1).astype(np.float64)
        known = np.isfinite(values)
        count += known.sum(1)
        total += np.where(known, values, 0).sum(1)
        square += np.square(np.where(known, values, 0)).sum(1)
    mean = total / np.maximum(count, 1)
    std = np.sqrt(np.maximum(square / np.maximum(count, 1) - mean**2, 0))
    if (constant := (count == 0) | (std <= 1e-6 * np.maximum(1, np.abs(mean)))).any():
        names = [data.sensors[source].names[channels[int(k)]] for k in np.flatnonzero(constant)]
        raise DataError(
            f"data set {data.name}: {source} {', '.join(names)} constant or missing in the training split: leave it out"
        )
    return mean[:, None, None].astype(np.float32), std[:, None, None].astype(np.float32)


def _match(data: EvaluationSet, sensor: Sensor) -> str | None:
    """The data set's sensor that has most of the bands."""
    counts = {name: len(set(sensor.bands) & set(bands.names)) for name, bands in data.sensors.items()}
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] else None


def _feed(data: EvaluationSet, source: str, sensor: Sensor, normalise: Normalise) -> Feed:
    bands: Bands = data.sensors[source]
    place = {name: k for k, name in enumerate(bands.names)}
    channels = tuple(place.get(band) for band in sensor.bands)
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (sensor.mean, sensor.std))
    unit = (bands.unit, sensor.unit)
    if normalise == "data":
        unit = (bands.unit, bands.unit)
        known = [channel for channel in channels if channel is not None]
        places = [k for k, channel in enumerate(channels) if channel is not None]
        mean[places], std[places] = statistics(data, source, known, unit)
    else:
        try:
            convert(np.zeros(1, np.float32), *unit)
        except ConfigError as error:
            raise ConfigError(
                f"data set {data.name}: {source} is in '{bands.unit}', the model takes '{sensor.unit}': standardise "
                "with the data's own statistics (--normalise data)"
            ) from error
    return Feed(source=source, channels=channels, unit=unit, mean=mean, std=std, bands=sensor.bands)
