"""Where tiles lie on the pixels of a raster: which rows and columns are theirs, with what weight.

The grid makes polygons needless. Tiles are boxes in longitude and latitude; all tiles of a grid row share their rows
of pixels (a *band*), and within a band each tile has one interval of columns (a *segment*; two where a global raster
is cut inside the tile). Pixels go to tiles by one of two rules:

- *centres*, for pixels much smaller than tiles: a pixel belongs to the tile that holds its centre, exactly as
  `TileGrid.locate_index` says, and weighs cos(latitude of the centre), which is its area up to a constant;
- *areas*, for coarse pixels: every pixel that a tile overlaps counts, with the share of the tile that it covers: the
  product of its shares of the tile's height in sin(latitude) and of the tile's width in longitude.

Weights are whole numbers of a small unit. Sums of integers do not depend on their order, so that neither the windows
that are read nor the threads that read them show in a result; and `sin_deg` has the same bits on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from csmoe_sampler.grid import TileGrid
from csmoe_sampler.runs import expand_runs
from csmoe_sampler.types import Float64, Int64

CENTRES_FROM_PX = 16
"""From this many pixels along the edge of a tile on, pixels go to tiles by their centres."""
AREA_UNIT_BITS = 52
"""By areas, weights are in units of 2^-52 of the tile's area."""
SLIVER = 2.0**-40
"""By areas, what covers less of a tile has touched it by rounding."""
_TURN_DEG = 360.0
_TURNS = (-_TURN_DEG, 0.0, _TURN_DEG)


@dataclass(frozen=True, slots=True)
class Lattice:
    """The pixels of a north-up raster in degrees. Row 0 is the northernmost, column 0 the westernmost."""

    west: float
    """Outer edge."""
    north: float
    """Outer edge."""
    width_deg: float
    """Width of a pixel."""
    height_deg: float
    """Height of a pixel."""
    num_rows: int
    num_cols: int

    @property
    def east(self) -> float:
        """Outer edge."""
        return self.west + self.num_cols * self.width_deg

    @property
    def south(self) -> float:
        """Outer edge."""
        return self.north - self.num_rows * self.height_deg

    @property
    def num_cols_once(self) -> int:
        """Columns until the raster has gone round the globe; further ones repeat the first."""
        return min(self.num_cols, round(_TURN_DEG / self.width_deg))

    def lon(self, col: Int64) -> Float64:
        """Longitude of the pixel centres of columns."""
        return self.west + (col.astype(np.float64) + 0.5) * self.width_deg

    def lat(self, row: Int64) -> Float64:
        """Latitude of the pixel centres of rows."""
        return self.north - (row.astype(np.float64) + 0.5) * self.height_deg

    def by_centres(self, grid: TileGrid) -> bool:
        """Whether pixels go to the tiles of `grid` by their centres, rather than by areas."""
        return max(self.width_deg, self.height_deg) * CENTRES_FROM_PX <= grid.step_deg


class Window(NamedTuple):
    """Half-open intervals of pixel rows and columns."""

    row_start: int
    row_stop: int
    col_start: int
    col_stop: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.row_stop - self.row_start, self.col_stop - self.col_start

    @property
    def num_px(self) -> int:
        """Pixels."""
        return (self.row_stop - self.row_start) * (self.col_stop - self.col_start)


@dataclass(frozen=True, slots=True)
class TileBoxes:
    """Edges of n tiles in degrees, rows from south to north: what placing them takes."""

    west: Float64
    south: Float64
    east: Float64
    """Beyond 180 for a tile across the antimeridian."""
    north: Float64
    centre_unit_bits: int
    """By centres, weights are in units of 2^-bits of a pixel at the equator."""

    @classmethod
    def of(cls, grid: TileGrid, tiles: Int64, lattice: Lattice) -> TileBoxes:
        """The boxes of ascending tile indices, to be placed on rasters with the pixel size of `lattice`."""
        west, south, east, north = grid.bounds(tiles)
        # A pixel centre may lie on the pole, which belongs to the last row.
        north = np.where(north >= 90, np.nextafter(90.0, np.inf), north)
        # The cosines of a tile's pixels sum up to about the pixels in a square of its height, at most to pi times as
        # many beside the South Pole; the sum of the weights must fit into an int64.
        most = 4 * (grid.step_deg / lattice.width_deg + 1) * (grid.step_deg / lattice.height_deg + 1)
        return cls(west, south, east, north, centre_unit_bits=62 - math.ceil(math.log2(most)))

    def __len__(self) -> int:
        return len(self.west)


