"""Bands and sensors as other projects name them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from csmoe_model.config import ModelConfig
from csmoe_model.errors import ConfigError, DataError
from csmoe_model.sensors import Sensor

_ALIASES = {
    "B01": ("B1", "COASTAL_AEROSOL", "COASTAL"),
    "B02": ("B2", "BLUE"),
    "B03": ("B3", "GREEN"),
    "B04": ("B4", "RED"),
    "B05": ("B5", "RED_EDGE_1"),
    "B06": ("B6", "RED_EDGE_2"),
    "B07": ("B7", "RED_EDGE_3"),
    "B08": ("B8", "NIR_BROAD", "NIR"),
    "B8A": ("NIR_NARROW", "RED_EDGE_4"),
    "B09": ("B9", "WATER_VAPOR", "WATER_VAPOUR"),
    "B10": ("CIRRUS", "SWIR_CIRRUS"),
    "B11": ("SWIR_1",),
    "B12": ("SWIR_2",),
}
OPTICAL = frozenset(_ALIASES)
SAR = frozenset(("VV", "VH", "HH", "HV"))
_CANONICAL = {alias: band for band, aliases in _ALIASES.items() for alias in aliases}
_MODALITIES = {"S2L2A": OPTICAL, "S1GRD": SAR, "S1RTC": SAR, "optical": OPTICAL, "sar": SAR}


def canonical(name: str) -> str:
    """`B08` of `B8`, `nir`, `NIR_BROAD`; a name that is none of Sentinel's stays as it is."""
    upper = name.strip().upper()
    return _CANONICAL.get(upper, upper if upper in OPTICAL | SAR else name)


def channels(sensor: Sensor, given: Sequence[str], whose: str) -> list[int]:
    """Where each band of a sensor stands among given ones.

    Raises:
        ConfigError: A band is lacking or stands twice; names `whose` bands they are.
    """
    names = [canonical(name) for name in given]
    wanted = [canonical(band) for band in sensor.bands]
    if missing := [band for band in wanted if band not in names]:
        raise ConfigError(
            f"{whose}: no {', '.join(missing)} among {', '.join(given)}: the model takes {', '.join(sensor.bands)}; "
            "give all of them, or train a model without"
        )
    if double := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{whose}: {', '.join(double)} stands more than once among {', '.join(given)}: name it once")
    return [names.index(band) for band in wanted]


def sensor_of(config: ModelConfig, modality: str) -> str:
    """The model's sensor behind a modality of another project (S2L2A, S1GRD, S1RTC, optical, sar), or its own name.

    Raises:
        ConfigError: There is none, or there are several.
    """
    if modality in config.sensors:
        return modality
    bands = _MODALITIES.get(modality, frozenset())
    found = [name for name, sensor in config.sensors.items() if {canonical(band) for band in sensor.bands} <= bands]
    if len(found) != 1:
        why = f"fits {', '.join(found)}" if found else "fits none"
        raise ConfigError(
            f"modality '{modality}': {why} of the model's sensors {', '.join(config.sensors)}: name one of those, or "
            f"one of {', '.join(_MODALITIES)}"
        )
    return found[0]


class Standardise(nn.Module):
    """Values of a sensor in its own unit -> standardised ones in the order of its bands, 0 where not finite.

    Args:
        sensor: Whose mean and deviation.
        given: Names of the channels that come in, as another project calls them; default: the sensor's own order.
        whose: What messages name.

    Raises:
        ConfigError: A band is lacking.
    """

    def __init__(self, sensor: Sensor, given: Sequence[str] | None = None, whose: str = "bands") -> None:
        super().__init__()
        self.num_given = len(given or sensor.bands)
        self.channels = channels(sensor, given or sensor.bands, whose)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(sensor.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(sensor.std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, given, H, W) -> (B, C, H, W)."""
        values = (chosen(images, self.channels, self.num_given) - self.mean) / self.std
        return values.where(values.isfinite(), 0.0)


def chosen(images: Tensor, places: Sequence[int], num_given: int) -> Tensor:
    """Channels of images (B, given, H, W).

    Raises:
        DataError: The images have another number of channels than was said.
    """
    if images.dim() != 4 or images.shape[1] != num_given:
        raise DataError(f"images of shape {tuple(images.shape)}: (batch, {num_given}, rows, columns) is what was named")
    return images if list(places) == list(range(num_given)) else images[:, list(places)]
