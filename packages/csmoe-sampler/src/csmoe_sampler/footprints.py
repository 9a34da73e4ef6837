"""Where the chip of a tile lies: a square in the UTM zone of its anchor, and its outline on the globe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from shapely.geometry.polygon import orient

from csmoe_sampler.types import Float64, Int32

MARGIN = 0.034
"""Reach beyond the nominal tile on each side, as a share of the spacing: 10.68 km for 10 km."""
METRE_DECIMALS, DEGREE_DECIMALS = 3, 9
"""Coordinates are rounded, so that the last bits of a machine's maths library do not reach a manifest."""
FALSE_NORTHING_M = 10_000_000.0
POLAR_SPREAD_DEG = 10.0
"""Corners further apart in longitude than this lie within about six edges of a pole."""
POLAR_POINTS_PER_EDGE = 32

# Longitudes count from the central meridian: one projection then serves all sixty zones, with no seam at 180.
_ZONE = "+proj=tmerc +lat_0=0 +lon_0=0 +k=0.9996 +x_0=500000 +y_0=0 +ellps=WGS84 +units=m"

Geometries = npt.NDArray[np.object_]


@dataclass(frozen=True, kw_only=True)
class Footprints:
    """The footprints of n tiles, column by column."""

    epsg: Int32
    """UTM zone of the anchor: 326xx or 327xx."""
    x_min: Float64
    """Edges in metres in that zone, to the millimetre; not snapped to any pixel lattice."""
    y_min: Float64
    x_max: Float64
    y_max: Float64
    lon: Float64
    """Centre in WGS 84 degrees, longitude in [-180, 180)."""
    lat: Float64
    geometry: Geometries
    """WGS 84 Polygons, anticlockwise; MultiPolygons cut at the antimeridian where they reach over it.

    The four corners joined by straight lines in longitude and latitude: at 10 km an edge is off by up to 4 m
    at latitude 60, 26 m at 85. Close to a pole there are more vertices.
    """


def utm_epsg(lon: Float64, lat: Float64) -> Int32:
    """EPSG code of the UTM zone of points, with the wider zones off Norway and around Svalbard."""
    norway = (lat >= 56) & (lat < 64) & (lon >= 3) & (lon < 12)
    svalbard = (lat >= 72) & (lat < 84) & (lon >= 0) & (lon < 42)
    zone = np.floor((lon + 180) / 6) % 60 + 1
    zone = np.where(norway, 32, zone)
    zone = np.where(svalbard, 31 + 2 * np.digitize(lon, [9, 21, 33]), zone)
    return np.asarray(np.where(lat < 0, 32700, 32600) + zone, np.int32)


def project_footprints(lon: Float64, lat: Float64, spacing_km: float) -> Footprints:
    """Footprints of tiles given by anchor: the square of `spacing_km` on the anchor, widened by `MARGIN`."""
    margin_m = round(spacing_km * 1000 * MARGIN, METRE_DECIMALS)
    edge_m = spacing_km * 1000 + 2 * margin_m
    epsg = utm_epsg(lon, lat)
    meridian = np.asarray(epsg % 100 * 6 - 183, np.float64)
    x, y = pyproj.Proj(_ZONE)((lon - meridian + 180) % 360 - 180, lat)
    corner = np.column_stack([x, y]).round(METRE_DECIMALS) - margin_m

    centre = _to_globe(corner + edge_m / 2, meridian)
    ring = _to_globe(corner[:, None] + _unit_ring(1) * edge_m, meridian)
    geometry: Geometries = shapely.polygons(ring)
    polar = np.flatnonzero(np.ptp(ring[..., 0], axis=1) > POLAR_SPREAD_DEG)
    geometry[polar] = _polar_polygons(corner[polar], edge_m, meridian[polar])
    west, _, east, _ = shapely.bounds(geometry).T
    crossing = (west < -180) | (east > 180)
    if crossing.any():
        geometry[crossing] = _cut_at_antimeridian(geometry[crossing])

    x_min, y_min = corner[:, 0], corner[:, 1] + np.where(epsg > 32700, FALSE_NORTHING_M, 0.0)
    return Footprints(
        epsg=epsg,
        x_min=x_min.round(METRE_DECIMALS),
        y_min=y_min.round(METRE_DECIMALS),
        x_max=(x_min + edge_m).round(METRE_DECIMALS),
        y_max=(y_min + edge_m).round(METRE_DECIMALS),
        lon=((centre[:, 0] + 180) % 360 - 180).round(DEGREE_DECIMALS),
        lat=centre[:, 1],
        geometry=geometry,
    )


