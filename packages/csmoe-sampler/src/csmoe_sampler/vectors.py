"""A vector file of polygons -> their edges in longitude and latitude."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pyproj
import shapely

from csmoe_sampler.errors import RegionError
from csmoe_sampler.scanlines import Edges, edges_between, ring_edges
from csmoe_sampler.types import Float64, Int64

PARQUET_SUFFIXES = (".parquet", ".geoparquet", ".pq")
SEGMENT_M = 10_000.0
"""Longest straight line of a projected file that is taken for straight on the globe: it is off by some 20 m."""
WGS84 = pyproj.CRS("EPSG:4326")


def read_edges(path: Path) -> Edges:
    """Edges of the polygons of a file that pyogrio or geopandas reads, numbered in the order of the file.

    Raises:
        RegionError: The file is unreadable or empty, holds other shapes, or does not say its CRS.
    """
    frame = _read(path)
    if frame.crs is None:
        raise RegionError(f"region file {path}: no coordinate reference system; write one, for example EPSG:4326")
    geometry = frame.geometry.to_numpy()
    geometry = geometry[~(shapely.is_missing(geometry) | shapely.is_empty(geometry))]
    if not len(geometry):
        raise RegionError(f"region file {path}: holds no shape")
    kinds = {shape.geom_type for shape in geometry}
    if not kinds <= {"Polygon", "MultiPolygon"}:
        raise RegionError(f"region file {path}: holds {', '.join(sorted(kinds))}; a region is made of polygons")
    polygons = shapely.force_2d(shapely.get_parts(geometry))
    if frame.crs.is_projected:
        polygons = shapely.segmentize(polygons, SEGMENT_M / frame.crs.axis_info[0].unit_conversion_factor)
    rings, polygon = shapely.get_rings(polygons, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    lon_lat = _to_globe(points, frame.crs)
    if not np.isfinite(lon_lat).all() or np.abs(lon_lat[:, 1]).max() > 90:
        raise RegionError(f"region file {path}: coordinates do not fit its CRS {frame.crs.to_string()}; correct it")
    return _join_turns(lon_lat, ring, polygon) if frame.crs.is_projected else ring_edges(lon_lat, ring, polygon)


def _read(path: Path) -> gpd.GeoDataFrame:
    try:
        if path.suffix.lower() in PARQUET_SUFFIXES:
            return gpd.read_parquet(path)
        layers = pyogrio.list_layers(path)[:, 0]
        frame = gpd.GeoDataFrame(pyogrio.read_dataframe(path, layer=layers[0], columns=[]))
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, OSError, ValueError) as error:
        raise RegionError(f"region file {path}: not a readable vector file ({error})") from error
    if len(layers) > 1:
        raise RegionError(f"region file {path}: has layers {', '.join(layers)}; save the one meant by itself")
    return frame


def _to_globe(points: Float64, crs: pyproj.CRS) -> Float64:
    """WGS 84 longitude and latitude of points; those given in degrees keep their turns beyond +-180."""
    if crs == WGS84:
        return points
    transformer = pyproj.Transformer.from_crs(crs, WGS84, always_xy=True)
    lon, lat = transformer.transform(points[:, 0], points[:, 1])
    if crs.is_geographic:
        lon = lon + 360 * np.round((points[:, 0] - lon) / 360)
    return np.column_stack([lon, lat])


def _join_turns(lon_lat: Float64, ring: Int64, polygon: Int64) -> Edges:
    """Edges of rings of short steps whose longitudes jump by a turn at the antimeridian, the jumps taken out.

    A ring that then ends a turn away from its beginning goes around a pole: it is closed along that pole.
    """
    lon, lat = lon_lat.T
    first = np.searchsorted(ring, np.arange(len(polygon)))
    last = np.append(first[1:], len(ring)) - 1
    turns = np.cumsum(np.round(np.diff(lon, prepend=lon[:1]) / 360))
    lon = lon - 360 * (turns - turns[first][ring])
    edges = ring_edges(np.column_stack([lon, lat]), ring, polygon)

    around = np.flatnonzero(np.abs(lon[last] - lon[first]) > 180)
    ends = np.concatenate([first[around], last[around]])
    side = np.column_stack([lon[ends], lat[ends]])
    pole = np.column_stack([lon[ends], np.copysign(90.0, lat[ends])])
    closing = edges_between(side, pole, np.tile(polygon[around], 2))
    return Edges(**{name: np.concatenate([getattr(edges, name), getattr(closing, name)]) for name in vars(edges)})
