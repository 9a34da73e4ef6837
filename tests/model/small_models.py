"""Models and optimisers that take milliseconds."""

from __future__ import annotations

import torch

from csmoe_model.config import DecoderConfig, EncoderConfig, ModelConfig, MoEConfig
from csmoe_model.nn.masking import draw_masks
from csmoe_model.nn.model import CSMoE
from csmoe_model.sensors import sentinel
from csmoe_model.train.config import DataConfig, OptimiserConfig, TrainConfig
from csmoe_model.train.schedule import build_optimiser

SENSORS = {"s1": sentinel(("VV", "VH"), "dB"), "s2": sentinel(("B03", "B8A", "B11"), "DN")}


def model_config(**changes) -> ModelConfig:
    """32 px, 16 patches, three blocks with two experts."""
    values = {
        "sensors": SENSORS,
        "image_px": 32,
        "patch_px": 8,
        "encoder": EncoderConfig(
            dim=32, heads=2, specific_depth=1, shared_depth=1, moe=MoEConfig(experts=2, slots_per_expert=3, width=0.5)
        ),
        "decoder": DecoderConfig(dim=16, heads=2, depth=1),
        **changes,
    }
    return ModelConfig(**values)


def train_config(model: ModelConfig | None = None, **changes) -> TrainConfig:
    """Twelve steps of eight places, in this process alone."""
    values = {
        "model": model or model_config(),
        "data": DataConfig(workers=0),
        "optimiser": OptimiserConfig(lr=1e-3),
        "max_steps": 12,
        "batch": 8,
        "log_every": 1,
        "probe_every": 0,
        "save_minutes": 1000.0,
        **changes,
    }
    return TrainConfig(**values)


def built(config: TrainConfig, seed: int = 0):
    """A model with random weights and its optimiser."""
    torch.manual_seed(seed)
    model = CSMoE(config.model)
    return model, build_optimiser(model, config.optimiser)


def batch_of(config: ModelConfig, places: int = 4, seed: int = 1):
    """Images and masks."""
    chance = torch.Generator().manual_seed(seed)
    shape = (config.image_px, config.image_px)
    images = {name: torch.randn(places, s.num_bands, *shape, generator=chance) for name, s in config.sensors.items()}
    noise = {name: torch.rand(places, config.num_patches, generator=chance) for name in images}
    return images, draw_masks(noise, config.ratios, config.mask.correspondence)


def take_step(model, optimiser, seed: int = 1) -> float:
    """One step on random places; its loss."""
    images, masks = batch_of(model.config, seed=seed)
    loss = model(images, masks).total
    loss.backward()
    optimiser.step()
    optimiser.zero_grad()
    return float(loss.detach())
