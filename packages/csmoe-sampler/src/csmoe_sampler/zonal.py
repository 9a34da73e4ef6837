"""Compiled kernels: class histogram and moments of the pixels of every tile, over one window of a raster at a time.

A window's pixels come as one row after the other in a flat array. `placement` says which of them belong to which tile.

Counting by centres is what the planet's 10 m maps wait for, so it must cost little beside decoding them. It goes tile
row by tile row of pixels, a thousand pixels or so at a time. For each code it compares 64 pixels with the code in a few
instructions and counts the equal ones. Land cover comes in patches: often the first code that is tried is the only one,
and otherwise all pixels are accounted for after the few codes that have moved to the front of the list. No pixel is
looked up, no histogram is cleared, and the sums are exact integers.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from csmoe_sampler.placement import AREA_UNIT_BITS, SLIVER, Placement, Window
from csmoe_sampler.types import Bool, Float32, Float64, Int16, Int64

LANES = 64
"""Pixels compared at once: the length of a window's array must be a multiple of it, and its address better is."""
_ALL_LANES = np.uint64(2**64 - 1)
_AREA_UNITS = float(2**AREA_UNIT_BITS)

Pixels = npt.NDArray[Any]


class CodeTable(NamedTuple):
    """How codes become columns of a tally. Integer codes are read as unsigned, by their bits."""

    known: npt.NDArray[Any]
    """Codes with a meaning, of the pixels' type. The kernels reorder them: give a copy to every thread."""
    column: npt.NDArray[np.uint8]
    """Column of every value of the pixels' type."""


class RunningMoments(NamedTuple):
    """Weight, mean, and weighted sum of squared differences from the mean, each (n,)."""

    weight: Float64
    mean: Float64
    scatter: Float64

    @classmethod
    def zeros(cls, n: int) -> RunningMoments:
        """Of no pixels."""
        return cls(np.zeros(n), np.zeros(n), np.zeros(n))


