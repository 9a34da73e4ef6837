"""Descriptor columns as integer vectors whose squared distances are exact, in any order, on any machine.

The distance between two tiles is, with weights w from the configuration,

    D^2 = sum over share descriptors of w * H^2  +  sum over moments of w * (difference / scale)^2  +  w_pos * (c / 2)^2
          + sum over the columns of spectral values of w * (difference / scale of the column)^2

where H is the Hellinger distance of the class shares (H^2 = 1/2 * sum (sqrt(p) - sqrt(q))^2, in [0, 1]) and c the chord
between the tiles on the unit sphere (c/2 in [0, 1]). Every term is a squared Euclidean distance, so coordinates exist:
they are scaled and rounded to int16 such that the largest squared distance stays below 2^31. Sums of integers do not
depend on their order, so neither do selections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from csmoe_sampler.types import Float32, Float64, Int16, Int64, UInt64

MAX_SQUARED = 2.0**30  # leaves room for rounding below the 2^31 - 1 of int32


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Class shares of one descriptor."""

    columns: Sequence[Float32]
    """One array a class, each in [0, 1]."""
    weight: float

    @property
    def max_squared(self) -> float:
        """Largest possible contribution to D^2."""
        return self.weight

    def coordinates(self) -> list[Float64]:
        """sqrt(w / 2) * sqrt(share), a class each."""
        return [np.sqrt(column.astype(np.float64)) * np.sqrt(self.weight / 2) for column in self.columns]


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Mean and standard deviation of one numeric descriptor."""

    columns: Sequence[Float32]
    """NaN where the tile has no valid pixel: takes the median of the others."""
    weight: float
    scale: float
    """The difference that counts as one unit of distance."""

    @property
    def max_squared(self) -> float:
        """Largest contribution to D^2 among these tiles."""
        return float(sum(np.ptp(c) ** 2 for c in self.coordinates()))

    def coordinates(self) -> list[Float64]:
        """sqrt(w) * value / scale, centred on the middle of its range."""
        return [_centred(column, np.sqrt(self.weight) / self.scale) for column in self.columns]


@dataclass(frozen=True, kw_only=True)
class Values:
    """Numbers of one descriptor that differ in kind."""

    columns: Sequence[Float32]
    """NaN where it is not known: takes the median of the others."""
    weight: float
    scales: Sequence[float]
    """For each column, the difference that counts as one unit of distance."""

    @property
    def max_squared(self) -> float:
        """Largest contribution to D^2 among these tiles."""
        return float(sum(np.ptp(c) ** 2 for c in self.coordinates()))

    def coordinates(self) -> list[Float64]:
        """sqrt(w) * value / scale, centred on the middle of its range."""
        pairs = zip(self.columns, self.scales, strict=True)
        return [_centred(column, np.sqrt(self.weight) / scale) for column, scale in pairs]


@dataclass(frozen=True, kw_only=True)
class Position:
    """The place on the sphere."""

    lon: Float64
    lat: Float64
    weight: float

    @property
    def max_squared(self) -> float:
        """Largest possible contribution to D^2: antipodes."""
        return self.weight

    def coordinates(self) -> list[Float64]:
        """sqrt(w) / 2 * the unit vector."""
        lon, lat, scale = np.radians(self.lon), np.radians(self.lat), np.sqrt(self.weight) / 2
        return [np.cos(lat) * np.cos(lon) * scale, np.cos(lat) * np.sin(lon) * scale, np.sin(lat) * scale]


Block = Shares | Moments | Values | Position
"""What one descriptor adds to D^2."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """Integer feature vectors of tiles, rows in ascending tile order."""

    values: Int16
    """(n, d), C-contiguous; the squared distance of any two rows fits int32."""
    keys: UInt64
    """(n,) hash of seed and tile: the only source of chance, and the tie-breaker."""
    scale: float = 1.0
    """D = sqrt(squared integer distance) / scale."""

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: Int64) -> Features:
        """The features of some rows."""
        return Features(values=self.values[rows], keys=self.keys[rows], scale=self.scale)


def build_features(blocks: Sequence[Block], keys: UInt64) -> Features:
    """Features of tiles from their descriptor blocks; blocks of weight 0 and constant coordinates fall away."""
    used = [block for block in blocks if block.weight > 0]
    max_squared = sum(block.max_squared for block in used)
    scale = float(np.floor(np.sqrt(MAX_SQUARED / max_squared))) if max_squared > 0 else 1.0
    columns: list[Int16] = []
    for block in used:
        for coordinate in block.coordinates():
            column = np.rint(coordinate * scale).astype(np.int16)
            if column.size and column.min() < column.max():
                columns.append(column)
    values = np.zeros((len(keys), max(1, len(columns))), np.int16)
    for k, column in enumerate(columns):
        values[:, k] = column
    return Features(values=values, keys=keys, scale=scale)


def _centred(column: Float32, factor: float) -> Float64:
    known = np.isfinite(column)
    middle = float(np.median(column[known])) if known.any() else 0.0
    values = np.where(known, column, middle).astype(np.float64) * factor
    return np.asarray(values - (values.min() + values.max()) / 2)
