"""Chips of an earlier store: where tile, scenes and recipe are the same, so are the bytes, and nothing is fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import xarray as xr

from csmoe_sampler.chips.journal import FETCHED, Journal, Outcome, journal_of
from csmoe_sampler.chips.layout import Layout
from csmoe_sampler.chips.store import ChipStore
from csmoe_sampler.errors import ChipError

Compressed = Mapping[int, Mapping[str, bytes]]
"""The bytes of a tile's chips, by season and array."""


class Earlier:
    """A finished store with its journal, open for taking chips; a context.

    Raises:
        ChipError: There is no store, or it is unfinished.
    """

    def __init__(self, path: Path) -> None:
        self._store, self._journal = ChipStore(path), Journal(journal_of(path))
        self._outcomes: dict[int, list[Outcome]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store.close()

    def take(self, row: int) -> tuple[Outcome, Compressed]:
        """What became of a row, and its chips, which are read once for their checksums; raises ChipError."""
        self._store.read(row)
        shard, place = divmod(row, self._store.layout.shard_chips)
        if shard not in self._outcomes:
            self._outcomes[shard] = self._journal.outcomes(shard)
        return self._outcomes[shard][place], self._store.compressed(row)


def rows_in(
    path: Path, layout: Layout, identity: Mapping[str, Any], columns: Mapping[str, npt.NDArray[Any]]
) -> list[int | None]:
    """For each row of a manifest the row of an earlier store that has its chips; None where they must be fetched.

    Args:
        path: The earlier store.
        layout: Of the store to be made.
        identity: What that is made from, as its journal notes it.
        columns: The coordinates that the manifest tells, see `TileTable.columns`.

    Raises:
        ChipError: The earlier store is unfinished, or was made by another recipe.
    """
    with ChipStore(path) as store:
        there = store.layout
    named = layout.seasons if len(there.seasons) == 1 else there.seasons  # a single one has no name
    same = replace(there, num_rows=layout.num_rows, seasons=named) == layout
    journal = Journal(journal_of(path))
    begun = journal.identity()
    other = [name for name in ("configuration", "provider") if begun.get(name) != identity[name]]
    if other or not same:
        raise ChipError(
            f"chip store {path}: was fetched with another {' and '.join(other or ['layout'])}, so that its chips are "
            "not those that are asked for: leave --reuse out"
        )
    with xr.open_zarr(path, chunks=None, mask_and_scale=False) as data:
        fetched = np.flatnonzero(data["status"].values == FETCHED).tolist()
        keys = _keys({name: data[name].values for name in columns})
    done = journal.done(there.num_shards)
    known = {keys[row]: row for row in fetched if row // there.shard_chips in done}
    return [known.get(key) for key in _keys(columns)]


def _keys(columns: Mapping[str, npt.NDArray[Any]]) -> Sequence[tuple[Any, ...]]:
    """Tile, place and items of each row; the times go with the items."""
    wanted = [column for name, column in columns.items() if not name.endswith("_time")]
    flat = [part for column in wanted for part in (column.T if column.ndim == 2 else [column])]
    return list(zip(*(part.tolist() for part in flat), strict=True))
