"""Backbones of TorchGeo on Sentinel data: `resnet50:SENTINEL2_ALL_MOCO`.

The name of the weights tells the bands and how values are standardised; the weights themselves come from a safetensors
file on the disk (TorchGeo publishes pickles, which have to be turned into it), or are random, and the name says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from csmoe_model.errors import ConfigError
from csmoe_model.evaluation.extractors.timm_models import TimmExtractor, random_weights
from csmoe_model.evaluation.extractors.weights import fill
from csmoe_model.sensors import Sensor

_HEADS = ("fc", "head")
_SMALLEST_DN = 300.0
"""Deviations below are of display values or reflectance."""
_IMAGE_PX = 224


def torchgeo_model(
    name: str, weights: Path | None = None, *, image_px: int = _IMAGE_PX, seed: int = 0
) -> TimmExtractor:
    """A model of TorchGeo on the bands that its weights were trained on.

    Args:
        name: `MODEL:WEIGHTS`, such as `vit_small_patch16_224:SENTINEL2_ALL_DINO`.
        weights: Safetensors file, or folder with `model.safetensors`; None: random weights of `seed`.
        image_px: Edge of the images; residual nets take any.
        seed: Of random weights.

    Raises:
        ConfigError: TorchGeo is not installed, has no such model or weights, or they are not for Sentinel's values.
        CheckpointError: The file is not there, a pickle, or of another model.
    """
    try:
        from torchgeo.models import get_model, get_model_weights
    except ImportError as error:
        raise ConfigError("TorchGeo is not installed: pip install torchgeo") from error
    model, _, member = name.partition(":")
    try:
        known = get_model_weights(model).__members__
    except KeyError as error:
        raise ConfigError(f"TorchGeo has no model '{model}' with weights: torchgeo.models.list_models()") from error
    if member not in known:
        own = [one for one in known if one.startswith("SENTINEL")]
        raise ConfigError(f"TorchGeo's {model} has no weights '{member}': name one of {', '.join(own)}")
    sensor = _sensor(name, known[member])
    module = random_weights(lambda: get_model(model, in_chans=sensor.num_bands, num_classes=0), seed)
    if weights is not None:
        fill(module, weights, _HEADS)
    shown = f"torchgeo:{name}" if weights is not None else f"torchgeo:{name} (random {seed})"
    return TimmExtractor(shown, "torchgeo", module, {"s1" if sensor.unit == "dB" else "s2": sensor}, image_px)


def _sensor(name: str, weights: Any) -> Sensor:
    """Bands, unit and standardisation of weights.

    Raises:
        ConfigError: They are not Sentinel's, or for other values than DN and dB.
    """
    bands = tuple(_as_ours(band) for band in weights.meta.get("bands") or ())
    mean, std = _standardisation(weights.transforms, len(bands))
    radar = set(bands) <= {"VV", "VH"}
    # B10 of top-of-atmosphere data is dark and even; all the others spread over hundreds of DN.
    as_dn = all(one >= _SMALLEST_DN for band, one in zip(bands, std, strict=True) if band != "B10")
    if not bands or not weights.name.startswith("SENTINEL") or not (radar or as_dn):
        raise ConfigError(f"torchgeo:{name}: is not for Sentinel-2 in DN nor for Sentinel-1 in dB: take other weights")
    return Sensor(bands=bands, unit="dB" if radar else "DN", mean=mean, std=std)


def _standardisation(transforms: Any, num_bands: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of all the Normalize in a row, as one."""
    mean, std = np.zeros(num_bands), np.ones(num_bands)
    for step in transforms.modules() if hasattr(transforms, "modules") else ():
        if hasattr(step, "mean") and hasattr(step, "std"):
            mean, std = mean + std * np.asarray(step.mean, float), std * np.asarray(step.std, float)
    return tuple(mean.tolist()), tuple(std.tolist())


def _as_ours(band: str) -> str:
    """`B08` of `B8`."""
    return f"B{band[1:].upper().zfill(2)}" if band.startswith("B") else band
