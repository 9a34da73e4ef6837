"""Whether the values of Sentinel-2's bands fit their names: the spectrum of land against one under other names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from csmoe_sampler.types import Float32, Float64

_BY_WAVELENGTH = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
_STEPS_L2A = {
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
_STEPS_L1C = _STEPS_L2A | {
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
_MARGIN = 9.0
_MAX_DEVIATION = 16.0
"""Of a single step, so that snow or water in a few bands does not decide."""
_UNRELATED = 5.0
"""What a step between two bands without correlation adds."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """Names under which the values make a better spectrum."""

    title: str
    names: tuple[str, ...]
    """In the order of the array."""
    gain: float
    """By how much the sum of squared deviations falls."""


def better_order(names: Sequence[str], sample: Float32) -> Order | None:
    """Names that fit the values clearly better than `names`, or None.

    Tried are the names shifted by one either way, B8A at the end (EuroSAT's files and every alphabetical list), B8A
    where it belongs when the names have it last, the reverse, and pairs exchanged: B02 and B04, B08 and B8A, B11 and
    B12. One is named where the squared deviations from the spectrum of land, in units of its spread, are smaller by
    9. Genuine chips stayed below 4 (snow); chips with shifted names reached 11 to 123.

    Args:
        names: At least 8 bands of Sentinel-2, else nothing is said; with B10 the values are taken for L1C.
        sample: (bands, pixels) reflectance x 10,000.
    """
    if len(names) < _MIN_BANDS or not set(names) <= set(_BY_WAVELENGTH):
        return None
    with np.errstate(invalid="ignore"):
        land = np.isfinite(sample).all(axis=0) & (sample.max(axis=0) > _LAND)
    if np.count_nonzero(land) < _MIN_PIXELS:
        return None
    logs = np.log(np.maximum(sample[:, land], _DARKEST))
    with np.errstate(invalid="ignore"):  # a band may be constant over land
        alike = np.nan_to_num(np.corrcoef(logs))
    own = _deviation(names, logs, alike)
    others = [
        Order(title=title, names=order, gain=own - _deviation(order, logs, alike))
        for title, order in _others(tuple(names))
    ]
    best = max(others, key=lambda order: order.gain)
    return best if best.gain >= _MARGIN else None


def _deviation(names: Sequence[str], logs: Float32, alike: Float64) -> float:
    """Sum of squared deviations from the spectrum of land, and of what neighbours lack in correlation.

    Steps over missing bands are left out.
    """
    steps = _STEPS_L1C if "B10" in names else _STEPS_L2A
    chain = [band for band in _BY_WAVELENGTH if "B10" in names or band != "B10"]
    row = {name: k for k, name in enumerate(names)}
    total = 0.0
    for before, band in pairwise(chain):
        if before in row and band in row:
            middle, spread = steps[band]
            step = float(np.median(logs[row[band]] - logs[row[before]]))
            total += min(((step - middle) / spread) ** 2, _MAX_DEVIATION)
            total += _UNRELATED * (1.0 - abs(float(alike[row[before], row[band]])))
    return total


def _others(names: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "names shifted by one to the left", names[1:] + names[:1]
    yield "names shifted by one to the right", names[-1:] + names[:-1]
    yield "the reverse order", names[::-1]
    if "B8A" in names:
        rest = tuple(name for name in names if name != "B8A")
        yield "B8A as the last band", (*rest, "B8A")
        if "B08" in rest:
            place = rest.index("B08") + 1
            yield "B8A after B08", (*rest[:place], "B8A", *rest[place:])
    for one, two in (("B02", "B04"), ("B08", "B8A"), ("B11", "B12")):
        if one in names and two in names:
            swap = {one: two, two: one}
            yield f"{one} and {two} exchanged", tuple(swap.get(name, name) for name in names)