def _emit_equal_lanes(_context: Any, pixels: Any, start: Any, value: Any) -> Any:

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        vector = ir.VectorType(context.get_value_type(signature.args[0].dtype), LANES)
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), vector.as_pointer())
        loaded = builder.load(address)
        loaded.align = 1
        undefined = ir.Constant(vector, ir.Undefined)
        single = builder.insert_element(undefined, arguments[2], ir.Constant(ir.IntType(32), 0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
        equal = builder.icmp_unsigned("==", loaded, builder.shuffle_vector(single, undefined, lanes))
        return builder.bitcast(equal, ir.IntType(LANES))

    return types.uint64(pixels, types.int64, pixels.dtype), codegen


def _emit_num_set(_context: Any, _mask: Any) -> Any:
    return types.int64(types.uint64), lambda context, builder, signature, arguments: builder.ctpop(arguments[0])


_equal_lanes: Any = intrinsic(_emit_equal_lanes)
"""Bit k of `_equal_lanes(pixels, start, code)` is set where pixels[start + k] == code, for k < LANES."""
_num_set: Any = intrinsic(_emit_num_set)
"""Number of set bits."""


@njit(cache=True, nogil=True)
def _cover(start: int, stop: int) -> tuple[int, Any, int, Any]:
    """The lanes of pixels start to stop: the first LANES of them and which of those count, the last ones likewise."""
    head, tail = start // LANES, (stop - 1) // LANES
    head_mask = _ALL_LANES << np.uint64(start % LANES)
    tail_mask = _ALL_LANES >> np.uint64(LANES - 1 - (stop - 1) % LANES)
    if head == tail:
        return head, head_mask & tail_mask, tail, np.uint64(0)
    return head, head_mask, tail, tail_mask


@njit(cache=True, nogil=True)
def _count_equal(pixels: Pixels, lanes: tuple[int, Any, int, Any], code: Any) -> int:
    head, head_mask, tail, tail_mask = lanes
    found = _num_set(_equal_lanes(pixels, LANES * head, code) & head_mask)
    found += _num_set(_equal_lanes(pixels, LANES * tail, code) & tail_mask)
    for between in range(head + 1, tail):
        found += _num_set(_equal_lanes(pixels, LANES * between, code))
    return int(found)


@njit(cache=True, nogil=True)
def count_by_centres(
    pixels: Pixels, window: Window, placed: Placement, table: CodeTable, pixel_count: Int64, weight: Int64
) -> int:
    """Adds the pixels of a window to a tally; the number of those with a code that is not in the table.

    Args:
        pixels: Unsigned 8- or 16-bit codes of the window, flat, and then anything up to a multiple of LANES.
        window: First and end row, first and end column.
        placed: By centres.
        table: Codes to columns.
        pixel_count: (tiles, columns) Numbers of pixels; the last column is for codes that are not in the table.
        weight: (tiles, columns) Their weights in units.
    """
    top, bottom, left, right = window
    last_column = pixel_count.shape[1] - 1
    num_unknown = 0
    for band in range(len(placed.row_start)):
        first, end = placed.first_segment[band], placed.first_segment[band + 1]
        while first < end and placed.col_stop[first] <= left:
            first += 1
        while first < end and placed.col_start[end - 1] >= right:
            end -= 1
        for row in range(max(placed.row_start[band], top), min(placed.row_stop[band], bottom)):
            unit = placed.row_weight[placed.first_weight[band] + row - placed.row_start[band]]
            origin = (row - top) * (right - left) - left
            for segment in range(first, end):
                tile = placed.tile[segment]
                start = origin + max(placed.col_start[segment], left)
                stop = origin + min(placed.col_stop[segment], right)
                lanes = _cover(start, stop)
                # What the first pixel has, then what is in the list, until all pixels are found.
                tried = pixels[start]
                found = _count_equal(pixels, lanes, tried)
                column = table.column[tried]
                pixel_count[tile, column] += found
                weight[tile, column] += found * unit
                if column == last_column:
                    num_unknown += found
                missing = stop - start - found
                place = 0
                while missing > 0 and place < len(table.known):
                    code = table.known[place]
                    if code != tried:
                        found = _count_equal(pixels, lanes, code)
                        if found > 0:
                            column = table.column[code]
                            pixel_count[tile, column] += found
                            weight[tile, column] += found * unit
                            missing -= found
                            if place > 0:
                                table.known[place] = table.known[place - 1]
                                table.known[place - 1] = code
                    place += 1
                num_unknown += missing
                pixel_count[tile, last_column] += missing
                weight[tile, last_column] += missing * unit
    return num_unknown


@njit(cache=True, nogil=True)
def count_by_areas(pixels: Pixels, window: Window, placed: Placement, table: CodeTable, weight: Int64) -> int:
    """As `count_by_centres`, with the overlaps of pixels with tiles as weights; overlaps of unknown codes."""
    top, bottom, left, right = window
    last = weight.shape[1] - 1
    num_unknown = 0
    for band in range(len(placed.row_start)):
        for row in range(max(placed.row_start[band], top), min(placed.row_stop[band], bottom)):
            height_share = placed.row_weight[placed.first_weight[band] + row - placed.row_start[band]]
            origin = (row - top) * (right - left) - left
            for segment in range(placed.first_segment[band], placed.first_segment[band + 1]):
                tile = placed.tile[segment]
                west, east = placed.west_px[segment], placed.east_px[segment]
                for col in range(max(placed.col_start[segment], left), min(placed.col_stop[segment], right)):
                    share = height_share * (min(east, col + 1.0) - max(west, float(col))) / (east - west)
                    if share > SLIVER:
                        column = table.column[pixels[origin + col]]
                        weight[tile, column] += np.int64(share * _AREA_UNITS + 0.5)
                        num_unknown += column == last
    return num_unknown


@njit(cache=True, nogil=True)
def mark_placed(window: Window, placed: Placement, mark: Bool) -> None:
    """Sets the pixels of a window, flat, that belong to some tile."""
    top, bottom, left, right = window
    for band in range(len(placed.row_start)):
        for row in range(max(placed.row_start[band], top), min(placed.row_stop[band], bottom)):
            origin = (row - top) * (right - left) - left
            for segment in range(placed.first_segment[band], placed.first_segment[band + 1]):
                start = max(placed.col_start[segment], left)
                mark[origin + start : origin + max(start, min(placed.col_stop[segment], right))] = True


@njit(cache=True, nogil=True)
def share_classes(weight: Int64, shares: Float32, entropy: Float32, present: Int16) -> None:
    """Turns weights into shares, their Shannon entropy in bits, and the number of classes present.

    Args:
        weight: (tiles, k)
        shares: (k, tiles) Written; all 0 where a tile has no weight.
        entropy: (tiles,) Written.
        present: (tiles,) Written.
    """
    for tile in range(len(weight)):
        total = weight[tile].sum()
        bits, num = 0.0, 0
        for k in range(weight.shape[1]):
            share = weight[tile, k] / total if total else 0.0
            shares[k, tile] = share
            if share > 0:
                bits -= share * math.log2(share)
                num += 1
        entropy[tile] = max(bits, 0.0)
        present[tile] = num


@njit(cache=True, nogil=True)
def _join(moments: RunningMoments, k: int, weight: float, mean: float, scatter: float) -> None:
    """Joins a further part to moments k (Chan, Golub and LeVeque 1979)."""
    total = moments.weight[k] + weight
    step = mean - moments.mean[k]
    moments.scatter[k] += scatter + step * step * (moments.weight[k] * weight / total)
    moments.mean[k] += step * (weight / total)
    moments.weight[k] = total


@njit(cache=True, nogil=True)
def moments_by_centres(
    pixels: Pixels, window: Window, placed: Placement, nodata: float, segments: RunningMoments
) -> None:
    """Joins the valid pixels of a window, those neither `nodata` nor infinite nor NaN, to moments of the segments.

    The window must not cut a segment in longitude, and windows must come from north to south: then the result does
    not depend on the windows.
    """
    top, bottom, left, right = window
    for band in range(len(placed.row_start)):
        for row in range(max(placed.row_start[band], top), min(placed.row_stop[band], bottom)):
            unit = float(placed.row_weight[placed.first_weight[band] + row - placed.row_start[band]])
            origin = (row - top) * (right - left) - left
            for segment in range(placed.first_segment[band], placed.first_segment[band + 1]):
                if placed.col_start[segment] < left or placed.col_stop[segment] > right:
                    continue
                start, stop = origin + placed.col_start[segment], origin + placed.col_stop[segment]
                num, total = 0, 0.0
                for k in range(start, stop):
                    value = float(pixels[k])
                    if value != nodata and np.isfinite(value):
                        num += 1
                        total += value
                if num == 0:
                    continue
                mean, scatter = total / num, 0.0
                for k in range(start, stop):
                    value = float(pixels[k])
                    if value != nodata and np.isfinite(value):
                        scatter += (value - mean) * (value - mean)
                _join(segments, segment, unit * num, mean, unit * scatter)


@njit(cache=True, nogil=True)
def moments_by_areas(
    pixels: Pixels, window: Window, placed: Placement, nodata: float, segments: RunningMoments
) -> None:
    """As `moments_by_centres`, with the share of the tile that each pixel covers as its weight."""
    top, bottom, left, right = window
    for band in range(len(placed.row_start)):
        for row in range(max(placed.row_start[band], top), min(placed.row_stop[band], bottom)):
            height_share = placed.row_weight[placed.first_weight[band] + row - placed.row_start[band]]
            origin = (row - top) * (right - left) - left
            for segment in range(placed.first_segment[band], placed.first_segment[band + 1]):
                if placed.col_start[segment] < left or placed.col_stop[segment] > right:
                    continue
                west, east = placed.west_px[segment], placed.east_px[segment]
                for col in range(placed.col_start[segment], placed.col_stop[segment]):
                    share = height_share * (min(east, col + 1.0) - max(west, float(col))) / (east - west)
                    value = float(pixels[origin + col])
                    if share > SLIVER and value != nodata and np.isfinite(value):
                        _join(segments, segment, share, value, 0.0)


@njit(cache=True, nogil=True)
def join_segments(placed: Placement, segments: RunningMoments, tiles: RunningMoments) -> None:
    """Joins the moments of segments, in their order, to those of their tiles."""
    for segment in range(len(placed.tile)):
        if segments.weight[segment] > 0:
            _join(
                tiles,
                placed.tile[segment],
                segments.weight[segment],
                segments.mean[segment],
                segments.scatter[segment],
            )
