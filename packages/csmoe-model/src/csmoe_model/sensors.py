"""Sensors as data: bands by name, with unit, ground sampling, mean and standard deviation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Sensor(BaseModel):
    """What a model has to know of a sensor; a third one is another entry of the configuration, no new code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bands: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names, in the order of the channels."""
    unit: str
    """Of the values that are standardised: `DN` (reflectance x 10,000), `dB`, `m`, ..."""
    gsd_m: Annotated[float, Field(gt=0)] = 10.0
    """Ground sampling distance in metres."""
    mean: tuple[float, ...]
    """One a band, in `unit`."""
    std: tuple[float, ...]
    """Standard deviations, one a band, in `unit`."""

    @model_validator(mode="after")
    def _one_of_each_a_band(self) -> Sensor:
        for name in ("mean", "std"):
            if len(getattr(self, name)) != len(self.bands):
                raise ValueError(f"{name} has {len(getattr(self, name))} values for {len(self.bands)} bands")
        if min(self.std) <= 0:
            raise ValueError("a standard deviation is not positive: leave that band out")
        if len(set(self.bands)) < len(self.bands):
            raise ValueError("a band stands twice")
        return self

    @property
    def num_bands(self) -> int:
        """Number of channels."""
        return len(self.bands)

    def positions(self, stored: Sequence[str]) -> list[int]:
        """Positions of this sensor's bands among those of a store, by name.

        Raises:
            KeyError: A band that the store does not have.
        """
        place = {name: k for k, name in enumerate(stored)}
        return [place[name] for name in self.bands]


# Means and deviations of BigEarthNet v2's training split (facts of that data set), in DN and dB.
_BIGEARTHNET: Mapping[str, tuple[float, float]] = {
    "B02": (438.4, 607.0),
    "B03": (614.1, 603.3),
    "B04": (588.4, 684.6),
    "B05": (942.7, 738.3),
    "B06": (1769.8, 1100.5),
    "B07": (2049.5, 1275.8),
    "B08": (2193.3, 1369.4),
    "B8A": (2235.5, 1356.8),
    "B11": (1568.2, 1070.8),
    "B12": (997.7, 814.1),
    "VV": (-12.64, 5.13),
    "VH": (-19.35, 5.59),
}


def sentinel(bands: Sequence[str], unit: str) -> Sensor:
    """A Sentinel sensor with BigEarthNet's statistics."""
    mean, std = zip(*(_BIGEARTHNET[band] for band in bands), strict=True)
    return Sensor(bands=tuple(bands), unit=unit, mean=mean, std=std)


SENTINELS: Mapping[str, Sensor] = {
    "s1": sentinel(("VV", "VH"), "dB"),
    "s2": sentinel(("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"), "DN"),
}
"""The two sensors of CSMAE; bands of 60 m are left out."""
