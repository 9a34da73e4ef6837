"""Scenes that are chosen so far, each once, without their outlines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from csmoe_sampler.types import Int64

_ALL_ALIKE = ("collection", "platform", "orbit", "files")
"""Columns with few values, which are kept as dictionaries."""


class Pool:
    """Rows of `SCENES` tables by number; a scene that comes again has its old number."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = list(columns)
        self._tables: list[pa.Table] = []
        self._number: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._number)

    def add(self, table: pa.Table) -> Int64:
        """The numbers of the rows of `table`."""
        items = table["item"].to_pylist()
        fresh = []
        for row, item in enumerate(items):
            if item not in self._number:
                self._number[item] = len(self._number)
                fresh.append(row)
        if fresh:
            rows = table.select(self._columns).take(pa.array(fresh))
            for name in set(_ALL_ALIKE) & set(self._columns):
                column = rows[name].combine_chunks().dictionary_encode()
                rows = rows.set_column(rows.column_names.index(name), name, column)
            self._tables.append(rows)
        return np.array([self._number[item] for item in items], np.int64)

    def items(self) -> npt.NDArray[np.object_]:
        """Ids by number."""
        return np.array(list(self._number), object)

    def take(self, numbers: Int64) -> dict[str, pa.Array]:
        """Columns of the scenes of these numbers; null where a number is -1."""
        if not self._tables:
            return {name: pa.nulls(len(numbers)) for name in self._columns}
        whole = pa.concat_tables(self._tables).unify_dictionaries().combine_chunks()
        rows = whole.take(pa.array(numbers, mask=numbers < 0))
        return {name: rows[name].combine_chunks() for name in self._columns}

    def keep(self, numbers: Int64) -> Int64:
        """Forgets all scenes but these (ascending numbers); gives old number -> new number, -1 for forgotten ones."""
        items = self.items()
        moved = np.full(len(items) + 1, -1, np.int64)  # the last entry is that of -1
        moved[numbers] = np.arange(len(numbers))
        if self._tables:
            whole = pa.concat_tables(self._tables).unify_dictionaries()
            self._tables = [whole.take(pa.array(numbers)).combine_chunks()]
        self._number = {item: number for number, item in enumerate(items[numbers])}
        return moved
