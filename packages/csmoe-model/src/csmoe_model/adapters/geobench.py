"""A model for torchgeo-bench (GEO-Bench): `_target_: csmoe_model.adapters.geobench.CSMoEBenchModel`.

    torchgeo-bench run model=csmoe dataset.names=[m-bigearthnet] dataset.bands=all

Values are standardised here, by the name of the band, with the model's own statistics. Of the statistics of the data
sets only the unit is taken, and whether VV and VH look exchanged: in published ones they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from csmoe_model.adapters.backbone import opened
from csmoe_model.adapters.bands import OPTICAL, SAR, Standardise, canonical
from csmoe_model.errors import ConfigError
from csmoe_model.evaluation.prepare import resized
from csmoe_model.sensors import Sensor

try:
    from torchgeo_bench.datasets.base import BandSpec
    from torchgeo_bench.models.interface import BenchModel
except ImportError as error:
    raise ConfigError("torchgeo-bench is not installed: pip install torchgeo-bench (Python 3.12 on)") from error

_SENTINELS = ("s1", "s2", "sar")
_REFLECTANCE_MAX, _DN_MAX = 10.0, 300.0
"""Largest values of a band: up to the first it is reflectance, from the second on DN, between them neither."""


class CSMoEBenchModel(BenchModel):
    """Pooled features (B, K) of the sensors whose bands the data have; of several side by side, each of unit length.

    Args:
        bands: Of the data set, with their statistics; torchgeo-bench gives them.
        checkpoint: A checkpoint, run or exported folder of this package; None: random weights.
        preset: Shape of a model with random weights.
        vv_vh_exchanged: What the statistics say where they look exchanged: True, the pixels are so too and are put
            right; False, only the statistics are wrong; None: refuse, for somebody has to look.
        kwargs: What else a configuration holds, such as `name`.

    Raises:
        ConfigError: The data have the bands of no sensor in full, or a unit that is not known.
        CheckpointError: The checkpoint cannot be loaded.
    """

    def __init__(
        self,
        bands: list[BandSpec],
        *,
        checkpoint: str | None = None,
        preset: str = "csmoe-base-p14",
        vv_vh_exchanged: bool | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.pop("normalization", None)
        super().__init__(bands=bands, normalization="identity", **kwargs)
        self.model = opened(checkpoint, preset)
        names = [_name(band) for band in bands]
        if vv_vh_exchanged is None and _look_exchanged(dict(zip(names, bands, strict=True))):
            raise ConfigError(
                "bands VV and VH: by the data set's statistics VH is the brighter, which is the other way round on "
                "Earth: look at the pixels, then set vv_vh_exchanged to true (they are exchanged) or false (only the "
                "statistics are)"
            )
        if vv_vh_exchanged:
            names = [{"VV": "VH", "VH": "VV"}.get(name, name) for name in names]
        own = self.model.config.sensors
        complete = {name: s for name, s in own.items() if {canonical(band) for band in s.bands} <= set(names)}
        if not complete:
            takes = "; ".join(f"{name}: {', '.join(sensor.bands)}" for name, sensor in own.items())
            raise ConfigError(f"bands {', '.join(names)}: hold no sensor of the model in full ({takes})")
        self.standardise = torch.nn.ModuleDict({name: Standardise(s, names, name) for name, s in complete.items()})
        specs = dict(zip(names, bands, strict=True))
        self.factor = {name: _factor(sensor, specs) for name, sensor in complete.items()}

    def _forward_patch_features(self, images: Tensor) -> Tensor:
        """Values as the data set has them (B, C, H, W) -> features (B, K)."""
        parts = [
            self.model.encoder(name, self._sized(standardise(images * self.factor[name]))).pooled
            for name, standardise in self.standardise.items()
        ]
        return parts[0] if len(parts) == 1 else torch.cat([torch.nn.functional.normalize(p, dim=1) for p in parts], 1)

    def _sized(self, images: Tensor) -> Tensor:
        size = self.model.config.image_px
        if images.shape[2:] == (size, size):
            return images
        return torch.stack([resized(image, torch.ones_like(image, dtype=torch.bool), size)[0] for image in images])


def _name(band: BandSpec) -> str:
    """Sentinel's name of a band; red of another satellite is another band."""
    known = [one for one in map(canonical, (band.name, band.source_name)) if one in OPTICAL | SAR]
    return known[0] if known and band.sensor in _SENTINELS else f"{band.sensor} {band.name}"


def _look_exchanged(specs: Mapping[str, BandSpec]) -> bool:
    return {"VV", "VH"} <= set(specs) and specs["VV"].mean < specs["VH"].mean


def _factor(sensor: Sensor, specs: Mapping[str, BandSpec]) -> float:
    """What brings values into the sensor's unit.

    Raises:
        ConfigError: Nothing known does.
    """
    own: Sequence[BandSpec] = [specs[canonical(band)] for band in sensor.bands]
    if {canonical(band) for band in sensor.bands} <= SAR:
        if sensor.unit == "dB" and max(spec.mean for spec in own) < 0:
            return 1.0
    else:
        largest = max(spec.max for spec in own)
        if largest <= _REFLECTANCE_MAX or largest >= _DN_MAX:
            unit = "reflectance" if largest <= _REFLECTANCE_MAX else "DN"
            if (unit, sensor.unit) in _FACTORS:
                return _FACTORS[unit, sensor.unit]
    raise ConfigError(
        f"bands {', '.join(spec.name for spec in own)}: values up to {max(spec.max for spec in own):g} with means from "
        f"{min(spec.mean for spec in own):g} have no known way to '{sensor.unit}'"
    )


_FACTORS = {
    ("DN", "DN"): 1.0,
    ("DN", "reflectance"): 1e-4,
    ("reflectance", "DN"): 1e4,
    ("reflectance", "reflectance"): 1.0,
}