class Placement(NamedTuple):
    """Bands and segments of tiles on a raster: arrays only, so that compiled kernels can take it."""

    row_start: Int64
    """(bands,) First pixel row."""
    row_stop: Int64
    first_weight: Int64
    """(bands,) Where the band's rows begin in `row_weight`."""
    row_weight: npt.NDArray[Any]
    """Of every row of every band. By centres: int64, in units. By areas: float64, share of the tile's height."""
    first_segment: Int64
    """(bands + 1,) Where the band's segments begin; they go from west to east."""
    tile: Int64
    """(segments,) Position of the tile among the boxes."""
    col_start: Int64
    """(segments,) First pixel column."""
    col_stop: Int64
    west_px: Float64
    """(segments,) The tile's edges in pixels from the raster's western edge; they may lie outside of it."""
    east_px: Float64


def place(lattice: Lattice, boxes: TileBoxes, by_centres: bool) -> Placement:
    """Bands and segments of those tiles that have pixels on the raster."""
    tile, turn = _near(lattice, boxes)
    if by_centres:
        row_start, row_stop = (_row_below(lattice, edge[tile]) for edge in (boxes.north, boxes.south))
        col_start, col_stop = (_col_from(lattice, edge[tile], turn) for edge in (boxes.west, boxes.east))
    else:
        row_start = np.floor((lattice.north - boxes.north[tile]) / lattice.height_deg).astype(np.int64)
        row_stop = np.ceil((lattice.north - boxes.south[tile]) / lattice.height_deg).astype(np.int64)
        col_start = np.floor((boxes.west[tile] + turn - lattice.west) / lattice.width_deg).astype(np.int64)
        col_stop = np.ceil((boxes.east[tile] + turn - lattice.west) / lattice.width_deg).astype(np.int64)
    row_start, row_stop = (np.clip(row, 0, lattice.num_rows) for row in (row_start, row_stop))
    col_start, col_stop = (np.clip(col, 0, lattice.num_cols_once) for col in (col_start, col_stop))
    kept = np.flatnonzero((row_start < row_stop) & (col_start < col_stop))
    tile, turn = tile[kept], turn[kept]
    first = _band_starts(boxes.south[tile])
    band_tile, row_start, row_stop = tile[first], row_start[kept][first], row_stop[kept][first]
    if by_centres:
        row_weight: npt.NDArray[Any] = _cosine_units(lattice, boxes, row_start, row_stop)
    else:
        row_weight = _height_shares(lattice, boxes, band_tile, row_start, row_stop)
    return Placement(
        row_start=row_start,
        row_stop=row_stop,
        first_weight=np.cumsum(row_stop - row_start) - (row_stop - row_start),
        row_weight=row_weight,
        first_segment=np.append(first, len(tile)),
        tile=tile,
        col_start=col_start[kept],
        col_stop=col_stop[kept],
        west_px=(boxes.west[tile] + turn - lattice.west) / lattice.width_deg,
        east_px=(boxes.east[tile] + turn - lattice.west) / lattice.width_deg,
    )


def full_weight(lattice: Lattice, boxes: TileBoxes) -> Int64:
    """By centres: of each tile, the weight of the pixels it has where the lattice goes on without end."""
    first = _band_starts(boxes.south)
    row_start, row_stop = (_row_below(lattice, edge[first]) for edge in (boxes.north, boxes.south))
    of_band = _band_sums(_cosine_units(lattice, boxes, row_start, row_stop), row_stop - row_start)
    num_cols = _col_from(lattice, boxes.east, 0.0) - _col_from(lattice, boxes.west, 0.0)
    return np.repeat(of_band, np.diff(first, append=len(boxes))) * num_cols


