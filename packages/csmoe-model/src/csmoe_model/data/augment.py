"""Augmentations, alike for all sensors of a place: the eight symmetries of the square, and a crop with a scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is done to the images of one place: a window of the chip, resized, turned, then mirrored."""

    turns: int = 0
    """Quarter turns anticlockwise, 0 to 3."""
    flip: bool = False
    """Left becomes right, after the turns."""
    top: int
    left: int
    size: int
    """Edge of the window in pixels of the chip."""

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the chip."""
        return slice(self.top, self.top + self.size), slice(self.left, self.left + self.size)


def draw_view(chip_px: int, image_px: int, scale: tuple[float, float], chance: torch.Generator) -> View:
    """A view by chance.

    Args:
        chip_px: Edge of the chips.
        image_px: Edge of the images that the model takes.
        scale: Smallest and largest edge of the window, in edges of the image, or of the chip where that is smaller and
            has to be enlarged anyway; no window is larger than the chip.
        chance: The generator.
    """
    turns, flip = int(torch.randint(4, (), generator=chance)), bool(torch.randint(2, (), generator=chance))
    low, high = (min(chip_px, max(1, round(edge * min(chip_px, image_px)))) for edge in scale)
    size = int(torch.randint(low, high + 1, (), generator=chance))
    top, left = torch.randint(chip_px - size + 1, (2,), generator=chance).tolist()
    return View(turns=turns, flip=flip, top=top, left=left, size=size)


def centre_view(chip_px: int, image_px: int) -> View:
    """The middle of the chip, as it is; the whole chip where it is smaller than the image."""
    size = min(chip_px, image_px)
    start = (chip_px - size) // 2
    return View(top=start, left=start, size=size)


def turned(images: npt.NDArray[Any], view: View) -> npt.NDArray[Any]:
    """Images (..., H, W) turned and mirrored as a view says; no copy."""
    whole = np.rot90(images, view.turns, (-2, -1))
    return whole[..., ::-1] if view.flip else whole


def resize(pixels: Float32, edge_px: int) -> Float32:
    """(C, h, w) -> (C, edge, edge), bilinear, anti-aliased where it becomes smaller; a mean over valid pixels only.

    NaN where less than half of the weight is on valid pixels.
    """
    smaller = edge_px < pixels.shape[-1]
    valid = np.isfinite(pixels)
    if valid.all():
        return _interpolate(pixels, edge_px, smaller)
    weight = _interpolate(valid.astype(np.float32), edge_px, smaller)
    total = _interpolate(np.where(valid, pixels, np.float32(0)), edge_px, smaller)
    seen = weight > 0.5
    return np.divide(total, weight, out=np.full_like(total, np.nan), where=seen)


def _interpolate(pixels: Float32, edge_px: int, smaller: bool) -> Float32:
    # Without anti-aliasing it is the same function for a larger image, and twice as fast.
    resized: Float32 = functional.interpolate(
        torch.from_numpy(pixels)[None], (edge_px, edge_px), mode="bilinear", antialias=smaller, align_corners=False
    )[0].numpy()
    return resized
