"""The Major TOM grid in closed form: tile index <-> id, look-up, anchors, bounds, UTM zones, footprints.

With the sphere radius R = 6378.137 km and a spacing d the grid has N = ceil(pi R / d) rows of 180/N degrees,
counted from the equator. A row whose southern edge lies at latitude p has C = ceil(2 pi R cos p / d) columns
of 360/C degrees, counted from Greenwich:

    row = floor(lat N / 180)    named "{row}U" from the equator on, "{-row}D" south of it
    col = floor(lon C / 360)    named "{col}R" from Greenwich on, "{-col}L" west of it;    tile id = row_col

A tile holds its southern and western edge, not its northern and eastern one; its *anchor* is the south-west
corner. Where C is odd, the last tile of the row reaches over the antimeridian (a *straddler*).

Ids and coordinates are those of ESA's reference implementation to the last bit, so its rounding is part of
the grid (`grid_rows.multiple`). In some rows, twelve at 10 km, it turns the anchor at -180 into +180, and with
it the name of the first column from "{C/2}L" into "{C/2}R". Such a tile still lies at the western end of its
row, and `bounds` says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from csmoe_sampler.errors import GridError
from csmoe_sampler.footprints import Footprints, project_footprints, utm_epsg
from csmoe_sampler.grid_kernels import format_ids, locate_points, parse_ids
from csmoe_sampler.grid_rows import Rows, lay_rows, multiple
from csmoe_sampler.runs import expand_runs, merge_runs
from csmoe_sampler.types import Float64, Int32, Int64

SPACING_RANGE_KM = (0.5, 1000.0)

Text = npt.NDArray[np.str_]
Numbers = npt.ArrayLike


@dataclass(frozen=True)
class TileGrid:
    """The tiles of the rows whose southern edge lies within +-`lat_max_deg`.

    Tile *indices* number them 0..size-1, rows from south to north, each row from longitude -180 eastwards.
    *Rows* are signed labels (543U is 543, 378D is -378); signed *columns* are multiples of the row's longitude
    step. Methods take arrays or single values and return arrays of the same shape, unless they say otherwise.

    Grids are light, and hashable and equal by their two parameters.
    """

    spacing_km: float = 10.0
    lat_max_deg: float = 85.0

    def __post_init__(self) -> None:
        low, high = SPACING_RANGE_KM
        if not low <= self.spacing_km <= high:
            raise GridError(f"grid spacing {self.spacing_km} km: give a number from {low:g} to {high:g}")
        if not 0 < self.lat_max_deg <= 90:
            raise GridError(f"grid latitude limit {self.lat_max_deg}: give degrees above 0 and up to 90")

    def __reduce__(self) -> tuple[Any, ...]:
        return TileGrid, (self.spacing_km, self.lat_max_deg)

    @cached_property
    def _rows(self) -> Rows:
        return lay_rows(self.spacing_km, self.lat_max_deg)

    @property
    def num_rows(self) -> int:
        """Rows from pole to pole."""
        return self._rows.pole_to_pole

    @property
    def step_deg(self) -> float:
        """Height of a row."""
        return 180 / self.num_rows

    @property
    def row_first(self) -> int:
        """Southernmost row inside the limit."""
        return self._rows.first

    @property
    def row_last(self) -> int:
        """Northernmost row inside the limit."""
        return self._rows.first + len(self._rows.num_cols) - 1

    @property
    def size(self) -> int:
        """Number of tiles."""
        return int(self._rows.start[-1])

    def num_cols(self, row: Numbers) -> Int64:
        """Number of tiles C of rows."""
        return self._rows.num_cols[self._position(row)]

    def row_start(self, row: Numbers) -> Int64:
        """Index of the first tile of rows."""
        return self._rows.start[self._position(row)]

    def west_position(self, row: Numbers) -> Int64:
        """Signed column of the first tile of rows: `row_start + k` has its western edge at (west + k) 360/C."""
        return -(self.num_cols(row) // 2)

    def row_col(self, tiles: Numbers) -> tuple[Int32, Int32]:
        """Signed row and column labels, as the ids have them: R and U from 0 up, L and D below."""
        row, col = self._row_column(tiles)
        first = col == self.west_position(row)
        label = np.where(first, self._rows.first_label[self._position(row)], col)
        return row.astype(np.int32), label.astype(np.int32)

    def locate_index(self, lon: Numbers, lat: Numbers) -> Int64:
        """Index of the tile that holds each point.

        Args:
            lon: Longitudes in [-180, 360] degrees; 180 is -180.
            lat: Latitudes in degrees.

        Raises:
            GridError: Some point is outside the grid's rows or longitudes, or not a number.
        """
        x, y = np.broadcast_arrays(np.asarray(lon, np.float64), np.asarray(lat, np.float64))
        rows = self._rows
        lattice = (rows.pole_to_pole, rows.first)
        index = locate_points(x.ravel(), y.ravel(), rows.south, rows.num_cols, rows.start, lattice)
        outside = np.flatnonzero(index < 0)
        if outside.size:
            k = outside[0]
            raise GridError(
                f"{outside.size} of {x.size} points are outside the grid, the first of them point {k}"
                f" (lon {x.flat[k]}, lat {y.flat[k]}): give longitudes from -180 to 360 and latitudes from"
                f" {rows.south[0]:.6f} to {rows.south[-1]:.6f}"
            )
        return index.reshape(x.shape)

    def locate(self, lon: Numbers, lat: Numbers) -> Text:
        """Id of the tile that holds each point; as `locate_index`."""
        return self.ids(self.locate_index(lon, lat))

    def ids(self, tiles: Numbers) -> Text:
        """Ids such as "543U_17R"."""
        row, col = self.row_col(tiles)
        width = len(f"{max(-self.row_first, self.row_last)}U_{self.num_cols(0) // 2}R")
        return format_ids(row.ravel(), col.ravel(), width).view(f"<U{width}").reshape(row.shape)

    def parse(self, ids: Sequence[str] | Text) -> Int64:
        """Index of tiles given by id.

        Raises:
            GridError: Some text is not exactly the id of a tile of this grid.
        """
        text = np.ascontiguousarray(ids, dtype=np.str_)
        codes = text.view(np.uint32).reshape(text.size, text.itemsize // 4)
        rows = self._rows
        index = parse_ids(codes, rows.first, rows.num_cols, rows.start, rows.first_label)
        bad = np.flatnonzero(index < 0)
        if bad.size:
            raise GridError(
                f"{bad.size} of {text.size} ids are no tiles of the {self.spacing_km:g} km grid up to latitude"
                f" {self.lat_max_deg:g}, the first of them '{text.flat[bad[0]]}': ids look like 543U_17R"
            )
        return index.reshape(text.shape)

    def anchor(self, tiles: Numbers) -> tuple[Float64, Float64]:
        """Longitude and latitude of the south-west corners of tiles given by index or by id.

        As the reference has them: the first tile of some rows has longitude +180, or a hair above -180.
        """
        if np.asarray(tiles).dtype.kind in "UO":
            tiles = self.parse(np.asarray(tiles, np.str_))
        row, col = self._row_column(tiles)
        return multiple(col, self.num_cols(row), 360.0), self._rows.south[self._position(row)]

    def bounds(self, tiles: Numbers) -> tuple[Float64, Float64, Float64, Float64]:
        """lon_min (in [-180, 180)), lat_min, lon_max, lat_max of the cells; lon_max > 180 for a straddler."""
        row, col = self._row_column(tiles)
        count, position = self.num_cols(row), self._position(row)
        west = np.where(2 * col == -count, -180.0, multiple(col, count, 360.0))
        east = np.where(2 * col + 2 == count, 180.0, multiple(col + 1, count, 360.0))
        east = np.where(east <= west, east + 360, east)
        return west, self._rows.south[position], east, self._rows.south[position + 1]

    def centre(self, tiles: Numbers) -> tuple[Float64, Float64]:
        """Longitude in [-180, 180) and latitude of the cell centres; a straddler's longitude is -180."""
        row, col = self._row_column(tiles)
        lon = _column_centre(col, self.num_cols(row))
        return np.where(lon == 180, -180.0, lon), self.row_centre(row)

    def row_edges(self) -> Float64:
        """Southern edges of all rows, then the northern edge of the last, in degrees."""
        return self._rows.south.copy()

    def row_centre(self, row: Numbers) -> Float64:
        """Latitude of the cell centres of rows."""
        position = self._position(row)
        return (self._rows.south[position] + self._rows.south[position + 1]) / 2

    def epsg(self, tiles: Numbers) -> Int32:
        """EPSG code of the UTM zone of the anchors."""
        return utm_epsg(*self.anchor(tiles))

    def footprints(self, tiles: Numbers) -> Footprints:
        """Footprints of n tiles."""
        return project_footprints(*self.anchor(np.ravel(tiles)), self.spacing_km)

    def column_from(self, row: Numbers, lon: Numbers) -> Int64:
        """Signed column of the first tile of `row` whose centre is at longitude `lon` or east of it.

        Any longitude will do; as C columns on the row begins anew, the result may lie outside its columns.
        """
        x = np.asarray(lon, np.float64)
        count = self.num_cols(row)
        turns = np.floor((x + 180) / 360)
        x = x - 360 * turns
        col = np.ceil(x * count / 360 - 0.5).astype(np.int64)
        # Settle longitudes within rounding of a centre by the centre as `centre` gives it.
        col = col + (_column_centre(col, count) < x)
        col = col - (_column_centre(col - 1, count) >= x)
        return np.asarray(col + turns.astype(np.int64) * count)

    def runs(self, row: Int64, col: Int64, stop: Int64) -> tuple[Int64, Int64]:
        """Columns [col, stop) of n rows as 2n runs of tile indices (see `runs.py`), unsorted, some empty.

        Run i begins at column col[i]; run n + i holds what lies beyond the eastern end of its row. Columns may
        lie outside those of the row, as `column_from` gives them; what exceeds a full turn is dropped.
        """
        count, first = self.num_cols(row), self.row_start(row)
        begin = first + (col - self.west_position(row)) % count
        end = begin + np.clip(stop - col, 0, count)
        beyond = np.maximum(end - first - count, 0)
        return np.concatenate([begin, first]), np.concatenate([end - beyond, first + beyond])

    def in_box(self, row0: int, row1: int, lon_min: float, lon_max: float) -> Int64:
        """Ascending indices of the tiles of rows [row0, row1) whose centre is at longitudes [lon_min, lon_max).

        Where lon_min > lon_max, the box reaches over the antimeridian. Rows outside the grid hold no tile.
        """
        row = np.arange(max(row0, self.row_first), min(row1, self.row_last + 1))
        west, east = (lon - 360 * math.floor((lon + 180) / 360) for lon in (lon_min, lon_max))
        col, stop = self.column_from(row, west), self.column_from(row, east)
        if east < west or lon_max - lon_min >= 360:
            stop = stop + self.num_cols(row)
        return expand_runs(*merge_runs(*self.runs(row, col, stop)))

    def _position(self, row: Numbers) -> Int64:
        """Position of rows in the tables."""
        position = np.asarray(row, np.int64) - self._rows.first
        outside = (position < 0) | (position >= len(self._rows.num_cols))
        if outside.any():
            bad = np.asarray(row)[outside].flat[0]
            raise GridError(f"row {bad} is not in the grid: give {self.row_first} to {self.row_last}")
        return position

    def _row_column(self, tiles: Numbers) -> tuple[Int64, Int64]:
        """Row and signed column of tiles; the first column of a row is `west_position`, whatever its label."""
        index = np.asarray(tiles)
        if index.dtype.kind not in "iu" and index.size:
            raise GridError(f"tile indices are integers: found {index.dtype} values")
        index = index.astype(np.int64, copy=False)
        outside = (index < 0) | (index >= self.size)
        if outside.any():
            raise GridError(f"tile index {index[outside].flat[0]} is not in the grid: give 0 to {self.size - 1}")
        position = np.searchsorted(self._rows.start, index, side="right") - 1
        row = position + self._rows.first
        return row, index - self._rows.start[position] + self.west_position(row)


def _column_centre(col: Int64, count: Int64) -> Float64:
    return (2 * col + 1) * 180 / count
