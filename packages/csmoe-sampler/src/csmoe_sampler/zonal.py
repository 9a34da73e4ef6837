"""Compiled kernels: class histogram and moments of the pixels of every tile, over one window of a raster at a time.

A window's pixels come as one row after the other in a flat array. `placement` says which of them belong to which tile.

Counting by centres is what the planet's 10 m maps wait for, so it must cost little beside decoding them. It goes tile
row by tile row of pixels, a thousand pixels or so at a time. For each code it compares 64 pixels with the code in a few
instructions and counts the equal ones. Land cover comes in patches: mostly the first code that is tried is the only
one, and otherwise all pixels are accounted for after the few codes that have moved to the front of the list. No pixel
is looked up, no histogram is cleared, and the sums are exact integers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from csmoe_sampler.placement import AREA_UNIT_BITS, Placement
from csmoe_sampler.types import Float64, Int64

LANES = 64
"""Pixels compared at once; a window's array must be at least that long."""
_ALL_LANES = np.uint64(2**64 - 1)
_AREA_UNITS = float(2**AREA_UNIT_BITS)

Pixels = npt.NDArray[Any]


class CodeTable(NamedTuple):
    """How codes become columns of a tally. Integer codes are read as unsigned, by their bits."""

    known: npt.NDArray[Any]
    """Codes with a meaning, of the pixels' type. The kernels reorder them: give a copy to every thread."""
    column: npt.NDArray[np.uint8]
    """Column of every value of the pixels' type."""


class Moments(NamedTuple):
    """Weight, mean, and weighted sum of squared differences from the mean, each (n,)."""

    weight: Float64
    mean: Float64
    scatter: Float64

    @classmethod
    def zeros(cls, n: int) -> Moments:
        """Of no pixels."""
        return cls(np.zeros(n), np.zeros(n), np.zeros(n))


@intrinsic
def _equal_lanes(_context: Any, pixels: Any, start: Any, value: Any) -> Any:
    """Bit k is set where pixels[start + k] == value, for k < LANES; the array must reach that far."""

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


@intrinsic
def _num_set(_context: Any, _mask: Any) -> Any:
    """Number of set bits."""
    return types.int64(types.uint64), lambda context, builder, signature, arguments: builder.ctpop(arguments[0])


@njit(cache=True, nogil=True)
def count_by_centres(
    pixels: Pixels, window: tuple[int, int, int, int], placed: Placement, table: CodeTable, pixel_count: Int64, weight: Int64
) -> None:
    """Adds the pixels of a window to a tally; pixels of codes that `table.known` lacks go to the last column.

    Args:
        pixels: Unsigned 8- or 16-bit codes of the window, flat, at least LANES of them.
        window: First and end row, first and end column.
        placed: By centres.
        table: Codes to columns.
        pixel_count: (tiles, columns) Numbers of pixels.
        weight: (tiles, columns) Their weights in units.
    """
    top, bottom, left, right = window
    limit = pixels.size - LANES
    unknown = pixel_count.shape[1] - 1
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
                missing = stop - start
                chunks = missing // LANES
                # The last lanes, fewer than LANES, are loaded from so far in front that the load stays in the array.
                rest = missing % LANES
                rest_at = min(stop - rest, limit)
                rest_lanes = np.uint64(0)
                if rest:
                    rest_lanes = (_ALL_LANES >> np.uint64(LANES - rest)) << np.uint64(stop - rest - rest_at)
                tried = pixels[start]
                place = -1
                code = tried
                while True:
                    found = _num_set(_equal_lanes(pixels, rest_at, code) & rest_lanes)
                    for chunk in range(chunks):
                        found += _num_set(_equal_lanes(pixels, start + LANES * chunk, code))
                    column = table.column[code]
                    pixel_count[tile, column] += found
                    weight[tile, column] += found * unit
                    missing -= found
                    if found and place > 0:
                        table.known[place] = table.known[place - 1]
                        table.known[place - 1] = code
                    place += 1
                    if place < len(table.known) and table.known[place] == tried:
                        place += 1
                    if missing == 0 or place >= len(table.known):
                        break
                    code = table.known[place]
                pixel_count[tile, unknown] += missing
                weight[tile, unknown] += missing * unit
