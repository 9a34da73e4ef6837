"""Sets of tiles as runs of indices: small where the tiles are those of a region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from csmoe_sampler.runs import find_run, merge_runs
from csmoe_sampler.types import Bool, Int64


@dataclass(frozen=True, kw_only=True, eq=False)
class TileSet:
    """Half-open runs [start, stop), ascending, disjoint and not touching: one form for one set."""

    start: Int64
    stop: Int64

    @classmethod
    def of(cls, tiles: Int64) -> TileSet:
        """The set of ascending indices."""
        opens = np.diff(tiles, prepend=-2) != 1
        return cls(start=tiles[opens], stop=tiles[np.roll(opens, -1)] + 1)

    @classmethod
    def parse(cls, runs: Sequence[str]) -> TileSet:
        """The inverse of `text`; ValueError if it is not."""
        bounds = np.array([run.split(":") for run in runs], dtype=np.int64).reshape(-1, 2)
        return cls(start=bounds[:, 0], stop=bounds[:, 1])

    @property
    def text(self) -> list[str]:
        """As `["0:12", "40:41"]`."""
        return [f"{start}:{stop}" for start, stop in zip(self.start.tolist(), self.stop.tolist(), strict=True)]

    def __len__(self) -> int:
        return int((self.stop - self.start).sum())

    def __or__(self, other: TileSet) -> TileSet:
        start, stop = merge_runs(np.concatenate([self.start, other.start]), np.concatenate([self.stop, other.stop]))
        return TileSet(start=start, stop=stop)

    def holds(self, tiles: Int64) -> Bool:
        """Which of `tiles` are in the set."""
        return np.asarray(find_run(tiles, self.start, self.stop) >= 0)

    def count(self, tiles: Int64) -> int:
        """How many of `tiles` (ascending) are in the set."""
        return int((np.searchsorted(tiles, self.stop) - np.searchsorted(tiles, self.start)).sum())
