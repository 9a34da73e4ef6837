"""The fields of the synthetic Earth: elevation, climate, land cover and season at any place and any resolution."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from csmoe_sampler.synthetic.cover import UInt8, covers, summarise
from csmoe_sampler.synthetic.noise import round_coordinates, seed_key, sine_cosine
from csmoe_sampler.synthetic.terrain import elevations, terrain_grid
from csmoe_sampler.synthetic.weather import climates, weather_grid
from csmoe_sampler.types import Float32, Float64

_WARMEST_DAY = 196.0
_YEAR_DAYS = 365.25


class Planet:
    """The Earth of a seed; the same seed gives the same bits on every machine.

    Places are `lon` in -180 to 360 and `lat` in -90 to 90 degrees, arrays of any shapes that broadcast together
    (`lon[None, :]`, `lat[:, None]` for a window). A value depends on its place alone: not on the window, nor on 360
    degrees more or less. Threads may share a planet; the methods release the GIL.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._key = seed_key(seed)
        self._terrain = terrain_grid(self._key)
        self._normals = weather_grid(self._terrain, self._key)
        self._summary = summarise(self._normals)

    def elevation(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> Float64:
        """Elevation in metres; land is where it is positive, below lies the sea floor."""
        east, north, shape = _flat(lon, lat)
        return np.asarray(elevations(east, north, self._terrain, self._key).reshape(shape))

    def climate(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> tuple[Float32, Float32]:
        """Monthly normals (12, ...): temperature in steps of 0.1 °C, precipitation in whole mm; NaN at sea."""
        east, north, shape = _flat(lon, lat)
        height = elevations(east, north, self._terrain, self._key)
        normals = climates(east, north, height, self._normals).reshape(24, *shape)
        return normals[:12], normals[12:]

    def landcover(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> UInt8:
        """WorldCover codes, 0 on the open sea; textures down to about 60 m."""
        east, north, shape = _flat(lon, lat)
        return np.asarray(covers(east, north, self._terrain, self._summary, self._key).reshape(shape))


def season(lat: npt.ArrayLike, day: float) -> Float64:
    """Phase of the year from -1 (midwinter) to 1 (midsummer) on a day of the year (1-366); 0 at the equator.

    It is the phase of the temperature normals: greenness, snow and sun of a scene follow from it.
    """
    t = np.clip((np.asarray(lat, np.float64) + 4.0) / 8.0, 0.0, 1.0)
    hemisphere = 2.0 * t * t * (3.0 - 2.0 * t) - 1.0
    return np.asarray(hemisphere * sine_cosine(360.0 * (day - _WARMEST_DAY) / _YEAR_DAYS)[1])


def _flat(lon: npt.ArrayLike, lat: npt.ArrayLike) -> tuple[Float64, Float64, tuple[int, ...]]:
    """Rounded coordinates as two flat arrays, and their common shape."""
    east, north = np.broadcast_arrays(np.asarray(lon, np.float64), np.asarray(lat, np.float64))
    return *round_coordinates(east.ravel(), north.ravel()), east.shape
