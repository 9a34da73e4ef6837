"""Strata: climate class x dominant land-cover class, the sparse ones pooled upwards in both hierarchies.

A label is `climate|landcover`, each side at its own level:

| level | example | holds the tiles of |
|---|---|---|
| 0 | `Cfb|tree_cover` | one climate, one land-cover class |
| 1 | `Cfb|group:trees` | one climate, the sparse classes of one legend group |
| 2 | `Cfb|*` | one climate, its classes that were still sparse |
| 3 | `group:C|*` | one main climate, its climates that were still sparse |
| 4 | `*|*` | everything that was still sparse |

At each level only what is sparse pools, and only with its like: a cell or pool that has reached `min_size` is a
stratum and stays as it is, so that `Cfb|*` means "the rest of Cfb". A pool that is still sparse rises to the next
level, unless nothing else is sparse: then it has nothing to gain by rising, and stays as the only stratum below
`min_size`.
A tile without a known class has the class and the group `unknown`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from csmoe_sampler.errors import SelectionError
from csmoe_sampler.types import Int16, Int32, Int64

UNKNOWN = "unknown"


class Classes(Protocol):
    """What is asked of a legend: its classes in order, and the group that each belongs to."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes."""

    @property
    def groups(self) -> tuple[str, ...]:
        """Group of each class."""


@dataclass(frozen=True, kw_only=True)
class Strata:
    """A partition of the tiles; strata are ordered by level, climate and land cover, the latter as in the legends."""

    labels: tuple[str, ...]
    of_tile: Int32
    """Stratum of each tile."""
    size: Int64
    """Number of tiles of each stratum, all positive."""
    level: Int64
    """0 (one climate, one class) to 4 (the rest of everything)."""

    def __len__(self) -> int:
        return len(self.labels)


def stratify(
    climate: Int16, landcover: Int16, climate_legend: Classes, landcover_legend: Classes, min_size: int
) -> Strata:
    """The strata of the tiles.

    Args:
        climate: Position in the climate legend of each tile's dominant class; negative: unknown.
        landcover: The same in the land-cover legend.
        climate_legend: The climate classes; groups are the main climates.
        landcover_legend: The land-cover classes.
        min_size: Fewer tiles than this make a cell sparse.

    Raises:
        SelectionError: The two arrays differ in length, or hold a position that their legend does not have.
    """
    if climate.shape != landcover.shape:
        raise SelectionError(
            f"strata: {climate.size} climate codes but {landcover.size} land-cover codes: each tile needs both"
        )
    climates = _Axis("climate", climate_legend)
    covers = _Axis("land cover", landcover_legend)
    cell_of_tile = climates.positions(climate) * covers.size + covers.positions(landcover)
    count = np.bincount(cell_of_tile, minlength=climates.size * covers.size)
    stratum_of_cell = np.full(count.size, -1, np.int32)
    labels: list[str] = []
    sizes: list[int] = []
    levels: list[int] = []
    for level, label, cells in _pools(count, climates, covers, min_size):
        stratum_of_cell[cells] = len(labels)
        labels.append(label)
        sizes.append(int(count[cells].sum()))
        levels.append(level)
    return Strata(
        labels=tuple(labels),
        of_tile=stratum_of_cell[cell_of_tile],
        size=np.array(sizes, np.int64),
        level=np.array(levels, np.int64),
    )


class _Axis:
    """The classes of one legend with `unknown` appended, and their groups in order of appearance."""

    def __init__(self, name: str, legend: Classes) -> None:
        self.name = name
        self.labels = (*legend.labels, UNKNOWN)
        groups = (*legend.groups, UNKNOWN)
        self.group_labels = tuple(dict.fromkeys(groups))
        self.group_of = np.array([self.group_labels.index(g) for g in groups], np.int64)
        self.size = len(self.labels)

    def positions(self, codes: Int16) -> Int64:
        """Codes as positions in `labels`."""
        if codes.size and codes.max() >= self.size - 1:
            raise SelectionError(
                f"strata: {self.name} code {codes.max()} in a legend of {self.size - 1} classes: "
                f"codes are positions in the legend, negative where unknown"
            )
        return np.where(codes < 0, self.size - 1, codes).astype(np.int64)


def _pools(count: Int64, climates: _Axis, covers: _Axis, min_size: int) -> Iterator[tuple[int, str, Int64]]:
    """Level, label and cells of each stratum, in order."""
    pending = np.flatnonzero(count)
    for level, (key_of_cell, labels) in enumerate(_levels(climates, covers)):
        keys, pool = np.unique(key_of_cell[pending], return_inverse=True)
        size = np.bincount(pool, weights=count[pending]).astype(np.int64)
        final = (size >= min_size) | (keys.size == 1)
        for k in np.flatnonzero(final):
            yield level, labels[keys[k]], pending[pool == k]
        pending = pending[~final[pool]]


def _levels(climates: _Axis, covers: _Axis) -> Iterator[tuple[Int64, Sequence[str]]]:
    """For each level the key of every cell, ascending in legend order, and the label of each key."""
    climate, cover = np.divmod(np.arange(climates.size * covers.size), covers.size)
    groups = covers.group_labels
    yield climate * covers.size + cover, [f"{c}|{v}" for c in climates.labels for v in covers.labels]
    yield (
        climate * len(groups) + covers.group_of[cover],
        [f"{c}|group:{g}" for c in climates.labels for g in groups],
    )
    yield climate, [f"{c}|*" for c in climates.labels]
    yield climates.group_of[climate], [f"group:{g}|*" for g in climates.group_labels]
    yield np.zeros_like(climate), ["*|*"]