def sin_deg(angle: Float64) -> Float64:
    """Sine of angles of -90 to 90 degrees to a few ulp; its Taylor series, since libraries differ in the last bit."""
    x = angle * (math.pi / 180)
    square = x * x
    series = np.zeros_like(x)
    for k in range(23, 1, -2):
        series = (series + 1) * -square / (k * (k - 1))
    return x + x * series


# ---- pixels of edges ------------------------------------------------------------------------------------------------


def _near(lattice: Lattice, boxes: TileBoxes) -> tuple[Int64, Float64]:
    """Tiles whose box comes near the raster, band by band and west to east, and the turn that brings them there."""
    rows = slice(
        int(np.searchsorted(boxes.north, lattice.south - lattice.height_deg)),
        int(np.searchsorted(boxes.south, lattice.north + lattice.height_deg, side="right")),
    )
    west, east = lattice.west - lattice.width_deg, lattice.east + lattice.width_deg
    parts = [
        np.flatnonzero((boxes.west[rows] + turn < east) & (boxes.east[rows] + turn > west)) + rows.start
        for turn in _TURNS
    ]
    tile = np.concatenate(parts)
    turn = np.repeat(_TURNS, [len(part) for part in parts])
    order = np.argsort(boxes.south[tile], kind="stable")
    return tile[order], turn[order]


def _row_below(lattice: Lattice, lat: Float64) -> Int64:
    """First row whose pixel centres lie south of `lat`; may lie outside the raster."""
    row = np.floor((lattice.north - lat) / lattice.height_deg + 0.5).astype(np.int64)
    # Settle rounding by the centres as `Lattice.lat` gives them.
    row += lattice.lat(row) >= lat
    row -= lattice.lat(row - 1) < lat
    return row


def _col_from(lattice: Lattice, lon: Float64, turn: Float64 | float) -> Int64:
    """First column whose pixel centres lie at or east of `lon + turn`; may lie outside the raster.

    Centres are compared after turning them back, which is exact, as `TileGrid.locate_index` does.
    """
    col = np.ceil((lon + turn - lattice.west) / lattice.width_deg - 0.5).astype(np.int64)
    col += lattice.lon(col) - turn < lon
    col -= lattice.lon(col - 1) - turn >= lon
    return col


def _band_starts(south: Float64) -> Int64:
    return np.flatnonzero(np.diff(south, prepend=np.nan) != 0)


# ---- weights --------------------------------------------------------------------------------------------------------


def _cosine_units(lattice: Lattice, boxes: TileBoxes, row_start: Int64, row_stop: Int64) -> Int64:
    cosine = sin_deg(90 - np.abs(lattice.lat(expand_runs(row_start, row_stop))))
    return np.rint(cosine * 2.0**boxes.centre_unit_bits).astype(np.int64)


def _height_shares(lattice: Lattice, boxes: TileBoxes, band_tile: Int64, row_start: Int64, row_stop: Int64) -> Float64:
    """Share of the band's height in sin(latitude) that each of its rows covers; by rounding it may be negative."""
    length = row_stop - row_start
    row = expand_runs(row_start, row_stop)
    south, north = np.repeat(boxes.south[band_tile], length), np.repeat(boxes.north[band_tile], length)
    top = np.minimum(lattice.north - row * lattice.height_deg, north)
    bottom = np.maximum(lattice.north - (row + 1) * lattice.height_deg, south)
    return _sine_rise(bottom, top) / _sine_rise(south, north)


def _sine_rise(south: Float64, north: Float64) -> Float64:
    """(sin north - sin south) / 2, without cancellation."""
    return sin_deg(90 - np.abs((north + south) / 2)) * sin_deg((north - south) / 2)


def _band_sums(row_weight: Int64, length: Int64) -> Int64:
    total = np.append(0, np.cumsum(row_weight))
    stop = np.cumsum(length)
    sums: Int64 = total[stop] - total[stop - length]
    return sums
