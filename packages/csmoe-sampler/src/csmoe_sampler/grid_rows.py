"""The rows of the Major TOM grid: their edges, and how many tiles each holds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from csmoe_sampler.types import Float64, Int64

EARTH_RADIUS_KM = 6378.137


@dataclass(frozen=True, kw_only=True)
class Rows:
    """One entry a row, from south to north."""

    pole_to_pole: int
    """Number of rows of the whole sphere."""
    first: int
    """Signed label of the southernmost."""
    south: Float64
    """Southern edges in degrees, then the northern edge of the last row: one more than rows."""
    num_cols: Int64
    start: Int64
    """Index of the first tile, then the number of all tiles: one more than rows."""
    first_label: Int64
    """Signed column label of the first tile."""


def lay_rows(spacing_km: float, lat_max_deg: float) -> Rows:
    """The rows whose southern edge lies within +-`lat_max_deg`."""
    number = math.ceil(math.pi * EARTH_RADIUS_KM / spacing_km)
    row = np.arange(-(number // 2), (number + 1) // 2)
    edge = np.append(multiple(row, number, 180.0), 90.0)
    if 2 * row[0] == -number:
        edge[0] = -90.0
    inside = np.flatnonzero(np.abs(edge[:-1]) <= lat_max_deg)
    south = edge[inside[0] : inside[-1] + 2]
    # math.cos: the last bit of numpy's depends on the processor, and could make a column more or less.
    radius_km = [EARTH_RADIUS_KM * math.cos(lat * math.pi / 180) for lat in south[:-1].tolist()]
    num_cols = np.ceil(2 * math.pi * np.array(radius_km) / spacing_km).astype(np.int64)
    west = -(num_cols // 2)
    flipped = (2 * west == -num_cols) & (multiple(west, num_cols, 360.0) > 0)
    return Rows(
        pole_to_pole=number,
        first=int(row[inside[0]]),
        south=south,
        num_cols=num_cols,
        start=np.concatenate([[0], np.cumsum(num_cols)]),
        first_label=np.where(flipped, -west, west),
    )


def multiple(number: Any, count: Any, span: float) -> Any:
    """`number * span / count` for -count/2 <= number <= count/2, as the reference rounds it.

    The reference counts from -span/2 on, adds one `span` where that is negative, and subtracts span/2. In this
    way -span/2 itself may come out as +span/2. Takes integers or arrays of them, and compiles.
    """
    shifted = (number + count * (number < 0)) * (span / count) - 0.5 * span
    return shifted + span * (shifted < 0) - 0.5 * span
