"""What every backbone offers to the evaluation, our own and other people's: features of one sensor's images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from csmoe_model.sensors import Sensor


@dataclass(frozen=True, slots=True)
class Extracted:
    """Features of a batch of images of one sensor."""

    pooled: Tensor
    """(B, D)"""
    dense: tuple[Tensor, ...] = ()
    """(B, D', h, w) Maps of the layers that were asked for, row 0 in the north, in the order asked."""


class Extractor(Protocol):
    """A backbone."""

    name: str
    """As tables show it."""
    kind: str
    """csmoe, csmae, random, statistics, timm, torchgeo."""
    image_px: int
    """Edge of its square images."""
    num_layers: int
    """Layers that can be asked for, 0 to num_layers - 1; 0 where there are no dense features."""

    @property
    def inputs(self) -> Mapping[str, Sensor]:
        """What it takes, by sensor: bands in order, unit, mean and deviation that it standardises with."""

    @property
    def module(self) -> nn.Module | None:
        """What can be trained; none: nothing can."""

    def __call__(self, sensor: str, images: Tensor, valid: Tensor, layers: Sequence[int] = ()) -> Extracted:
        """Features, with gradient where the caller has not switched it off.

        Args:
            sensor: One of `inputs`.
            images: (B, C, H, W) Standardised, 0 where invalid.
            valid: (B, C, H, W) True where a pixel counts.
            layers: Whose maps are wanted.

        Raises:
            ConfigError: There is no such sensor or layer, or no dense features.
        """

    def width(self, sensor: str) -> int:
        """D of the pooled features."""

    def macs(self, sensor: str) -> int | None:
        """Multiply-adds of one image; none where nobody knows."""
