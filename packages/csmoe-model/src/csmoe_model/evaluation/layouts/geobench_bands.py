"""From the names of bands in GEO-Bench's files to ours, and guards where those names do not fit the values.

Two of its data sets were written with the names of Sentinel-2's bands in their usual order over arrays in another one:
m-eurosat (EuroSAT's files have B8A last, so that from B8A on every name is that of its neighbour; ServiceNow/geo-bench
issue 28) and m-brick-kiln (issue 29). Values tell, since water vapour outshines cirrus in any scene and a display
picture stays within a byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from csmoe_model.errors import DataError
from csmoe_model.evaluation.dataset import Unit
from csmoe_model.evaluation.layouts.eurosat import BANDS as EUROSAT

Arrays = Mapping[str, npt.NDArray[Any]]

SENTINEL_2 = {
    "01 - Coastal aerosol": "B01",
    "02 - Blue": "B02",
    "03 - Green": "B03",
    "04 - Red": "B04",
    "05 - Vegetation Red Edge": "B05",
    "06 - Vegetation Red Edge": "B06",
    "07 - Vegetation Red Edge": "B07",
    "08 - NIR": "B08",
    "08A - Vegetation Red Edge": "B8A",
    "09 - Water vapour": "B09",
    "10 - SWIR - Cirrus": "B10",
    "11 - SWIR": "B11",
    "12 - SWIR": "B12",
}
LANDSAT_8 = {
    "02 - Blue": "B02",
    "03 - Green": "B03",
    "04 - Red": "B04",
    "05 - NIR": "B8A",
    "06 - SWIR1": "B11",
    "07 - SWIR2": "B12",
}
"""To the bands of Sentinel-2 of about the same wavelength, not of the same number."""
SENTINEL_1 = {"06 - VV.LEE Filtered": "VV", "05 - VH.LEE Filtered": "VH"}
AERIAL = {"Red": "B04", "Green": "B03", "Blue": "B02", "NIR": "B08"}
BRICK_KILN = ("B01", "B02", "B03", "B04", "B05", "B07", "B8A", "B08", "B11", "B12")
"""Then follow red, green and blue of a display picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """A sensor of a data set."""

    keys: tuple[str, ...]
    """Names of the arrays."""
    bands: tuple[str, ...]
    """What they are."""
    unit: Unit
    gsd_m: float


def name_bands(name: str, samples: Sequence[Arrays]) -> tuple[dict[str, Channels], list[str]]:
    """Sensors of a data set, and what was mended or left out.

    Args:
        name: Of the data set.
        samples: Arrays of some samples, by their names in the files.

    Raises:
        DataError: No band has a known name.
    """
    keys = set(samples[0]) - {"label"}
    if keys & set(LANDSAT_8) - set(SENTINEL_2):
        found = {"landsat8": ({key: LANDSAT_8[key] for key in LANDSAT_8 if key in keys}, 15.0)}
        notes = ["Landsat 8, its bands named as those of Sentinel-2 of about the same wavelength"]
    else:
        named, notes = _sentinel_2(samples, keys)
        found = {"s2": (named, 10.0)}
        found["s1"] = {key: SENTINEL_1[key] for key in SENTINEL_1 if key in keys}, 10.0
        found["aerial"] = {key: AERIAL[key] for key in AERIAL if key in keys}, 1.0 if "chesapeake" in name else 0.1
    channels = {
        sensor: Channels(
            keys=tuple(named), bands=tuple(named.values()), unit=_unit(sensor, samples, list(named)), gsd_m=gsd_m
        )
        for sensor, (named, gsd_m) in found.items()
        if named
    }
    if not channels:
        raise DataError(f"GEO-Bench set {name}: none of its bands is known ({', '.join(sorted(keys))})")
    if left_out := sorted(keys - {key for own in channels.values() for key in own.keys}):
        notes.append(f"left out: {', '.join(left_out)}")
    return channels, notes


def _sentinel_2(samples: Sequence[Arrays], keys: set[str]) -> tuple[dict[str, str], list[str]]:
    """Band by name of the array, and what was mended."""
    order = [key for key in SENTINEL_2 if key in keys]
    if len(order) < len(SENTINEL_2):
        return {key: SENTINEL_2[key] for key in order}, []
    mean = {key: float(np.mean([np.nanmean(sample[key]) for sample in samples])) for key in order}
    peak = {key: max(float(np.nanmax(sample[key])) for sample in samples) for key in order}
    if max(peak[key] for key in order[10:]) <= 255 < peak["04 - Red"]:
        note = "names of bands did not fit: after B05 come B07, B8A, B08, B11, B12 and a display picture, left out"
        return dict(zip(order, BRICK_KILN, strict=False)), [note]
    if mean["09 - Water vapour"] < mean["10 - SWIR - Cirrus"]:
        note = "names of bands were shifted by one from B8A on: mended, B8A is last as in EuroSAT's files"
        return dict(zip(order, EUROSAT, strict=True)), [note]
    return {key: SENTINEL_2[key] for key in order}, []


def _unit(sensor: str, samples: Sequence[Arrays], keys: Sequence[str]) -> Unit:
    """By the values: files do not tell."""
    if not keys:
        return "DN"
    high = max(float(np.nanmax(sample[key])) for sample in samples for key in keys)
    low = min(float(np.nanmin(sample[key])) for sample in samples for key in keys)
    if sensor == "s1":
        return "dB" if low < 0 else "power"
    whole = all(bool((sample[key] == np.round(sample[key])).all()) for sample in samples for key in keys)
    if high <= 255 and whole:
        return "byte"
    return "reflectance" if high < 20 else "DN"
