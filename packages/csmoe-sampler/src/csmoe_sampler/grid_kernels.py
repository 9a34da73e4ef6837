"""Compiled loops of the grid: points -> tile indices, tile indices <-> ids."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from csmoe_sampler.grid_rows import multiple
from csmoe_sampler.types import Float64, Int32, Int64

Text = npt.NDArray[np.uint32]
"""Strings as (n, width) UCS-4 code points, padded with zeros: what a numpy `str_` array is in memory."""
_D, _L, _R, _U, _BAR, _ZERO = (ord(letter) for letter in "DLRU_0")
_MAX_DIGITS = 9


_multiple = njit(multiple)


@njit(cache=True, nogil=True)
def locate_points(
    lon: Float64, lat: Float64, south: Float64, num_cols: Int64, row_start: Int64, lattice: tuple[int, int]
) -> Int64:
    """Tile index of each point; -1 where the point is outside the grid or not a number.

    Args:
        lon: Longitudes in [-180, 360] degrees.
        lat: Latitudes in degrees, as many.
        south: Southern edges of the rows, and the northern edge of the last: one more than rows.
        num_cols: Columns of each row.
        row_start: Index of the first tile of each row.
        lattice: Number of rows from pole to pole, signed label of the first row.
    """
    rows_pole_to_pole, row_first = lattice
    last = len(num_cols) - 1
    north = south[last + 1]
    out = np.empty(len(lon), np.int64)
    for i in range(len(lon)):
        x, y = lon[i], lat[i]
        inside = -180.0 <= x <= 360.0 and south[0] <= y and (y < north or y == 90.0 == north)
        if not inside:
            out[i] = -1
            continue
        # Floor; then settle points within rounding of an edge by the edges as `bounds` gives them.
        r = min(max(math.floor(y * rows_pole_to_pole / 180.0) - row_first, 0), last)
        if y < south[r]:
            r -= 1
        elif r < last and y >= south[r + 1]:
            r += 1
        count = num_cols[r]
        west, odd = -(count // 2), count % 2
        if x >= 180.0:
            x -= 360.0
        j = min(math.floor(x * count / 360.0), west + count - 1)
        if j > west - odd and x < _multiple(j, count, 360.0):
            j -= 1
        elif j < west + count - 1 and x >= _multiple(j + 1, count, 360.0):
            j += 1
        out[i] = row_start[r] + (j - west) % count
    return out


@njit(cache=True, nogil=True)
def format_ids(row: Int32, col: Int32, width: int) -> Text:
    """Ids of signed row and column labels, `width` characters wide, padded with zeros."""
    out = np.zeros((len(row), width), np.uint32)
    for i in range(len(row)):
        end = _write(out[i], 0, abs(row[i]))
        out[i, end] = _U if row[i] >= 0 else _D
        out[i, end + 1] = _BAR
        end = _write(out[i], end + 2, abs(col[i]))
        out[i, end] = _R if col[i] >= 0 else _L
    return out


@njit(cache=True, nogil=True)
def parse_ids(text: Text, row_first: int, num_cols: Int64, row_start: Int64, first_label: Int64) -> Int64:
    """Tile index of each id; -1 where it is not exactly the id of a tile.

    Args:
        text: The ids.
        row_first: Signed label of the first row.
        num_cols: Columns of each row.
        row_start: Index of the first tile of each row.
        first_label: Signed column label of the first tile of each row.
    """
    out = np.full(len(text), -1, np.int64)
    for i in range(len(text)):
        row, end = _read(text[i], 0, _U, _D)
        if end < 0 or end >= text.shape[1] or text[i, end] != _BAR:
            continue
        col, end = _read(text[i], end + 1, _R, _L)
        r = row - row_first
        if end < 0 or (end < text.shape[1] and text[i, end] != 0) or r < 0 or r >= len(num_cols):
            continue
        position = col + num_cols[r] // 2
        if col == first_label[r]:
            out[i] = row_start[r]
        elif 0 < position < num_cols[r]:
            out[i] = row_start[r] + position
    return out


@njit(cache=True, nogil=True)
def _write(text: Text, start: int, number: int) -> int:
    """Writes the digits of `number` from `start` on; the position behind them."""
    digits = 1
    while number >= 10**digits:
        digits += 1
    for k in range(start + digits - 1, start - 1, -1):
        text[k] = _ZERO + number % 10
        number //= 10
    return start + digits


@njit(cache=True, nogil=True)
def _read(text: Text, start: int, plus: int, minus: int) -> tuple[int, int]:
    """Signed number of the digits and the letter from `start` on, and the position behind (-1: malformed)."""
    number, k = 0, start
    while k < len(text) and k - start < _MAX_DIGITS and _ZERO <= text[k] <= _ZERO + 9:
        number = number * 10 + int(text[k]) - _ZERO
        k += 1
    if k == start or k == len(text) or (text[start] == _ZERO and k - start > 1):
        return 0, -1
    if text[k] == plus:
        return number, k + 1
    if text[k] == minus and number > 0:
        return -number, k + 1
    return 0, -1
