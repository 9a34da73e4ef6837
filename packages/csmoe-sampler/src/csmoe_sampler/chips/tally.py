"""What a fetch has brought, added up shard by shard: the coordinates that only reading tells, failures, warnings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from csmoe_sampler.chips.journal import FETCHED, NOT_FETCHED, Failure, Measured, Outcome
from csmoe_sampler.chips.layout import Columns, Layout
from csmoe_sampler.types import Int64

_MOST_WARNINGS = 20
_SHIFTS = ("shift_x_px", "shift_y_px", "shift_quality")
_FIGURES = ("s2_offset", "s2_valid", "s1_valid", *_SHIFTS)


class Tally:
    """Outcomes of all tiles, in the order of the rows, in arrays: a few bytes a tile."""

    def __init__(self, layout: Layout) -> None:
        shape = (layout.num_rows, len(layout.seasons))
        self._layout = layout
        self._num = 0
        self._status = np.full(layout.num_rows, NOT_FETCHED, np.uint8)
        self._bounds = np.full((layout.num_rows, 4), np.nan)
        self._crs = np.full(layout.num_rows, "", object)
        self._known: dict[str, str] = {}
        self._figures = {name: np.full(shape, np.nan, np.float32) for name in _FIGURES}
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._first: dict[tuple[str, str, str], str] = {}
        self.failed: list[Failure] = []

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """The next rows."""
        for outcome in outcomes:
            row, self._num = self._num, self._num + 1
            self._status[row] = outcome.status
            self._crs[row] = self._known.setdefault(outcome.crs, outcome.crs)
            if outcome.bounds is not None:
                self._bounds[row] = outcome.bounds
            for season, measured in enumerate(outcome.seasons):
                for name, figure in zip(_FIGURES, _figures_of(measured), strict=True):
                    self._figures[name][row, season] = math.nan if figure is None else figure
            self.failed += outcome.failures
            for warned in outcome.warnings if outcome.status == FETCHED else ():
                key = (warned.sensor, warned.band, warned.problem)
                self._counts[key] += 1
                self._first.setdefault(key, warned.message)

    @property
    def chip(self) -> Int64:
        """Row of each tile in the store, -1 where it has no pixels."""
        return np.where(self._status == FETCHED, np.arange(self._status.size), -1)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Alike warnings as one, the most frequent first."""
        return tuple(
            f"{self._first[key]} (and {count - 1:,} more alike)" if count > 1 else self._first[key]
            for key, count in self._counts.most_common(_MOST_WARNINGS)
        )

    def columns(self) -> Columns:
        """The coordinates `crs bounds status s2_offset s2_valid s1_valid shift_*`."""
        shape = (self._layout.num_rows, *self._layout.seasons_axis)
        figures = {name: values.reshape(shape) for name, values in self._figures.items()}
        return {"crs": self._crs, "bounds": self._bounds, "status": self._status, **figures}


def _figures_of(measured: Measured) -> tuple[float | None, ...]:
    return (measured.s2_offset, measured.s2_valid, measured.s1_valid, *(measured.shift or (None,) * len(_SHIFTS)))
