"""Our own checkpoints, and models of the same shape that have learned nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from csmoe_model.config import ModelConfig
from csmoe_model.cost import encoder_cost
from csmoe_model.errors import ConfigError
from csmoe_model.evaluation.extractor import Extracted
from csmoe_model.nn.model import CSMoE
from csmoe_model.nn.soft_moe import SoftMoE
from csmoe_model.train.checkpoint import load_weights, model_config, resolve


class OwnExtractor:
    """A CSMoE or its dense twin; its pooled feature is that of pre-training."""

    def __init__(self, name: str, kind: str, model: CSMoE) -> None:
        self.name, self.kind, self.module = name, kind, model
        self.inputs = dict(model.config.sensors)
        self.image_px = model.config.image_px
        self.num_layers = model.config.encoder.depth
        self.slots: int | None = None
        """Slots an expert uses, where these are fewer than it has."""
        self.curve = ""
        """Of the curve that it is a point of in plots: models that are one, of which more or less is computed."""

    def __call__(self, sensor: str, images: Tensor, valid: Tensor, layers: Sequence[int] = ()) -> Extracted:
        """See `Extractor`; invalid pixels hold the mean, as in pre-training."""
        features = self.module.encoder(sensor, images, layers=layers)
        grid = self.module.config.grid
        maps = [tokens.transpose(1, 2).unflatten(2, (grid, grid)) for tokens in features.layers]
        return Extracted(features.pooled, tuple(maps))

    def width(self, sensor: str) -> int:
        """Width of the encoder, for every sensor."""
        return self.module.config.encoder.dim

    def macs(self, sensor: str) -> int:
        """Of the configuration."""
        return encoder_cost(self.module.config, sensor, slots=self.slots).macs

    def use_slots(self, slots: int) -> None:
        """Every expert of the encoder uses its first `slots` slots: less cost, less exact.

        Raises:
            ConfigError: It has not as many, or the model is dense.
        """
        check_slots(self.name, self.module.config, slots)
        self.slots = slots
        for layer in self.module.encoder.modules():
            if isinstance(layer, SoftMoE):
                layer.slots = slots


def check_slots(name: str, config: ModelConfig, slots: int) -> None:
    """Raises ConfigError where the experts of a model do not have as many slots."""
    moe = config.encoder.moe
    if moe is None:
        raise ConfigError(f"{name}: is dense, it has no slots: leave --slots out")
    if not 1 <= slots <= moe.slots_per_expert:
        raise ConfigError(f"{name}: {slots} slots an expert: it has {moe.slots_per_expert}; give 1 to as many")


def trained(
    path: Path, *, image_px: int | None = None, name: str | None = None, slots: int | None = None
) -> OwnExtractor:
    """The model of a checkpoint or run, where wanted for images of another size (positions are computed).

    `slots`: see `OwnExtractor.use_slots`.

    Raises:
        CheckpointError: It cannot be loaded.
        ConfigError: The size is no multiple of the patch, or there are not as many slots.
    """
    config = sized(model_config(path), image_px)
    model = _fresh(config, 0)
    load_weights(model, resolve(path))
    kind = "csmoe" if config.encoder.moe else "csmae"
    extractor = OwnExtractor(name or str(path), kind, model.eval())
    if slots is not None:
        extractor.use_slots(slots)
    return extractor


def untrained(
    config: ModelConfig, *, seed: int = 0, image_px: int | None = None, name: str = "random weights"
) -> OwnExtractor:
    """A model of the same shape with random weights: a floor."""
    return OwnExtractor(name, "random", _fresh(sized(config, image_px), seed).eval())


def sized(config: ModelConfig, image_px: int | None) -> ModelConfig:
    """The configuration for images of another size; raises ConfigError where patches do not fill them."""
    if image_px is None:
        return config
    if image_px % config.patch_px or image_px < config.patch_px:
        raise ConfigError(f"--image-px {image_px}: is no multiple of the model's patches of {config.patch_px} px")
    return config.model_copy(update={"image_px": image_px})


def _fresh(config: ModelConfig, seed: int) -> CSMoE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CSMoE(config)
