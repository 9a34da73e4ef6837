"""From UTM to longitude and latitude, without PROJ.

The chips of a tile lie in the zone of their scene, which may be another than the tile's: corners known from the tile's
footprint would not do. The inverse transverse Mercator projection is Krüger's series to the sixth order in the third
flattening; within a zone it agrees with PROJ to less than a micrometre.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from csmoe_model.errors import DataError

Floats = npt.NDArray[np.float64]
_SEMI_MAJOR_M, _FLATTENING = 6_378_137.0, 1 / 298.257223563
_SCALE, _FALSE_EASTING_M, _FALSE_NORTHING_M = 0.9996, 500_000.0, 10_000_000.0
_ZONE = re.compile(r"EPSG:32([67])(0[1-9]|[1-5]\d|60)")


def to_lon_lat(x: Floats, y: Floats, crs: Sequence[str]) -> tuple[Floats, Floats]:
    """WGS 84 degrees of points (n, ...) in metres; longitudes run on beyond 180 from the zone's meridian.

    Args:
        x: Eastings.
        y: Northings.
        crs: (n) `EPSG:326xx` or `EPSG:327xx`.

    Raises:
        DataError: One is another CRS.
    """
    names, places = np.unique(np.asarray(crs, np.str_), return_inverse=True)
    each = np.array([_meridian_and_equator(name) for name in names.tolist()]).reshape(-1, 2)[places]
    meridian, equator_m = each.T.reshape(2, -1, *[1] * (x.ndim - 1))
    radius, eccentricity, beta = _series()
    whole = (y - equator_m + 1j * (x - _FALSE_EASTING_M)) / (_SCALE * radius)
    sphere = whole - sum(b * np.sin(2 * (j + 1) * whole) for j, b in enumerate(beta))
    sine = np.sin(sphere.real) / np.cosh(sphere.imag)
    lon = np.degrees(np.arctan2(np.sinh(sphere.imag), np.cos(sphere.real))) + meridian
    return lon, np.degrees(_geodetic(np.arctanh(sine), eccentricity))


def _meridian_and_equator(crs: str) -> tuple[float, float]:
    """Longitude of the middle of a zone, and northing of the equator."""
    found = _ZONE.fullmatch(crs)
    if not found:
        raise DataError(f"chips in {crs}: their place is known only in UTM (EPSG:326xx, EPSG:327xx)")
    return 6.0 * int(found[2]) - 183.0, _FALSE_NORTHING_M if found[1] == "7" else 0.0


def _geodetic(isometric: Floats, eccentricity: float) -> Floats:
    """Latitude of the ellipsoid from the isometric latitude of the conformal sphere; eight steps of 0.7 % each."""
    sine = np.tanh(isometric)
    for _ in range(8):
        sine = np.tanh(isometric + eccentricity * np.arctanh(eccentricity * sine))
    return np.arcsin(sine)


@cache
def _series() -> tuple[float, float, tuple[float, ...]]:
    """Radius of the rectifying sphere, eccentricity, and the coefficients of Krüger's inverse series."""
    n = _FLATTENING / (2 - _FLATTENING)
    radius = _SEMI_MAJOR_M / (1 + n) * (1 + n**2 / 4 + n**4 / 64 + n**6 / 256)
    beta = (
        n / 2 - 2 * n**2 / 3 + 37 * n**3 / 96 - n**4 / 360 - 81 * n**5 / 512 + 96199 * n**6 / 604800,
        n**2 / 48 + n**3 / 15 - 437 * n**4 / 1440 + 46 * n**5 / 105 - 1118711 * n**6 / 3870720,
        17 * n**3 / 480 - 37 * n**4 / 840 - 209 * n**5 / 4480 + 5569 * n**6 / 90720,
        4397 * n**4 / 161280 - 11 * n**5 / 504 - 830251 * n**6 / 7257600,
        4583 * n**5 / 161280 - 108847 * n**6 / 3991680,
        20648693 * n**6 / 638668800,
    )
    return radius, float(np.sqrt(_FLATTENING * (2 - _FLATTENING))), beta
