"""What one process learns from in a step, and how it lies in one piece of memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from csmoe_model.config import ModelConfig

_ALIGNMENT = 64
_PARTS = {"images": torch.float32, "valid": torch.bool, "noise": torch.float32}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Samples of one process in a step."""

    images: dict[str, Tensor]
    """(B, C, H, W) float32, standardised, 0 where invalid, by sensor."""
    valid: dict[str, Tensor]
    """(B, C, H, W) True where a pixel counts; nowhere where a place lacks the sensor."""
    noise: dict[str, Tensor]
    """(B, L) Uniform numbers from which the masks are drawn."""
    rows: Tensor
    """(B,) Rows, to name samples by; they stay on the CPU."""

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""

        def moved(part: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: value.to(device, non_blocking=True) for name, value in part.items()}

        return Batch(images=moved(self.images), valid=moved(self.valid), noise=moved(self.noise), rows=self.rows)

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory, from which a GPU copies without waiting."""

        def pinned(part: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: value.pin_memory() for name, value in part.items()}

        return Batch(images=pinned(self.images), valid=pinned(self.valid), noise=pinned(self.noise), rows=self.rows)


class BatchLayout:
    """Where the parts of a batch lie in one piece of memory: it is handed from process to process as a whole."""

    def __init__(self, model: ModelConfig, num: int) -> None:
        self._shapes: Mapping[tuple[str, str], tuple[int, ...]] = {
            (part, name): (num, model.num_patches)
            if part == "noise"
            else (num, sensor.num_bands, model.image_px, model.image_px)
            for part in _PARTS
            for name, sensor in model.sensors.items()
        }
        sizes = [torch.Size(shape).numel() * _PARTS[part].itemsize for (part, _), shape in self._shapes.items()]
        self._sizes = sizes
        *self._starts, self.num_bytes = accumulate((-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes), initial=0)

    def carve(self, memory: Tensor, rows: Sequence[int]) -> Batch:
        """A batch whose tensors are views of `memory`, (num_bytes,) uint8."""
        parts: dict[str, dict[str, Tensor]] = {part: {} for part in _PARTS}
        for ((part, name), shape), start, size in zip(self._shapes.items(), self._starts, self._sizes, strict=True):
            parts[part][name] = memory[start : start + size].view(_PARTS[part]).view(shape)
        return Batch(**parts, rows=torch.tensor(rows))
