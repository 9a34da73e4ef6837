"""Builders and weights in TorchGeo's manner: `csmoe_base(weights=...)`, with outputs named as CROMA's are.

TorchGeo itself is not needed; the weights are an enumeration of torchvision, as its own are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models._api import Weights, WeightsEnum

from csmoe_model.adapters.backbone import named, opened, shape
from csmoe_model.adapters.bands import Standardise, sensor_of
from csmoe_model.config import ModelConfig
from csmoe_model.errors import ConfigError, DataError
from csmoe_model.nn.model import CSMoE
from csmoe_model.presets import preset
from csmoe_model.train.checkpoint import WEIGHTS, model_config, resolve
from csmoe_model.train.tensors import read_tensors

MODALITIES = ("sar", "optical")


class FolderWeights(WeightsEnum):
    """Weights in folders; `get_state_dict` reads safetensors, and never a pickle."""

    def get_state_dict(self, *_: Any, **__: Any) -> dict[str, Tensor]:
        """The state dict of the whole model."""
        return read_tensors(Path(self.url) / WEIGHTS)


class Transforms(nn.Module):
    """Values in the units of `meta["units"]` -> standardised, for a modality or for several by name."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.by_modality = nn.ModuleDict(
            {name: Standardise(config.sensors[sensor]) for name, sensor in _sensors(config).items()}
        )

    def forward(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(B, C, H, W) by modality: `sar`, `optical`."""
        return {name: self.by_modality[name](x) for name, x in images.items()}


class TorchGeoCSMoE(nn.Module):
    """A CSMoE that gives `sar_encodings`, `sar_GAP`, `optical_encodings`, ... as TorchGeo's CROMA does.

    There is no joint encoder: `joint_encodings` are the tokens of both side by side, `joint_GAP` the pooled features,
    each of unit length, side by side.
    """

    def __init__(self, model: CSMoE) -> None:
        super().__init__()
        self.model = model
        self.sensors = _sensors(model.config)
        self.image_size, self.patch_size = model.config.image_px, model.config.patch_px

    def forward(self, x_sar: Tensor | None = None, x_optical: Tensor | None = None) -> dict[str, Tensor]:
        """Standardised images (B, C, H, W), of either or both, to tokens (B, L, D) and pooled features (B, D)."""
        images = {name: x for name, x in (("sar", x_sar), ("optical", x_optical)) if x is not None}
        if not images or set(images) - set(self.sensors):
            raise DataError(f"images of {', '.join(images) or 'nothing'}: the model takes {', '.join(self.sensors)}")
        found = {name: self.model.encoder(self.sensors[name], x) for name, x in images.items()}
        out = {f"{name}_encodings": features.tokens for name, features in found.items()}
        out |= {f"{name}_GAP": features.pooled for name, features in found.items()}
        if len(found) == len(MODALITIES):
            parts = [functional.normalize(features.pooled, dim=1) for features in found.values()]
            out["joint_encodings"] = torch.cat([features.tokens for features in found.values()], dim=-1)
            out["joint_GAP"] = torch.cat(parts, dim=1)
        return out


def weights_of(folder: Path | str) -> type[FolderWeights]:
    """An enumeration with one member, `FOLDER`: the weights of a checkpoint, run or exported folder.

    Raises:
        CheckpointError: There is none.
        ConfigError: The model has neither radar nor optical bands.
    """
    place = resolve(Path(folder))
    config = model_config(place)
    own = {name: config.sensors[sensor] for name, sensor in _sensors(config).items()}
    meta = {
        "model": (named(config) or "csmoe").replace("-", "_"),
        "in_chans": {name: sensor.num_bands for name, sensor in own.items()},
        "bands": {name: list(sensor.bands) for name, sensor in own.items()},
        "units": {name: sensor.unit for name, sensor in own.items()},
        "image_size": config.image_px,
        "publication": "https://arxiv.org/abs/2509.14104",
        "ssl_method": "csmoe" if config.encoder.moe else "csmae",
    }
    member = Weights(url=str(place), transforms=Transforms(config), meta=meta)
    return FolderWeights("CSMoE_Weights", {"FOLDER": member})  # type: ignore[call-overload, no-any-return, unused-ignore]


def csmoe_tiny(weights: FolderWeights | None = None, **kwargs: Any) -> TorchGeoCSMoE:
    """CSMoE tiny; arguments as of `csmoe_base`."""
    return _build("tiny", weights, **kwargs)


def csmoe_small(weights: FolderWeights | None = None, **kwargs: Any) -> TorchGeoCSMoE:
    """CSMoE small; arguments as of `csmoe_base`."""
    return _build("small", weights, **kwargs)


def csmoe_base(weights: FolderWeights | None = None, **kwargs: Any) -> TorchGeoCSMoE:
    """CSMoE base.

    Args:
        weights: A member of `weights_of(folder)`; None: random.
        kwargs: `patch_size` (14) of a model without weights, `image_size` where not the model's own.

    Raises:
        ConfigError: The weights are those of another size, or there is no such preset.
        CheckpointError: The weights cannot be loaded.
    """
    return _build("base", weights, **kwargs)


def csmoe_large(weights: FolderWeights | None = None, **kwargs: Any) -> TorchGeoCSMoE:
    """CSMoE large; arguments as of `csmoe_base`."""
    return _build("large", weights, **kwargs)


def csmoe(weights: FolderWeights, *, image_size: int | None = None) -> TorchGeoCSMoE:
    """A model of any shape, as its weights say."""
    return TorchGeoCSMoE(opened(weights.url, "", image_size))


def _build(
    size: str, weights: FolderWeights | None, *, patch_size: int = 14, image_size: int | None = None
) -> TorchGeoCSMoE:
    name = f"csmoe-{size}-p{patch_size}"
    if weights is not None:
        found, wanted = shape(model_config(Path(weights.url))), shape(preset(name))
        if found[:2] != wanted[:2]:
            raise ConfigError(
                f"weights {weights.url}: width {found[0]} and {found[1]} blocks, csmoe_{size} has {wanted[0]} and "
                f"{wanted[1]}: take csmoe(weights)"
            )
    return TorchGeoCSMoE(opened(weights and weights.url, name, image_size))


def _sensors(config: ModelConfig) -> dict[str, str]:
    """The model's sensor of each modality that it has."""
    found = {}
    for modality in MODALITIES:
        try:
            found[modality] = sensor_of(config, modality)
        except ConfigError:
            continue
    if not found:
        raise ConfigError(f"sensors {', '.join(config.sensors)}: neither radar (VV, VH) nor optical (B01 to B12)")
    return found
