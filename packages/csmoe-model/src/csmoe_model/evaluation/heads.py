"""Segmentation heads over dense features: a linear one, and the decoders UPerNet and DPT.

    maps of layers, by sensor -> standardised, side by side -> head -> scores of classes -> bilinear to the image's size

A plain transformer has maps of one scale; UPerNet and DPT then get four scales of them, from four layers, by up- and
down-sampling. Backbones whose layers are a pyramid already give it as it is, the finest first.

Shapes: B images, D channels of a map, h x w its size, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from csmoe_model.errors import ConfigError
from csmoe_model.evaluation.extractor import Extractor

HeadName = Literal["linear", "upernet", "dpt"]
Shape = tuple[int, int, int]
"""(D, h, w) Of a map."""
LEVELS = 4
"""Layers that UPerNet and DPT take, and the linear head unless others are named."""


def spread_layers(num_layers: int, count: int) -> tuple[int, ...]:
    """Layers evenly spread over the depth, the last one included; of fewer than `count` some stand twice.

    Raises:
        ConfigError: There are no layers.
    """
    if not num_layers:
        raise ConfigError("the extractor has no dense features: there is nothing to segment with, choose another one")
    return tuple(math.ceil((k + 1) * num_layers / count) - 1 for k in range(count))


@dataclass(frozen=True, kw_only=True, eq=False)
class Segmenter:
    """A backbone and a head."""

    extractor: Extractor
    sensors: tuple[str, ...]
    """Whose maps are used."""
    layers: tuple[int, ...]
    head: nn.Module
    num_classes: int

    def maps(self, images: Mapping[str, Tensor], valid: Mapping[str, Tensor]) -> list[Tensor]:
        """Maps (B, D, h, w) of all layers of the first sensor, then of the next; 0 where an image lacks a sensor.

        Args:
            images: (B, C, H, W) Standardised, by sensor.
            valid: (B, C, H, W) True where a pixel counts.
        """
        maps = []
        for sensor in self.sensors:
            has = valid[sensor].flatten(1).any(1)[:, None, None, None]
            found = self.extractor(sensor, images[sensor], valid[sensor], self.layers).dense
            maps += [one.where(has, 0.0) for one in found]
        return maps

    def scores(self, maps: Sequence[Tensor]) -> Tensor:
        """(B, K, H, W) Of the extractor's images, in float32."""
        size = self.extractor.image_px
        return resampled(self.head(maps).float(), (size, size))


def build_segmenter(
    extractor: Extractor,
    sensors: Sequence[str],
    name: HeadName,
    num_classes: int,
    *,
    width: int,
    layers: Sequence[int] | None = None,
) -> Segmenter:
    """A segmenter with a new head on the device of the extractor.

    Args:
        extractor: The backbone.
        sensors: Whose maps are used, side by side.
        name: Of the head.
        num_classes: Number of classes.
        width: Channels of a decoder.
        layers: Whose maps are used; default: four, evenly spread: the last one alone may serve the pre-training's
            contrast more than what is where.

    Raises:
        ConfigError: The extractor lacks a layer or dense features, or a decoder gets another number of layers than 4.
    """
    spread = spread_layers(extractor.num_layers, LEVELS)
    chosen = (tuple(dict.fromkeys(spread)) if name == "linear" else spread) if layers is None else tuple(layers)
    if name != "linear" and len(chosen) != LEVELS:
        raise ConfigError(f"head '{name}': takes {LEVELS} layers, {len(chosen)} are given ({chosen})")
    device = device_of(extractor)
    shapes = [_shapes(extractor, sensor, chosen, device) for sensor in sensors]
    heads: dict[HeadName, type[nn.Module]] = {"linear": LinearHead, "upernet": UPerNetHead, "dpt": DPTHead}
    beside: list[Shape] = [(sum(one[0] for one in same), *same[0][1:]) for same in zip(*shapes, strict=True)]
    head = nn.Sequential(Beside(shapes), heads[name](beside, num_classes, width)).to(device)
    return Segmenter(extractor=extractor, sensors=tuple(sensors), layers=chosen, head=head, num_classes=num_classes)


class Beside(nn.Module):
    """Maps of several sensors, standardised channel by channel, side by side: one (B, sum D, h, w) for each layer."""

    def __init__(self, shapes: Sequence[Sequence[Shape]]) -> None:
        super().__init__()
        self.num_layers = len(shapes[0])
        self.norms = nn.ModuleList(nn.BatchNorm2d(shape[0], affine=False) for own in shapes for shape in own)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """`maps`: all layers of the first sensor, then of the next."""
        alike = [norm(one) for norm, one in zip(self.norms, maps, strict=True)]
        layers = [alike[k :: self.num_layers] for k in range(self.num_layers)]
        return [torch.cat([resampled(one, own[0].shape[-2:]) for one in own], 1) for own in layers]


