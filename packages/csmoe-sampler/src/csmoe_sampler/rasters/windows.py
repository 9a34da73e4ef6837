"""Which windows of a raster to read for tiles: whole blocks, each of them once, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from csmoe_sampler.placement import Placement, Window
from csmoe_sampler.types import Bool


def plan_windows(placed: Placement, block_shape: tuple[int, int], most_px: int, whole_runs: bool) -> Iterator[Window]:
    """Windows that cover all placed pixels and touch every block that holds some once, from north to south.

    Args:
        placed: The tiles.
        block_shape: Rows and columns of the blocks in which the file is stored.
        most_px: A window is larger only where a single block is, or where `whole_runs` forbids to divide it.
        whole_runs: Never cut a window in longitude, so that no segment is cut.
    """
    if not len(placed.tile):
        return
    block_rows, block_cols = block_shape
    top, bottom = int(placed.row_start.min()), int(placed.row_stop.max())
    left, right = int(placed.col_start.min()), int(placed.col_stop.max())
    needed = _needed_blocks(placed, block_shape)
    stack = min(max(1, most_px // (block_rows * (right - left))), len(needed))
    chunk = needed.shape[1] if whole_runs else max(1, most_px // (stack * block_rows * block_cols))
    for low in range(0, len(needed), stack):
        first_row = (top // block_rows + low) * block_rows
        rows = max(first_row, top), min(first_row + stack * block_rows, bottom)
        columns = np.flatnonzero(needed[low : low + stack].any(axis=0)) + left // block_cols
        for run in np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1):
            for k in range(0, len(run), chunk):
                part = run[k : k + chunk]
                yield Window(*rows, max(int(part[0]) * block_cols, left), min((int(part[-1]) + 1) * block_cols, right))


def _needed_blocks(placed: Placement, block_shape: tuple[int, int]) -> Bool:
    """(block rows, block columns) Which blocks hold placed pixels, from the first placed one on."""
    block_rows, block_cols = block_shape
    per_band = np.diff(placed.first_segment)
    top, bottom = placed.row_start // block_rows, (placed.row_stop - 1) // block_rows + 1
    left, right = placed.col_start // block_cols, (placed.col_stop - 1) // block_cols + 1
    first_row, first_col = top.min(), left.min()
    # Painted by the corners of the segments, which two sums over the rows and the columns turn into areas.
    corners = np.zeros((bottom.max() - first_row + 1, right.max() - first_col + 1), np.int64)
    for of_band, sign in ((top, 1), (bottom, -1)):
        row = np.repeat(of_band - first_row, per_band)
        np.add.at(corners, (row, left - first_col), sign)
        np.add.at(corners, (row, right - first_col), -sign)
    return corners.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] > 0
