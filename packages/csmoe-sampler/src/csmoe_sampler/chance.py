"""Chance as a pure function of seeds and tile indices: the same on any machine and for any worker count.

SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators", OOPSLA) is a bijection of
64 bits, so that two tiles never share a key.
"""

from __future__ import annotations

import hashlib

import numpy as np

from csmoe_sampler.types import Float64, Int64, UInt64

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)


def tile_keys(seed: int, tiles: Int64) -> UInt64:
    """One key per tile, uniform over 64 bits and distinct for distinct tiles.

    Args:
        seed: 0 to 2^64 - 1.
        tiles: Tile indices, or any other identifiers.
    """
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is the point
        start = _mix(np.array([seed], np.uint64))
        return _mix(start + (tiles.astype(np.uint64) + np.uint64(1)) * _GOLDEN)


def key_uniform(keys: UInt64) -> Float64:
    """The upper 53 bits of each key as a number in [0, 1)."""
    return (keys >> np.uint64(11)).astype(np.float64) * 2.0**-53


def derive_seed(seed: int, *labels: str) -> int:
    """The seed, 0 to 2^63 - 1, of the independent sub-stream that `labels` name."""
    text = "\x1f".join([str(seed), *labels])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def _mix(state: UInt64) -> UInt64:
    state = (state ^ (state >> np.uint64(30))) * _MIX1
    state = (state ^ (state >> np.uint64(27))) * _MIX2
    return state ^ (state >> np.uint64(31))