def _unit_ring(points_per_edge: int) -> Float64:
    """Points (4 points_per_edge, 2) of the unit square, anticlockwise from the south-west, not closed."""
    rise = np.arange(points_per_edge) / points_per_edge
    low, high = np.zeros(points_per_edge), np.ones(points_per_edge)
    x = np.concatenate([rise, high, 1 - rise, low])
    return np.column_stack([x, np.roll(x, points_per_edge)])


def _to_globe(points: Float64, meridian: Float64) -> Float64:
    """WGS 84 (lon, lat) of points (n, ..., 2) in metres from the equator; longitudes run on beyond +-180."""
    lon, lat = pyproj.Proj(_ZONE)(points[..., 0], points[..., 1], inverse=True)
    lon = lon + meridian.reshape(-1, *[1] * (lon.ndim - 1))
    return np.stack([lon, lat], axis=-1).round(DEGREE_DECIMALS)


def _polar_polygons(corner: Float64, edge_m: float, meridian: Float64) -> list[shapely.Polygon]:
    """Polygons of squares beside or around a pole."""
    rings = _to_globe(corner[:, None] + _unit_ring(POLAR_POINTS_PER_EDGE) * edge_m, meridian)
    unwrapped = np.unwrap(rings[..., 0], period=360.0, axis=1).round(DEGREE_DECIMALS)
    around = np.abs(unwrapped[:, 0] - unwrapped[:, -1]) > 180
    beside = np.stack([unwrapped, rings[..., 1]], axis=-1)
    return [
        _polar_cap(ring) if cap else shapely.Polygon(side)
        for ring, side, cap in zip(rings, beside, around, strict=True)
    ]


def _polar_cap(ring: Float64) -> shapely.Polygon:
    """What a ring (n, 2) around a pole encloses: from longitude -180 to 180 along the ring, and back along the pole."""
    lon, lat = ring.T
    lon = (lon + 180) % 360 - 180
    edge, pole = np.interp(180.0, lon, lat, period=360.0), np.copysign(90.0, lat[0])
    order = np.argsort(lon)
    lon = np.concatenate([[-180.0], lon[order], [180.0, 180.0, -180.0]])
    lat = np.concatenate([[edge], lat[order], [edge, pole, pole]])
    return orient(shapely.Polygon(np.column_stack([lon, lat]).round(DEGREE_DECIMALS)))


def _cut_at_antimeridian(geometry: Geometries) -> Geometries:
    """MultiPolygons within longitudes +-180 of polygons that reach beyond."""
    pieces, owners = [], []
    for turn in (-360.0, 0.0, 360.0):
        window = shapely.box(turn - 180, -90, turn + 180, 90)
        piece, owner = shapely.get_parts(shapely.intersection(geometry, window), return_index=True)
        solid = shapely.area(piece) > 0
        lon_lat = shapely.get_coordinates(piece[solid]) - [turn, 0]
        pieces.append(shapely.set_coordinates(piece[solid], lon_lat.round(DEGREE_DECIMALS)))
        owners.append(owner[solid])
    order = np.argsort(np.concatenate(owners), kind="stable")
    piece, owner = np.concatenate(pieces)[order], np.concatenate(owners)[order]
    clockwise = ~shapely.is_ccw(shapely.get_exterior_ring(piece))
    piece[clockwise] = shapely.reverse(piece[clockwise])
    cut: Geometries = shapely.multipolygons(piece, indices=owner)
    return cut