class LinearHead(nn.Module):
    """A 1x1 convolution; of several layers, all together."""

    def __init__(self, shapes: Sequence[Shape], num_classes: int, width: int) -> None:
        super().__init__()
        self.classify = nn.Conv2d(sum(shape[0] for shape in shapes), num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Scores (B, K, h, w)."""
        scores: Tensor = self.classify(torch.cat([resampled(one, maps[0].shape[-2:]) for one in maps], 1))
        return scores


class UPerNetHead(nn.Module):
    """UPerNet of segmentation-models-pytorch over a pyramid."""

    def __init__(self, shapes: Sequence[Shape], num_classes: int, width: int) -> None:
        from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder

        super().__init__()
        scales = (4.0, 2.0, 1.0, 0.5) if _one_scale(shapes) else (1.0,) * LEVELS
        self.pyramid = nn.ModuleList(
            _level(shape[0], width, scale) for shape, scale in zip(shapes, scales, strict=True)
        )
        # It leaves out the two finest scales of a convolutional encoder, which we do not have.
        self.decoder = UPerNetDecoder((0, 0, *[width] * LEVELS), encoder_depth=LEVELS + 1, decoder_channels=width)
        self.classify = nn.Conv2d(width, num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Scores (B, K, 4 h, 4 w)."""
        levels = [level(one) for level, one in zip(self.pyramid, maps, strict=True)]
        scores: Tensor = self.classify(self.decoder([None, None, *levels]))
        return scores


class DPTHead(nn.Module):
    """DPT of segmentation-models-pytorch."""

    def __init__(self, shapes: Sequence[Shape], num_classes: int, width: int) -> None:
        from segmentation_models_pytorch.decoders.dpt.decoder import DPTDecoder

        super().__init__()
        self.one_scale = _one_scale(shapes)
        self.decoder = DPTDecoder(
            [shape[0] for shape in shapes],
            (16,) * LEVELS if self.one_scale else (4, 8, 16, 32),
            encoder_has_prefix_tokens=False,
            readout="ignore",
            intermediate_channels=(width, 2 * width, 4 * width, 4 * width),
            fusion_channels=width,
        )
        self.classify = nn.Conv2d(width, num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Scores (B, K, 8 h, 8 w)."""
        height, width = maps[-1].shape[-2:]
        if self.one_scale:  # it halves a map, doubles it again, and must find the size that it left
            sizes = [(height + height % 2, width + width % 2)] * LEVELS
        else:
            sizes = [(height << k, width << k) for k in reversed(range(LEVELS))]
        fitting = [resampled(one, size) for one, size in zip(maps, sizes, strict=True)]
        scores: Tensor = self.classify(self.decoder(fitting, [None] * LEVELS))
        return scores


def resampled(images: Tensor, size: Sequence[int]) -> Tensor:
    """Images (B, C, H, W) of another size, bilinear; the same ones where they have it."""
    if images.shape[-2:] == tuple(size):
        return images
    return functional.interpolate(images, tuple(size), mode="bilinear", align_corners=False)


def device_of(extractor: Extractor) -> torch.device:
    """Where an extractor works."""
    first = next(extractor.module.parameters(), None) if extractor.module is not None else None
    return torch.device("cpu") if first is None else first.device


@torch.no_grad()
def _shapes(extractor: Extractor, sensor: str, layers: tuple[int, ...], device: torch.device) -> list[Shape]:
    """Of the maps, as they come out of an empty image."""
    shape = (1, extractor.inputs[sensor].num_bands, extractor.image_px, extractor.image_px)
    images = torch.zeros(shape, device=device)
    dense = extractor(sensor, images, torch.ones_like(images, dtype=torch.bool), layers).dense
    return [(one.shape[1], one.shape[2], one.shape[3]) for one in dense]


def _one_scale(shapes: Sequence[Shape]) -> bool:
    return len({shape[1:] for shape in shapes}) == 1


def _level(channels: int, width: int, scale: float) -> nn.Module:
    """A map at another scale, with `width` channels."""
    if scale == 4:
        first = nn.ConvTranspose2d(channels, width, 2, stride=2)
        return nn.Sequential(first, nn.BatchNorm2d(width), nn.GELU(), nn.ConvTranspose2d(width, width, 2, stride=2))
    if scale == 2:
        return nn.ConvTranspose2d(channels, width, 2, stride=2)
    smaller = nn.MaxPool2d(2, ceil_mode=True) if scale < 1 else nn.Identity()
    return nn.Sequential(smaller, nn.Conv2d(channels, width, 1))
