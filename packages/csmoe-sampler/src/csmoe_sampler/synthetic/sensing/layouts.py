"""Which scenes there are: granules in different climates, orbits that see them, and the days on which they do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely

from csmoe_sampler.synthetic.earth import Planet
from csmoe_sampler.synthetic.sensing.frames import globe_polygon
from csmoe_sampler.synthetic.sensing.mgrs import GRANULE_M, Granule, place_granule
from csmoe_sampler.types import Float64

Box = tuple[int, int, int, int]
"""West, south, east, north in degrees."""

_PROBES = 24
_LAND_SHARE = 0.6
_SLACK_DEG = 0.001
"""A granule on the central meridian begins 20 m west of it, and so outside a box that ends there."""
_FAR_LON = 174.0
"""Frames of Sentinel-1 must not cross the antimeridian."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """A day on which a satellite sees a granule."""

    day: int
    """Since 1 January 2021; a granule's own shift of 0-4 days is added."""
    orbit: int
    """Sentinel-2: 0 sees granules in full, 1 a part. Sentinel-1: 0 ascending, 1 descending."""
    platform: str = "A"
    """The first of the two satellites, or the second."""
    cloud: float = 0.0
    """Share of the sky that clouds cover, about; every granule has the shares of its passes in another order."""


@dataclass(frozen=True, kw_only=True)
class SceneLayout:
    """What `write_scenes` writes."""

    name: str
    pixel_m: int
    """Of the 10 m bands of Sentinel-2, and of Sentinel-1; the others have pixels 2 and 6 times as large."""
    climates: tuple[tuple[int, int], ...]
    """Bands of latitude; each gets the granule whose land cover is the most varied, where there is enough land."""
    sentinel2: tuple[Pass, ...]
    sentinel1: tuple[Pass, ...]
    missing: tuple[tuple[int | None, int | None], ...]
    """Places of the passes of Sentinel-2 and of Sentinel-1 that were not acquired, by granule, over and over."""
    frame_km: tuple[float, float]
    """Length across and along the orbit of a scene of Sentinel-1."""


LAYOUTS = {
    "small": SceneLayout(
        name="small",
        pixel_m=100,
        climates=((-39, -30), (-22, -17), (-13, -7), (8, 16), (43, 50), (52, 59)),
        sentinel2=(
            Pass(day=11, orbit=0, cloud=0.02),
            Pass(day=194, orbit=1, cloud=0.1),
            Pass(day=206, orbit=0, platform="B", cloud=0.12),
            Pass(day=281, orbit=0, cloud=0.0),
            Pass(day=466, orbit=0, platform="B", cloud=0.45),
        ),
        sentinel1=(
            Pass(day=8, orbit=0),
            Pass(day=203, orbit=1),
            Pass(day=275, orbit=1),
            Pass(day=464, orbit=0),
        ),
        missing=((1, None), (2, None), (3, 2), (4, 3), (1, None)),
        frame_km=(111.0, 118.0),
    ),
    "tiny": SceneLayout(
        name="tiny",
        pixel_m=300,
        climates=((-13, -7), (43, 50)),
        sentinel2=(
            Pass(day=11, orbit=0, cloud=0.0),
            Pass(day=194, orbit=1, cloud=0.05),
            Pass(day=206, orbit=0, platform="B", cloud=0.3),
            Pass(day=471, orbit=0, cloud=0.1),
        ),
        sentinel1=(
            Pass(day=8, orbit=0),
            Pass(day=203, orbit=1),
            Pass(day=464, orbit=0),
        ),
        missing=(),
        frame_km=(111.0, 118.0),
    ),
}
_BANDS_DEG = tuple((south, south + 4) for south in range(-54, 70, 4))
LAYOUTS["medium"] = replace(LAYOUTS["small"], name="medium", climates=_BANDS_DEG)
"""By name. `small` has pixels ten times as large as the genuine ones, and so has `medium`, which has four times as many
granules: enough places to learn from; `tiny` is for tests.

The pixel must divide 18.3 km, or the granule is not a whole number of pixels of the 60 m bands.
"""


def choose_granules(planet: Planet, climates: Sequence[tuple[int, int]], boxes: Sequence[Box]) -> list[Granule]:
    """For every band of latitude the granule inside `boxes` with the most varied cover.

    Bands in which no granule has enough land are passed over.
    """
    chosen = []
    for south, north in climates:
        parts = [(w, max(s, south), e, min(n, north)) for w, s, e, n in boxes if max(abs(w), abs(e)) < _FAR_LON]
        found = [granule for box in parts if box[1] < box[3] for granule in _granules_in(box)]
        scores = [_variety(planet, granule) for granule in found]
        if scores and max(scores) > 0.0:
            chosen.append(found[scores.index(max(scores))])
    return chosen


def granule_outline(granule: Granule) -> Float64:
    """Corners in metres, (4, 2), counterclockwise from the south-west."""
    x, y = granule.x_min, granule.y_max
    return np.array([(x, y - GRANULE_M), (x + GRANULE_M, y - GRANULE_M), (x + GRANULE_M, y), (x, y)], np.float64)


def _granules_in(box: Box) -> list[Granule]:
    """Granules wholly inside a box, north of the equator or south of it, in the order of zone, row, column."""
    west, south, east, north = box
    area = shapely.box(west, south, east, north).buffer(_SLACK_DEG, join_style="mitre")
    found = []
    for zone in range(math.floor((west + 180) / 6) + 1, math.ceil((east + 180) / 6) + 1):
        for row in range(math.floor(south * 1.1) - 1, math.ceil(north * 1.13) + 1):
            for column in range(1, 9):
                granule = place_granule((32700 if row < 0 else 32600) + zone, column, row)
                polygon = globe_polygon(granule.epsg, granule_outline(granule))
                middle = polygon.centroid.x
                if area.contains(polygon) and math.floor((middle + 180) / 6) + 1 == zone:
                    found.append(granule)
    return found


def _variety(planet: Planet, granule: Granule) -> float:
    """How varied the cover is: the inverse of the chance that two places are alike; 0 where there is little land."""
    outline = globe_polygon(granule.epsg, granule_outline(granule))
    west, south, east, north = outline.bounds
    lon = west + (east - west) * (np.arange(_PROBES) + 0.5) / _PROBES
    lat = south + (north - south) * (np.arange(_PROBES) + 0.5) / _PROBES
    cover = planet.landcover(np.round(lon, 6)[None, :], np.round(lat, 6)[:, None])
    counts = np.bincount(cover.ravel(), minlength=101)
    land = counts.sum() - counts[0] - counts[80]
    if land < _LAND_SHARE * counts.sum():
        return 0.0
    return float(counts.sum() ** 2 / (counts.astype(np.int64) ** 2).sum())
