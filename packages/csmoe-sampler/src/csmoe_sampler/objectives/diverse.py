"""Farthest-first selection: exact, in near-linear time, in compiled integer arithmetic.

Gonzalez (1985), "Clustering to minimize the maximum intercluster distance": taking the point farthest from all points
taken so far, again and again, covers the population with at most twice the optimal radius, for every prefix of the
order. The plain algorithm measures every point against every new one. Here the points lie in a balanced k-d tree whose
nodes know the largest distance below them; a new point only descends into nodes whose box comes closer than that, so
nothing that could change is missed and the order is the plain algorithm's, to the last point.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

from csmoe_sampler.objectives.quickselect import split_at

if TYPE_CHECKING:
    from csmoe_sampler.features import Features
    from csmoe_sampler.types import Int16, Int32, Int64, UInt64

LEAF_SIZE = 16
FAR = np.int32(2**31 - 1)


class Diverse:
    """Farthest-first traversal of a stratum; starts at the tile with the smallest key."""

    name = "diverse"
    probability_design = False
    nested = True
    alpha: float | None = None

    def order(self, features: Features, quota: int, rng_seed: int) -> Int64:
        """Row indices of the first `quota` tiles of the traversal; `rng_seed` is unused, the keys carry the seed."""
        return farthest_first(features.values, features.keys, quota)[0]


class Tree(NamedTuple):
    """A balanced k-d tree in preorder.

    A node of height h (leaves have 0) has its left child right behind it and its right child 2^h places after itself,
    so a descent reads memory forwards.
    """

    points: Int16
    keys: UInt64
    boxes: Int16
    """(node, lo | hi, d)"""
    first: Int64
    last: Int64
    """Node i owns the points [first[i], last[i])."""
    height: int


class Reach(NamedTuple):
    """How far the points are from those taken."""

    nearest: Int32
    """Squared distance of a point to the nearest taken one; -1 once it is taken itself."""
    farthest: Int32
    """Largest `nearest` below a node, ..."""
    candidate: Int64
    """... and the point that has it."""


def farthest_first(values: Int16, keys: UInt64, quota: int) -> tuple[Int64, Int32]:
    """The traversal and how far each point was from those before it.

    Args:
        values: (n, d) features; every squared distance between two rows must be below 2^31 - 1.
        keys: (n,) distinct; among equally far points the smallest key goes first.
        quota: Length of the traversal, 1 <= quota <= n.

    Returns:
        Row indices, and the squared distance of each to the nearest earlier one (2^31 - 1 for the first). The
        sequence of distances never increases; entry j is the squared covering radius of the first j points.
    """
    num_points = len(values)
    spread = values.max(axis=0).astype(np.int32) - values.min(axis=0)
    columns = np.flatnonzero(spread)
    if columns.size == 0:  # all alike: any order is a farthest-first order
        distance = np.zeros(quota, np.int32)
        distance[0] = FAR
        return np.argsort(keys, kind="stable")[:quota].astype(np.int64), distance
    values = np.ascontiguousarray(values[:, columns])
    height = max(0, int(np.ceil(np.log2(num_points / LEAF_SIZE))))
    place = np.arange(num_points, dtype=np.int64)
    boxes, first, last = _build_tree(values, place, height)
    order, distance = _traverse(Tree(values[place], keys[place], boxes, first, last, height), quota)
    return place[order], distance


@njit(cache=True, nogil=True)
def _build_tree(values: Int16, place: Int64, height: int) -> tuple[Int16, Int64, Int64]:
    """Reorders `place` so that every node owns the half-open range [first, last) of it; boxes are (node, lo|hi, d)."""
    num_points, num_dims = values.shape
    num_nodes = 2 ** (height + 1) - 1
    boxes = np.empty((num_nodes, 2, num_dims), np.int16)
    first = np.zeros(num_nodes, np.int64)
    last = np.zeros(num_nodes, np.int64)
    heights = np.zeros(num_nodes, np.int64)
    last[0], heights[0] = num_points, height
    for node in range(num_nodes):
        boxes[node, 0], boxes[node, 1] = values[place[first[node]]], values[place[first[node]]]
        for i in range(first[node], last[node]):
            row = values[place[i]]
            for k in range(num_dims):
                boxes[node, 0, k] = min(boxes[node, 0, k], row[k])
                boxes[node, 1, k] = max(boxes[node, 1, k], row[k])
        if heights[node] == 0:
            continue
        widest, width = 0, np.int64(-1)
        for k in range(num_dims):
            extent = np.int64(boxes[node, 1, k]) - np.int64(boxes[node, 0, k])
            if extent > width:
                widest, width = k, extent
        middle = int((first[node] + last[node]) // 2)
        items = np.empty(last[node] - first[node], np.int64)  # value above, point below
        for i in range(items.size):
            point = place[first[node] + i]
            items[i] = (np.int64(values[point, widest]) << 32) | point
        split_at(items, middle - first[node])
        place[first[node] : last[node]] = items & 0xFFFFFFFF
        left, right = node + 1, node + 2 ** heights[node]
        first[left], last[left], heights[left] = first[node], middle, heights[node] - 1
        first[right], last[right], heights[right] = middle, last[node], heights[node] - 1
    return boxes, first, last


@njit(cache=True, nogil=True)
def _traverse(tree: Tree, quota: int) -> tuple[Int64, Int32]:
    num_points, num_nodes = len(tree.points), len(tree.boxes)
    reach = Reach(np.full(num_points, FAR, np.int32), np.full(num_nodes, FAR, np.int32), np.zeros(num_nodes, np.int64))
    order = np.empty(quota, np.int64)
    distance = np.empty(quota, np.int32)
    taken = int(np.argmin(tree.keys))
    radius = FAR
    for rank in range(quota):
        order[rank], distance[rank] = taken, radius
        _cover(tree, reach, tree.points[taken])
        reach.nearest[taken] = -1  # never again, not even among points that coincide with it
        _refresh_path(tree, reach, taken)
        taken, radius = reach.candidate[0], reach.farthest[0]
    return order, distance


@njit(cache=True, nogil=True)
def _cover(tree: Tree, reach: Reach, point: Int16) -> None:
    """Brings `reach` up to date with a newly taken point."""
    height = tree.height
    stack = np.empty(2 * height + 2, np.int64)  # node * 128 + its height * 2 + (1 on the way back up)
    stack[0], depth = height * 2, 1
    while depth > 0:
        depth -= 1
        node, level, returning = stack[depth] >> 7, (stack[depth] >> 1) & 63, stack[depth] & 1
        if returning:
            _refresh_inner(tree, reach, node, level)
        elif _box_distance(point, tree.boxes[node]) < reach.farthest[node]:
            if level == 0:
                for i in range(tree.first[node], tree.last[node]):
                    reach.nearest[i] = min(reach.nearest[i], _distance(point, tree.points[i]))
                _refresh_leaf(tree, reach, node)
            else:
                stack[depth] = (node << 7) | (level << 1) | 1
                stack[depth + 1] = ((node + (1 << level)) << 7) | ((level - 1) << 1)
                stack[depth + 2] = ((node + 1) << 7) | ((level - 1) << 1)
                depth += 3


@njit(cache=True, nogil=True)
def _refresh_path(tree: Tree, reach: Reach, point: int) -> None:
    """Refreshes the leaf that owns `point` and all nodes above it."""
    path = np.empty(tree.height + 1, np.int64)
    node = 0
    for level in range(tree.height, 0, -1):
        path[level] = node
        right = node + (1 << level)
        node = right if point >= tree.first[right] else node + 1
    _refresh_leaf(tree, reach, node)
    for level in range(1, tree.height + 1):
        _refresh_inner(tree, reach, path[level], level)


@njit(cache=True, nogil=True, inline="always")
def _refresh_leaf(tree: Tree, reach: Reach, node: int) -> None:
    nearest, keys = reach.nearest, tree.keys
    best = tree.first[node]
    for i in range(tree.first[node] + 1, tree.last[node]):
        if nearest[i] > nearest[best] or (nearest[i] == nearest[best] and keys[i] < keys[best]):
            best = i
    reach.farthest[node], reach.candidate[node] = nearest[best], best


@njit(cache=True, nogil=True, inline="always")
def _refresh_inner(tree: Tree, reach: Reach, node: int, level: int) -> None:
    farthest, candidate = reach.farthest, reach.candidate
    left, right = node + 1, node + (1 << level)
    tie = farthest[right] == farthest[left] and tree.keys[candidate[right]] < tree.keys[candidate[left]]
    best = right if farthest[right] > farthest[left] or tie else left
    farthest[node], candidate[node] = farthest[best], candidate[best]


@njit(cache=True, nogil=True, inline="always")
def _distance(a: Int16, b: Int16) -> np.int32:
    total = np.int32(0)
    for k in range(len(a)):
        difference = np.int32(np.int32(a[k]) - np.int32(b[k]))
        total = np.int32(total + np.int32(difference * difference))
    return total


@njit(cache=True, nogil=True, inline="always")
def _box_distance(point: Int16, box: Int16) -> np.int32:
    """Squared distance to the closest place of a box (lo, hi); 0 inside."""
    total = np.int32(0)
    for k in range(len(point)):
        closest = min(max(point[k], box[0, k]), box[1, k])
        outside = np.int32(np.int32(point[k]) - np.int32(closest))
        total = np.int32(total + np.int32(outside * outside))
    return total
