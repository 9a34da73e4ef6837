"""Runs: half-open ranges [start, stop) of tile indices, the compact form of a set of tiles."""

from __future__ import annotations

import numpy as np

from csmoe_sampler.types import Int64


def merge_runs(start: Int64, stop: Int64) -> tuple[Int64, Int64]:
    """The union of runs as runs in ascending order, disjoint and not touching."""
    filled = start < stop
    start, stop = start[filled], stop[filled]
    order = np.argsort(start, kind="stable")
    start, reach = start[order], np.maximum.accumulate(stop[order])
    opens = np.ones(len(start), bool)
    opens[1:] = start[1:] > reach[:-1]
    closes = np.roll(opens, -1)
    return start[opens], reach[closes]


def expand_runs(start: Int64, stop: Int64) -> Int64:
    """The indices of every run, run after run: ascending where the runs are disjoint and ascending."""
    length = stop - start
    ends = np.cumsum(length)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(start - ends + length, length) + np.arange(total)


def find_run(tiles: Int64, start: Int64, stop: Int64) -> Int64:
    """Position of the run that holds each tile, -1 where none does; runs disjoint and ascending."""
    run = np.searchsorted(start, tiles, side="right") - 1
    return np.where((run >= 0) & (tiles < stop[run]), run, -1) if len(start) else np.full(tiles.shape, -1)
