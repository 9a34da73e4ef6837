"""A model at work on made-up images: encoding, and steps of training."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from csmoe_model.config import ModelConfig
from csmoe_model.nn.masking import Mask, draw_masks
from csmoe_model.nn.model import CSMoE
from csmoe_model.train.config import OptimiserConfig
from csmoe_model.train.schedule import build_optimiser

Precision = Literal["32-true", "bf16-mixed"]
SEED = 0


class Trial:
    """A model with a batch of random places.

    Args:
        config: The model.
        batch: Places.
        device: `cpu` or `cuda`.
        precision: As Lightning Fabric names it.
    """

    def __init__(self, config: ModelConfig, batch: int, device: str, precision: Precision) -> None:
        chance = torch.Generator().manual_seed(SEED)
        self.device, self.precision = device, precision
        self.model = CSMoE(config).to(device)
        self.images = {
            name: torch.randn(batch, sensor.num_bands, config.image_px, config.image_px, generator=chance).to(device)
            for name, sensor in config.sensors.items()
        }
        noise = {name: torch.rand(batch, config.num_patches, generator=chance) for name in config.sensors}
        masks = draw_masks(noise, config.ratios, config.mask.correspondence)
        self.masks = {name: Mask(mask.visible.to(device), mask.hidden.to(device)) for name, mask in masks.items()}
        self.optimiser: torch.optim.Optimizer | None = None

    def encode(self, places: int | None = None) -> Tensor:
        """The features of whole images of the first `places` places (None: all), every sensor; the last's pooled."""
        self.model.eval()
        with torch.inference_mode(), self._autocast():
            found = self.model.encode({name: images[:places] for name, images in self.images.items()})
        return next(reversed(found.values())).pooled

    def encode_visible(self) -> Tensor:
        """The features of the visible patches of all places, as training has them but without gradients."""
        self.model.eval()
        with torch.inference_mode(), self._autocast():
            for name, images in self.images.items():
                pooled: Tensor = self.model.encoder(name, images, self.masks[name].visible).pooled
        return pooled

    def step(self) -> Tensor:
        """The loss of a step on all places: forward, backward, and the optimiser of training."""
        self.model.train()
        if self.optimiser is None:
            self.optimiser = build_optimiser(self.model, OptimiserConfig())
        self.optimiser.zero_grad(set_to_none=True)
        with self._autocast():
            total: Tensor = self.model(self.images, self.masks).total
        total.backward()
        self.optimiser.step()
        return total.detach()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.precision == "bf16-mixed")
