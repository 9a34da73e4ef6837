"""Pixels of a projected raster, and which tile of the grid holds each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyproj

from csmoe_sampler.grid import TileGrid
from csmoe_sampler.placement import Window
from csmoe_sampler.types import Float64, Int32, Int64

_POINTS_PER_EDGE = 32
_MARGIN_PX = 2


@dataclass(frozen=True, kw_only=True)
class ProjectedLattice:
    """Pixels of a north-up raster in metres."""

    crs: str
    """As EPSG:32647, or WKT."""
    west: float
    north: float
    width_m: float
    """Of a pixel."""
    height_m: float
    num_rows: int
    num_cols: int

    def centres(self, window: Window) -> tuple[Float64, Float64]:
        """Of a window, which may reach beyond the raster: x of its columns and y of its rows."""
        cols, rows = np.arange(window.col_start, window.col_stop), np.arange(window.row_start, window.row_stop)
        x, y = self.west + (cols + 0.5) * self.width_m, self.north - (rows + 0.5) * self.height_m
        return np.asarray(x, np.float64), np.asarray(y, np.float64)

    def position(self, x: Float64, y: Float64) -> tuple[Int64, Int64]:
        """Rows of y and columns of x, beyond the raster too."""
        rows = np.floor((self.north - y) / self.height_m).astype(np.int64)
        return rows, np.floor((x - self.west) / self.width_m).astype(np.int64)


class TilePlacer:
    """Places tiles of a grid on rasters of one CRS."""

    def __init__(self, grid: TileGrid, crs: str) -> None:
        self._grid = grid
        self._to_globe = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)

    def window(self, lattice: ProjectedLattice, tiles: Int64) -> Window:
        """A window that holds the centres of all pixels of `tiles`, as far as the lattice goes on beyond its raster."""
        lon, lat = _outlines(self._grid, tiles)
        x, y = self._to_globe.transform(lon, lat, direction="INVERSE")
        rows, cols = lattice.position(x, y)
        return Window(
            int(rows.min()) - _MARGIN_PX,
            int(rows.max()) + _MARGIN_PX + 1,
            int(cols.min()) - _MARGIN_PX,
            int(cols.max()) + _MARGIN_PX + 1,
        )

    def owners(self, lattice: ProjectedLattice, window: Window, tiles: Int64) -> Int32:
        """(rows, cols) Position in ascending `tiles` of the tile that holds the pixel's centre, -1 for none."""
        x, y = lattice.centres(window)
        shape = (y.size, x.size)
        lon, lat = self._to_globe.transform(np.tile(x, y.size), np.repeat(y, x.size))
        edges = self._grid.row_edges()
        inside = np.isfinite(lon) & (np.abs(lon) <= 180) & (lat >= edges[0]) & (lat < edges[-1])
        found = np.full(lon.size, -1, np.int64)
        found[inside] = self._grid.locate_index(lon[inside], lat[inside])
        position = np.minimum(np.searchsorted(tiles, found), tiles.size - 1)
        return np.where(tiles[position] == found, position, -1).astype(np.int32).reshape(shape)


def _outlines(grid: TileGrid, tiles: Int64) -> tuple[Float64, Float64]:
    """Points along the edges of cells; longitudes run on beyond 180."""
    west, south, east, north = (edge[:, None] for edge in grid.bounds(tiles))
    along = np.linspace(0, 1, _POINTS_PER_EDGE)
    lon, lat = west + (east - west) * along, south + (north - south) * along
    low, high = np.broadcast_to(south, lon.shape), np.broadcast_to(north, lon.shape)
    left, right = np.broadcast_to(west, lat.shape), np.broadcast_to(east, lat.shape)
    return np.concatenate([lon, lon, left, right]).ravel(), np.concatenate([low, high, lat, lat]).ravel()
