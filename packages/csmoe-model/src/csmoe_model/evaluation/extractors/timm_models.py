"""Backbones of timm, ImageNet's above all: they see red, green and blue.

Only weights that are on the disk are taken; without a path the model is random, and its name says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from csmoe_model.errors import ConfigError
from csmoe_model.evaluation.extractor import Extracted
from csmoe_model.evaluation.extractors.weights import counted_macs, fill
from csmoe_model.sensors import Sensor

RGB = ("B04", "B03", "B02")


class TimmExtractor:
    """A model of timm's interface behind ours, for one sensor.

    Args:
        name: As tables show it.
        kind: timm, torchgeo.
        module: With `forward_features`, `forward_head` and `forward_intermediates`.
        inputs: The one sensor that it takes.
        image_px: Edge of its images.

    Raises:
        ConfigError: It gives no dense features.
    """

    def __init__(self, name: str, kind: str, module: nn.Module, inputs: dict[str, Sensor], image_px: int) -> None:
        self.name, self.kind, self.module = name, kind, module.eval()
        self.inputs, self.image_px = inputs, image_px
        (sensor,) = inputs.values()
        self._one = torch.zeros(1, sensor.num_bands, image_px, image_px)
        intermediates: Any = getattr(module, "forward_intermediates", None)
        if intermediates is None:
            raise ConfigError(f"{name}: has no forward_intermediates, hence no dense features: take another model")
        with torch.no_grad():
            self.num_layers = len(intermediates(self._one, intermediates_only=True))

    def __call__(self, sensor: str, images: Tensor, valid: Tensor, layers: Sequence[int] = ()) -> Extracted:
        """See `Extractor`; layers are the stages or blocks that the model can give, as they are before any norm."""
        model: Any = self.module
        if sensor not in self.inputs:
            raise ConfigError(f"{self.name}: no sensor '{sensor}', but {', '.join(self.inputs)}")
        if bad := [k for k in layers if not 0 <= k < self.num_layers]:
            raise ConfigError(f"{self.name}: layers {bad} of {self.num_layers}: count from 0 to {self.num_layers - 1}")
        if not layers:
            return Extracted(model.forward_head(model.forward_features(images), pre_logits=True))
        places = sorted(set(layers))
        features, found = model.forward_intermediates(images, indices=places, output_fmt="NCHW")
        maps = dict(zip(places, found, strict=True))
        return Extracted(model.forward_head(features, pre_logits=True), tuple(maps[k] for k in layers))

    def width(self, sensor: str) -> int:
        """As the model says."""
        model: Any = self.module
        return int(model.head_hidden_size)

    def macs(self, sensor: str) -> int:
        """By torch's counter, the head left out."""
        model: Any = self.module
        image = self._one.to(next(self.module.parameters()).device)
        return counted_macs(self.module, lambda: model.forward_head(model.forward_features(image), pre_logits=True))


def timm_model(name: str, weights: Path | None = None, *, image_px: int | None = None, seed: int = 0) -> TimmExtractor:
    """A model of timm on the red, green and blue of Sentinel-2, in "0-1", standardised as the model wants.

    Args:
        name: Of the architecture: `resnet50`, `vit_base_patch16_224`.
        weights: Safetensors file, or folder with `model.safetensors`; None: random weights of `seed`.
        image_px: Edge of the images; default: that of the model's configuration.
        seed: Of random weights.

    Raises:
        ConfigError: timm has no such model, or it takes no RGB images or gives no maps.
        CheckpointError: The weights are not there, a pickle, or of another model.
    """
    import timm

    if not timm.is_model(name):
        raise ConfigError(f"timm has no model '{name}': timm.list_models() names them")
    config = timm.get_pretrained_cfg(name)
    about: dict[str, Any] = config.to_dict() if config else {}
    if about.get("input_size", (0,))[0] != len(RGB):
        raise ConfigError(f"timm model '{name}': takes no RGB images")
    sized: dict[str, Any] = {"img_size": image_px} if image_px and about["fixed_input_size"] else {}
    module = random_weights(lambda: timm.create_model(name, pretrained=False, **sized), seed)
    if weights is not None:
        heads = about["classifier"]
        fill(module, weights, (heads,) if isinstance(heads, str) else tuple(heads or ()))
    shown = f"timm:{name}" if weights is not None else f"timm:{name} (random {seed})"
    sensor = Sensor(bands=RGB, unit="0-1", mean=tuple(about["mean"]), std=tuple(about["std"]))
    return TimmExtractor(shown, "timm", module, {"s2": sensor}, image_px or int(about["input_size"][-1]))


def random_weights(build: Any, seed: int) -> nn.Module:
    """What `build()` gives, its weights drawn with a seed of their own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: nn.Module = build()
    return module
