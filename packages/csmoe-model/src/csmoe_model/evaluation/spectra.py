"""Whether the values of Sentinel-2's bands fit their names: the spectrum of land against one under other names.

The sampler asks the same of the chips that it fetches; the packages do not import each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from csmoe_model.evaluation.dataset import Float32

BY_WAVELENGTH = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
Step = tuple[float, float]
Names = tuple[str, ...]
_STEPS_L2A: dict[str, Step] = {
    "B02": (0.10, 0.50),
    "B03": (0.50, 0.35),
    "B04": (-0.15, 0.50),
    "B05": (0.60, 0.45),
    "B06": (0.70, 0.45),
    "B07": (0.15, 0.08),
    "B08": (0.05, 0.07),
    "B8A": (0.04, 0.06),
    "B09": (0.00, 0.10),
    "B11": (-0.30, 0.60),
    "B12": (-0.60, 0.30),
}
"""Logarithm of a band over the one before it by wavelength, over land: middle and spread. The steps from B06 to B09 are
small whatever grows there, and give a wrong order away."""
_STEPS_L1C: dict[str, Step] = _STEPS_L2A | {
    "B02": (-0.25, 0.20),  # path radiance
    "B03": (0.00, 0.25),
    "B09": (-1.50, 0.40),  # water vapour
    "B10": (-4.00, 1.00),  # cirrus
    "B11": (4.50, 1.10),
}
_DARKEST = 20.0
_LAND = 1200.0
"""Pixels whose brightest band is below are water or shadow, whose spectra are of another kind."""
_MIN_PIXELS = 200
_MIN_BANDS = 8
_MAX_DEVIATION = 16.0
"""Of a single step, so that snow or water in a few bands does not decide."""
_UNRELATED = 5.0
"""What a step between two bands without correlation adds."""


def gains(names: Sequence[str], sample: Float32) -> dict[Names, float]:
    """By how much other names fit the values of an image better, empty where they cannot tell.

    It is the sum of squared deviations from the spectrum of land, in units of its spread, that falls. Genuine chips
    stay below 4 (snow), chips with wrong names reach 11 to 123.

    Args:
        names: At least 8 bands of Sentinel-2; with B10 the values are taken for level 1C.
        sample: (bands, pixels) DN.
    """
    if len(names) < _MIN_BANDS or not set(names) <= set(BY_WAVELENGTH):
        return {}
    land = np.isfinite(sample).all(0) & (np.nan_to_num(sample).max(0) > _LAND)
    if np.count_nonzero(land) < _MIN_PIXELS:
        return {}
    logs = np.log(np.maximum(sample[:, land], _DARKEST))
    with np.errstate(invalid="ignore"):  # a band may be constant over land
        alike = np.nan_to_num(np.corrcoef(logs))
    own = _deviation(names, logs, alike)
    return {order: own - _deviation(order, logs, alike) for order in _others(tuple(names))}


def _deviation(names: Sequence[str], logs: Float32, alike: npt.NDArray[np.float64]) -> float:
    """Sum of squared deviations from the spectrum of land, and of what neighbours lack in correlation."""
    steps = _STEPS_L1C if "B10" in names else _STEPS_L2A
    chain = [band for band in BY_WAVELENGTH if "B10" in names or band != "B10"]
    row = {name: k for k, name in enumerate(names)}
    total = 0.0
    for before, band in pairwise(chain):
        if before in row and band in row:
            middle, spread = steps[band]
            step = float(np.median(logs[row[band]] - logs[row[before]]))
            total += min(((step - middle) / spread) ** 2, _MAX_DEVIATION)
            total += _UNRELATED * (1.0 - abs(float(alike[row[before], row[band]])))
    return total


def _others(names: Names) -> list[Names]:
    """Shifted by one, reversed, with B8A at the end or where it belongs, with red and blue exchanged."""
    rest = tuple(name for name in names if name != "B8A")
    found = [names[1:] + names[:1], names[-1:] + names[:-1], names[::-1]]
    if "B8A" in names:
        found.append((*rest, "B8A"))
        if "B08" in rest:
            place = rest.index("B08") + 1
            found.append((*rest[:place], "B8A", *rest[place:]))
    if {"B02", "B04"} <= set(names):
        found.append(tuple({"B02": "B04", "B04": "B02"}.get(name, name) for name in names))
    return [order for order in dict.fromkeys(found) if order != names]
