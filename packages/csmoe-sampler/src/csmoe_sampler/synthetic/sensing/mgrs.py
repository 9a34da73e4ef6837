"""Names and places of the granules of Sentinel-2: squares of 109.8 km on the 100 km squares of MGRS."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyproj

GRANULE_M = 109_800
SQUARE_M = 100_000

_SNAP_M = 60
_FALSE_NORTHING_M = 10_000_000
_BANDS = "CDEFGHJKLMNPQRSTUVWX"
_COLUMNS = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")
_ROWS = "ABCDEFGHJKLMNPQRSTUV"


@dataclass(frozen=True, kw_only=True)
class Granule:
    """A granule: the square of its name, and 9.8 km of its neighbours in the east and south."""

    epsg: int
    """UTM zone, 32601-32660 in the north and 32701-32760 in the south."""
    x_min: int
    y_max: int
    """Upper left corner in metres."""

    @property
    def name(self) -> str:
        """As `47XML`."""
        return square_name(self.epsg, self.x_min, self.y_max)


def place_granule(epsg: int, column: int, row: int) -> Granule:
    """The granule of the square of `column` (its west edge is at `column` x 100 km, 1-8) and `row` of a zone.

    `row` counts squares from the equator: 0 is the first in the north, -1 the first in the south. The corner is on a
    lattice of 60 m whose origin is the meridian's false easting and the equator, as that of the genuine granules.
    """
    west = SQUARE_M * column // _SNAP_M * _SNAP_M
    north = math.ceil(SQUARE_M * (row + 1) / _SNAP_M) * _SNAP_M
    return Granule(epsg=epsg, x_min=west, y_max=north + (_FALSE_NORTHING_M if epsg > 32700 else 0))


def square_name(epsg: int, x_min: float, y_max: float) -> str:
    """Zone, band of latitude, column and row letter of the granule with an upper left corner in metres.

    The band is that of the middle of the square's south edge, or of its north edge where the south edge lies in
    another hemisphere, as in the names of the genuine granules.
    """
    zone, south = epsg % 100, epsg > 32700
    column = math.floor((x_min + 0.5 * SQUARE_M) / SQUARE_M)
    row = math.floor((y_max - 0.5 * SQUARE_M) / SQUARE_M)
    letter = _ROWS[(row + (5 if zone % 2 == 0 else 0)) % 20]
    to_globe = pyproj.Transformer.from_crs(epsg, 4326, always_xy=True)
    lat = to_globe.transform((column + 0.5) * SQUARE_M, (row + 0.5) * SQUARE_M)[1]
    lat = min(lat, -1e-9) if south else max(lat, 0.0)
    band = _BANDS[min(max(math.floor((lat + 80.0) / 8.0), 0), 19)]
    return f"{zone}{band}{_COLUMNS[zone % 3][column - 1]}{letter}"
