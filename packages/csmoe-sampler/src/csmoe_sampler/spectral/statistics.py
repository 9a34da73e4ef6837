"""What the reflectances of a tile say: entropy, texture and band means, from exact integer counts.

With r the surface reflectance of a band, cut to [0, 1] and rounded to 1e-4, over the N clear pixels of a tile:

    mean_b     mean of r
    entropy    mean over the bands of H_b = -sum p_k log2 p_k + (K - 1) / (2 N ln 2), at most log2(32) = 5 bits
    texture    mean over the bands of (mean |r - r'| over neighbours) / max(mean_b, 0.01)

p_k is the share of the pixels with k = floor(32 sqrt(r)), cut to 31: 32 fixed bins, narrow where most of the Earth's
surface is dark. K is the number of bins with a pixel. The second term of H_b is the correction of Miller and Madow: the
plain entropy of N pixels is too small by about as much, so without it tiles under clouds would seem poorer.
Neighbours are two clear pixels of the same tile that share an edge. Entropy and texture depend on the size of the
pixels, so they compare tiles that are read with one decimation.

All is computed from sums of integers, which do not depend on their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from csmoe_sampler.types import Bool, Float32, Float64, Int16, Int32, Int64

UNITS = 10_000
"""Reflectance 1."""
NUM_BINS = 32
DARK = 100
"""Reflectance 0.01 in units: the least by which differences are divided."""
MIN_CLEAR = 0.1
"""A tile of which less is clear has no statistics."""
_BIN_EDGES = np.arange(NUM_BINS) ** 2 * (UNITS / NUM_BINS**2)
_BIN_OF = (np.searchsorted(_BIN_EDGES, np.arange(UNITS + 1), side="right") - 1).astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Counts of n tiles and b bands."""

    whole: Int64
    """(n,) Pixels whose centre lies in the tile."""
    clear: Int64
    """(n,) Those with data in all bands and no cloud or shadow."""
    pairs: Int64
    """(n,) Pairs of clear neighbours."""
    bins: Int64
    """(n, b, NUM_BINS) Clear pixels in each bin."""
    total: Int64
    """(n, b) Sums of reflectances, in units."""
    steps: Int64
    """(n, b) Sums of the differences of neighbours, in units."""

    @property
    def valid(self) -> Float32:
        """(n,) Share of the tile that is clear."""
        return (self.clear / np.maximum(self.whole, 1)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Of n tiles; NaN where less than MIN_CLEAR of the tile is clear."""

    entropy: Float32
    """(n,) Bits, 0 to 5."""
    texture: Float32
    """(n,) Relative differences; NaN too where no two clear pixels are neighbours."""
    means: Float32
    """(n, b) Reflectances, 0 to 1."""
    valid: Float32
    """(n,) Share of the tile that is clear; 0 where nothing is known."""


def count_pixels(pixels: Int16, clear: Bool, owner: Int32, num_tiles: int) -> Tally:
    """The counts of tiles in one window that holds all their pixels.

    Args:
        pixels: (b, H, W) reflectances in units, from 0 to UNITS where clear.
        clear: (H, W) whether a pixel counts.
        owner: (H, W) number of the tile that holds the pixel's centre, -1 for none.
        num_tiles: n.
    """
    num_bands = len(pixels)
    tally = Tally(
        whole=np.zeros(num_tiles, np.int64),
        clear=np.zeros(num_tiles, np.int64),
        pairs=np.zeros(num_tiles, np.int64),
        bins=np.zeros((num_tiles, num_bands, NUM_BINS), np.int64),
        total=np.zeros((num_tiles, num_bands), np.int64),
        steps=np.zeros((num_tiles, num_bands), np.int64),
    )
    _count_owned(clear, owner, tally.whole, tally.clear, tally.pairs)
    for band in range(num_bands):
        counts = (tally.bins[:, band], tally.total[:, band], tally.steps[:, band])
        _count_band(pixels[band], clear, owner, _BIN_OF, counts)
    return tally


def statistics_of(tally: Tally) -> Statistics:
    """The statistics that follow from counts."""
    number = np.maximum(tally.clear, 1).astype(np.float64)[:, None]
    means = tally.total / number
    with np.errstate(invalid="ignore"):
        steps = tally.steps / np.where(tally.pairs > 0, tally.pairs, np.nan)[:, None]
    texture = (steps / np.maximum(means, DARK)).mean(axis=1)
    unknown = (tally.whole == 0) | (tally.clear < MIN_CLEAR * tally.whole) | (tally.clear == 0)
    return Statistics(
        entropy=_known(_entropy(tally.bins, number).mean(axis=1), unknown),
        texture=_known(texture, unknown),
        means=_known(means / UNITS, unknown[:, None]),
        valid=tally.valid,
    )


def _entropy(bins: Int64, number: Float64) -> Float64:
    """(n, b) Corrected entropies in bits."""
    share = bins / number[..., None]
    logs = np.log2(share, out=np.zeros_like(share), where=share > 0)
    present = (bins > 0).sum(axis=2)
    corrected = -(share * logs).sum(axis=2) + np.maximum(present - 1, 0) / (2 * number * np.log(2))
    return np.asarray(np.clip(corrected, 0, np.log2(NUM_BINS)))


def _known(values: Float64, unknown: Bool) -> Float32:
    return np.where(unknown, np.nan, values).astype(np.float32)


@njit(cache=True, nogil=True)
def _count_owned(clear: Bool, owner: Int32, whole: Int64, num_clear: Int64, pairs: Int64) -> None:
    rows, cols = owner.shape
    for row in range(rows):
        for col in range(cols):
            tile = owner[row, col]
            if tile < 0:
                continue
            whole[tile] += 1
            if not clear[row, col]:
                continue
            num_clear[tile] += 1
            if col + 1 < cols and owner[row, col + 1] == tile and clear[row, col + 1]:
                pairs[tile] += 1
            if row + 1 < rows and owner[row + 1, col] == tile and clear[row + 1, col]:
                pairs[tile] += 1


@njit(cache=True, nogil=True)
def _count_band(
    pixels: Int16, clear: Bool, owner: Int32, bin_of: npt.NDArray[np.uint8], counts: tuple[Any, Any, Any]
) -> None:
    bins, total, steps = counts
    rows, cols = owner.shape
    for row in range(rows):
        for col in range(cols):
            tile = owner[row, col]
            if tile < 0 or not clear[row, col]:
                continue
            value = np.int64(pixels[row, col])
            bins[tile, bin_of[value]] += 1
            total[tile] += value
            if col + 1 < cols and owner[row, col + 1] == tile and clear[row, col + 1]:
                steps[tile] += abs(value - pixels[row, col + 1])
            if row + 1 < rows and owner[row + 1, col] == tile and clear[row + 1, col]:
                steps[tile] += abs(value - pixels[row + 1, col])
