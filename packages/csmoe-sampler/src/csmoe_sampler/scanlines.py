"""Polygons -> tiles, by scan lines: one line through the cell centres of each row, none of them per tile.

An edge between latitudes y0 < y1 meets the lines of the rows whose centre c has y0 <= c < y1. Along a line, the
crossings of a polygon sorted from west to east open and close it in turn (even-odd), and what lies between is a
run of tiles. Neighbours that share an edge share its crossings to the last bit, so that no tile has two owners.
Longitudes may lie anywhere: columns are counted on beyond +-180 and folded back at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from csmoe_sampler.grid import TileGrid
from csmoe_sampler.runs import expand_runs
from csmoe_sampler.types import Float64, Int64


@dataclass(frozen=True, kw_only=True)
class Edges:
    """Edges of polygons, each from its southern end (x0, y0) to its northern end (x1, y1), in degrees."""

    x0: Float64
    y0: Float64
    x1: Float64
    y1: Float64
    polygon: Int64
    """Number of the polygon that the edge bounds."""


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Half-open runs of tile indices (see `runs.py`), unsorted, of many polygons."""

    polygon: Int64
    start: Int64
    stop: Int64


@dataclass(frozen=True, kw_only=True)
class Touches:
    """Pairs of an edge and a tile whose cell it meets."""

    edge: Int64
    tile: Int64
    distance_deg: Float64
    """From the cell's centre to the edge, in degrees of latitude, in the plane that touches the globe there."""


def polygon_edges(polygons: npt.NDArray[np.object_]) -> Edges:
    """Edges of polygons (no MultiPolygons) in longitude and latitude; numbered by position."""
    rings, polygon = shapely.get_rings(polygons, return_index=True)
    lon_lat, ring = shapely.get_coordinates(rings, return_index=True)
    return ring_edges(lon_lat, ring, polygon)


def ring_edges(lon_lat: Float64, ring: Int64, polygon: Int64) -> Edges:
    """Edges of closed rings.

    Args:
        lon_lat: Vertices (n, 2) in degrees, ring after ring.
        ring: Ring of each vertex.
        polygon: Polygon of each ring.
    """
    joined = np.flatnonzero(ring[1:] == ring[:-1])
    return edges_between(lon_lat[joined], lon_lat[joined + 1], polygon[ring[joined]])


def edges_between(a: Float64, b: Float64, polygon: Int64) -> Edges:
    """Edges from points `a` to points `b`, both (n, 2), in whatever direction."""
    upward = (a[:, 1] < b[:, 1]) | ((a[:, 1] == b[:, 1]) & (a[:, 0] <= b[:, 0]))
    low, high = np.where(upward[:, None], a, b), np.where(upward[:, None], b, a)
    return Edges(x0=low[:, 0], y0=low[:, 1], x1=high[:, 0], y1=high[:, 1], polygon=polygon)


def runs_inside(edges: Edges, grid: TileGrid) -> Runs:
    """The tiles whose centre lies in each polygon."""
    rows = np.arange(grid.row_first, grid.row_last + 1)
    centre = grid.row_centre(rows)
    edge, position = _spread(np.searchsorted(centre, edges.y0), np.searchsorted(centre, edges.y1))
    row, polygon = rows[position], edges.polygon[edge]
    col = grid.column_from(row, _longitude(edges, edge, centre[position]))
    order = np.lexsort((col, row, polygon))
    opening, closing = order[0::2], order[1::2]
    assert len(opening) == len(closing), "rings are closed"
    start, stop = grid.runs(row[opening], col[opening], col[closing])
    # Even-odd once more, now that turns are folded: a hole around a pole cancels the ring around it.
    polygon, ends = np.tile(polygon[opening], 4), np.concatenate([start, stop])
    order = np.lexsort((ends, polygon))
    polygon, start, stop = polygon[order[0::2]], ends[order[0::2]], ends[order[1::2]]
    filled = start < stop
    return Runs(polygon=polygon[filled], start=start[filled], stop=stop[filled])


def touches(edges: Edges, grid: TileGrid) -> Touches:
    """The tiles whose cell each edge meets; a point on the border of cells meets the north-eastern one."""
    south = grid.row_edges()
    low = np.searchsorted(south, edges.y0, side="right") - 1
    high = np.searchsorted(south, edges.y1, side="right")
    last = len(south) - 1
    edge, position = _spread(np.clip(low, 0, last), np.clip(high, 0, last))
    row, count = position + grid.row_first, grid.num_cols(position + grid.row_first)
    x = np.stack([_longitude(edges, edge, south[position]), _longitude(edges, edge, south[position + 1])])
    west, east = np.floor(x.min(axis=0) * count / 360), np.floor(x.max(axis=0) * count / 360)
    pair, col = _spread(west.astype(np.int64), east.astype(np.int64) + 1)
    edge, row, count = edge[pair], row[pair], count[pair]
    return Touches(
        edge=edge,
        tile=grid.row_start(row) + (col - grid.west_position(row)) % count,
        distance_deg=_distance(edges, edge, (2 * col + 1) * 180 / count, grid.row_centre(row)),
    )


def _spread(start: Int64, stop: Int64) -> tuple[Int64, Int64]:
    """Every number of the ranges [start, stop), and before it the number of its range."""
    stop = np.maximum(start, stop)
    return np.repeat(np.arange(len(start)), stop - start), expand_runs(start, stop)


def _longitude(edges: Edges, edge: Int64, lat: Float64) -> Float64:
    """Longitude of edges at a latitude, or of the end that is nearest to it."""
    x0, y0, x1, y1 = edges.x0[edge], edges.y0[edge], edges.x1[edge], edges.y1[edge]
    with np.errstate(divide="ignore", invalid="ignore"):
        between = x0 + (lat - y0) * ((x1 - x0) / (y1 - y0))
    return np.where(lat <= y0, x0, np.where(lat >= y1, x1, between))


def _distance(edges: Edges, edge: Int64, lon: Float64, lat: Float64) -> Float64:
    """Distance of points to edges in degrees of latitude."""
    shrink = np.cos(np.radians(lat))
    ax, ay = (edges.x0[edge] - lon) * shrink, edges.y0[edge] - lat
    dx, dy = (edges.x1[edge] - edges.x0[edge]) * shrink, edges.y1[edge] - edges.y0[edge]
    along = np.clip(-(ax * dx + ay * dy) / np.maximum(dx * dx + dy * dy, np.finfo(float).tiny), 0, 1)
    return np.hypot(ax + along * dx, ay + along * dy)
