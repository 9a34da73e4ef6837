"""A spatially balanced probability design: the pivotal method on a k-d tree of the features.

Every tile of a stratum of N starts with the probability quota / N. Two tiles duel: one of them gets a final 0 or 1 and
the other keeps the rest of their joint probability, by chance such that nobody's expectation changes (Deville & Tillé
1998, "Unequal probability sampling without replacement through a splitting method", Biometrika 85). As neighbours
duel, they are rarely drawn together (Grafström, Lundström & Schelin 2012, "Spatially balanced sampling through the
pivotal method", Biometrics 68). Here nearest neighbours duel inside the leaves of a balanced k-d tree, then the
undecided of sibling nodes on the way up, which takes near-linear time and no memory beyond the features. Probabilities
are integers over N: they stay exact, and the sample size is fixed.

The sample is ranked by splitting it in halves, recursively, with the same design and fresh chance: the first half
precedes the second. Hence, over the seeds:

- every prefix of length m of a stratum, not only the whole, holds each tile with the probability m / N, exactly;
- prefixes of length quota, quota / 2, quota / 4, ... (rounded up) are spread themselves; those in between are the
  union of spread samples.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from csmoe_sampler.features import Features
from csmoe_sampler.objectives.quickselect import split_at
from csmoe_sampler.types import Bool, Int16, Int64, UInt64

LEAF_SIZE = 32
"""Tiles among which the nearest neighbour is searched by brute force."""


class Spread:
    """The local pivotal method."""

    name = "spread"
    probability_design = True
    nested = False
    alpha: float | None = None

    def order(self, features: Features, quota: int, rng_seed: int) -> Int64:
        """`quota` tiles, each with the probability quota / N, ordered by recursive halving."""
        by_key = np.argsort(features.keys, kind="stable")
        varying = np.flatnonzero(features.values.min(axis=0) != features.values.max(axis=0))
        values = np.ascontiguousarray(features.values[np.ix_(by_key, varying)])
        state = np.array([rng_seed], np.uint64)
        return by_key[_ranked_sample(values, quota, state)]


@njit(cache=True, nogil=True)
def _ranked_sample(values: Int16, quota: int, state: UInt64) -> Int64:
    """Rows of `values` in rank order. `state` is that of the generator; it is advanced."""
    units = _tree_order(values)
    chosen = np.empty(units.size, np.bool_)
    _tournament(values, units, quota, chosen, state)
    sample = units[chosen]
    todo = [(np.int64(0), np.int64(sample.size))]
    while len(todo) > 0:
        start, stop = todo.pop()
        if stop - start < 2:
            continue
        part = sample[start:stop]
        half = (part.size + 1) // 2
        first = chosen[: part.size]
        _tournament(values, part, half, first, state)
        sample[start:stop] = np.concatenate((part[first], part[~first]))
        todo.append((start, start + half))
        todo.append((start + half, stop))
    return sample


@njit(cache=True, nogil=True)
def _depth(size: int) -> int:
    depth = 0
    while (LEAF_SIZE << depth) < size:
        depth += 1
    return depth


@njit(cache=True, nogil=True)
def _tree_order(values: Int16) -> Int64:
    """All rows, in the order of the leaves of a balanced k-d tree.

    Node k of level l holds the places floor(k n / 2^l) to floor((k + 1) n / 2^l); it is split at its middle place
    along the dimension of largest variance, ties by row.
    """
    n = values.shape[0]
    units = np.arange(n)
    if values.shape[1] == 0:
        return units
    for level in range(_depth(n)):
        for k in range(1 << level):
            start, middle, stop = (n * k) >> level, (n * (2 * k + 1)) >> (level + 1), (n * (k + 1)) >> level
            part = units[start:stop]
            dim = _widest(values, part)
            packed = np.empty(part.size, np.int64)
            for i in range(part.size):
                packed[i] = (np.int64(values[part[i], dim]) << 32) + part[i]
            split_at(packed, middle - start)
            for i in range(part.size):
                part[i] = packed[i] & 0xFFFFFFFF
    return units


@njit(cache=True, nogil=True)
def _widest(values: Int16, units: Int64) -> int:
    """The dimension of largest variance; the first of equals."""
    total = np.zeros(values.shape[1], np.int64)
    square = np.zeros(values.shape[1], np.int64)
    for i in units:
        for k in range(values.shape[1]):
            value = np.int64(values[i, k])
            total[k] += value
            square[k] += value * value
    best, widest = -1.0, 0
    for k in range(values.shape[1]):
        mean = total[k] / units.size
        variance = square[k] / units.size - mean * mean
        if variance > best:
            best, widest = variance, k
    return widest


@njit(cache=True, nogil=True)
def _tournament(values: Int16, units: Int64, quota: int, chosen: Bool, state: UInt64) -> None:
    """Marks `quota` of `units`, which come in tree order, each with the probability quota / units.size."""
    n = units.size
    depth = _depth(n)
    mass = np.full(n, quota)  # probabilities in units of 1 / n
    undecided = np.empty(1 << depth, np.int64)
    for k in range(1 << depth):
        undecided[k] = _leaf(values, units, mass, (n * k) >> depth, (n * (k + 1)) >> depth, state)
    for level in range(depth - 1, -1, -1):
        for k in range(1 << level):
            undecided[k] = _duel(mass, undecided[2 * k], undecided[2 * k + 1], state)
    for i in range(n):
        chosen[i] = mass[i] == n


@njit(cache=True, nogil=True)
def _leaf(values: Int16, units: Int64, mass: Int64, start: int, stop: int, state: UInt64) -> int:
    """Duels between nearest neighbours until one place or none is undecided; returns it, or -1."""
    if mass[start] == mass.size:
        return -1
    waiting = np.arange(start, stop)
    count = waiting.size
    current = -1
    while count > 0:
        rival = count - 1
        if current >= 0:
            rival = _nearest(values, units, units[current], waiting[:count])
        other = waiting[rival]
        count -= 1
        waiting[rival] = waiting[count]
        current = _duel(mass, current, other, state)
    return current


@njit(cache=True, nogil=True)
def _nearest(values: Int16, units: Int64, row: int, places: Int64) -> int:
    """Position in `places` of the tile nearest to `row`; the first of equals."""
    best, nearest = np.int32(2**31 - 1), 0
    for i in range(places.size):
        other = units[places[i]]
        distance = np.int32(0)
        for k in range(values.shape[1]):
            step = np.int32(values[row, k]) - np.int32(values[other, k])
            distance = np.int32(distance + step * step)
        if distance < best:
            best, nearest = distance, i
    return nearest


@njit(cache=True, nogil=True)
def _duel(mass: Int64, i: int, j: int, state: UInt64) -> int:
    """Decides one or both of two places; returns the one still undecided, or -1. -1 is no place, and yields."""
    if i < 0 or j < 0:
        return max(i, j)
    n, total = mass.size, mass[i] + mass[j]
    if total <= n:
        winner, loser = (i, j) if _draw(total, state) < mass[i] else (j, i)
        mass[winner], mass[loser] = total, 0
        return winner if total < n else -1
    winner, loser = (i, j) if _draw(2 * n - total, state) < n - mass[j] else (j, i)
    mass[winner], mass[loser] = n, total - n
    return loser


@njit(cache=True, nogil=True)
def _draw(bound: int, state: UInt64) -> np.int64:
    """A uniform integer in [0, bound): SplitMix64, rejecting the incomplete last cycle."""
    limit = np.uint64(bound)
    while True:
        state[0] += np.uint64(0x9E3779B97F4A7C15)
        x = state[0]
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
        result = x % limit
        if x - result <= np.uint64(0) - limit:
            return np.int64(result)
