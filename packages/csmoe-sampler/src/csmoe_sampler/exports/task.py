"""What an export is given: a manifest, perhaps its chips; and the rows of the manifest, scene by scene."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from csmoe_sampler.manifest import Manifest
from csmoe_sampler.progress import Progress

ROWS_PER_BATCH = 10_000


@dataclass(frozen=True, kw_only=True)
class Task:
    """One export."""

    path: Path
    """File of the manifest."""
    manifest: Manifest
    chips: Path | None
    """A chip store."""
    progress: Progress

    @property
    def seasons(self) -> tuple[str, ...]:
        """Their names; one empty name where the scenes are not told apart by season."""
        named = tuple(self.manifest.metadata.get("scenes", {}).get("config", {}).get("seasons", ()))
        return named if len(named) > 1 else ("",)

    def batches(self, table: pa.Table | None = None) -> Iterator[pa.Table]:
        """Some thousand rows at a time, of the manifest by default; progress is told of each once it is dealt with."""
        table = self.manifest.table if table is None else table
        for first in range(0, table.num_rows, ROWS_PER_BATCH):
            piece = table.slice(first, ROWS_PER_BATCH)
            yield piece
            self.progress.advance(piece.num_rows)

    def scenes(self, season: str) -> pa.Table:
        """The rows that have scenes in a season; columns of the season without its name, those of others left out."""
        table = self.manifest.table
        for other in self.seasons if season else ():
            for name in [name for name in table.column_names if name.endswith(f"_{other}")]:
                if other == season:
                    table = table.rename_columns({name: name.removesuffix(f"_{other}")})
                else:
                    table = table.drop_columns([name])
        return table.filter(pc.is_valid(table["s2_item"]))


def record_name(tile_id: str, season: str) -> str:
    """Name of a tile's row in one season: `543U_17R`, `543U_17R_summer`."""
    return f"{tile_id}_{season}" if season else tile_id


def flat_columns(table: pa.Table) -> pa.Table:
    """All columns but geometry and bbox, none nested: times as ISO 8601 text, NaN as null."""
    columns: dict[str, Any] = {}
    for name in table.column_names:
        column, kind = table[name], table.schema.field(name).type
        if name in ("geometry", "bbox"):
            continue
        if pa.types.is_timestamp(kind):
            columns[name] = pc.strftime(pc.round_temporal(column, unit="millisecond"), "%Y-%m-%dT%H:%M:%SZ")
        elif pa.types.is_floating(kind):
            columns[name] = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
        else:
            columns[name] = column
    return pa.table(columns)
