"""When Sentinel-1 has seen each footprint: the nearest visit in time, exactly, for millions of questions at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa

from csmoe_sampler.scenes.pool import Pool
from csmoe_sampler.types import Bool, Float32, Float64, Int32, Int64

Numbers = TypeVar("Numbers", Int32, Int64, Float32)


@dataclass(frozen=True)
class Nearest:
    """Answers, one a question."""

    scene: Int64
    """Row of the pool; -1 where there is no visit."""
    dt_us: Int64
    """Time of the visit minus the time asked for."""
    coverage: Float32


class Visits:
    """Visits of tiles by scenes; first all are added, then questions are asked."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._tile: list[Int32] = []
        self._time: list[Int64] = []
        self._scene: list[Int32] = []
        self._coverage: list[Float32] = []
        self._key: Int64 = np.zeros(0, np.int64)
        self._times: Int64 = np.zeros(0, np.int64)
        self._rank: Int64 = np.zeros(0, np.int64)

    def add(self, table: pa.Table, row: Int64, tile: Int64, coverage: Float64) -> None:
        """Visits: the scene in `row` of `table` covers the footprint of `tile`."""
        used, place = np.unique(row, return_inverse=True)
        scene = self._pool.add(table.take(pa.array(used)))[place]
        time = np.asarray(table["datetime"].cast(pa.int64()).to_numpy())
        self._tile.append(tile.astype(np.int32))
        self._time.append(time[row])
        self._scene.append(scene.astype(np.int32))
        self._coverage.append(coverage.astype(np.float32))

    def close(self) -> None:
        """Sorts the visits by tile and time; of several at one time the scene with the smallest id counts."""
        if not self._tile:
            return
        items = self._pool.items()
        self._rank = np.empty(len(items), np.int64)
        self._rank[np.argsort(items)] = np.arange(len(items))
        time = _joined(self._time)
        self._times, moment = np.unique(time, return_inverse=True)
        key = _joined(self._tile).astype(np.int64) * len(self._times) + moment
        scene, coverage = _joined(self._scene), _joined(self._coverage)
        order = np.lexsort([self._rank[scene], key])
        order = order[np.diff(key[order], prepend=-1) > 0]
        self._key, self._scene, self._coverage = key[order], [scene[order]], [coverage[order]]

    def nearest(self, tile: Int64, time_us: Int64) -> Nearest:
        """The visit of each tile nearest to a time; of two as near, that with the smaller scene id."""
        count = len(tile)
        if not len(self._key):
            return Nearest(np.full(count, -1), np.zeros(count, np.int64), np.zeros(count, np.float32))
        num = len(self._times)
        after = np.searchsorted(self._key, tile * num + np.searchsorted(self._times, time_us))
        dt_before, found_before, before = self._look(after - 1, tile, time_us)
        dt_after, found_after, after = self._look(after, tile, time_us)
        scenes = self._scene[0]
        smaller = self._rank[scenes[after]] < self._rank[scenes[before]]
        closer = np.where(np.abs(dt_after) == np.abs(dt_before), smaller, np.abs(dt_after) < np.abs(dt_before))
        later = found_after & (closer | ~found_before)
        chosen = np.where(later, after, before)
        scene = np.where(found_before | found_after, scenes[chosen], -1)
        return Nearest(scene, np.where(later, dt_after, dt_before), self._coverage[0][chosen])

    def _look(self, place: Int64, tile: Int64, time_us: Int64) -> tuple[Int64, Bool, Int64]:
        """Time difference at a place of the sorted visits, whether it is of the tile, and the place within bounds."""
        inside = np.clip(place, 0, len(self._key) - 1)
        owner, moment = np.divmod(self._key[inside], len(self._times))
        return self._times[moment] - time_us, (inside == place) & (owner == tile), inside


def _joined(parts: list[Numbers]) -> Numbers:
    """One array; the parts are given up."""
    whole = np.concatenate(parts)
    parts.clear()
    return whole
