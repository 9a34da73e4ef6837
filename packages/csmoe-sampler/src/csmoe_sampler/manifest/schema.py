"""Columns and types of the manifest, and the manifest in memory: a table and its metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from csmoe_sampler.errors import ManifestError
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.types import Float32

SCHEMA_VERSION = 1
"""Grows when a column or a metadata field changes its meaning or goes away; additions leave it."""

BBOX = pa.struct([pa.field(edge, pa.float64(), nullable=False) for edge in ("xmin", "ymin", "xmax", "ymax")])

_PLACE = {
    "tile_id": pa.string(),
    "geometry": pa.binary(),
    "bbox": BBOX,
    "lon": pa.float64(),
    "lat": pa.float64(),
    "crs": pa.string(),
    "x_min": pa.float64(),
    "y_min": pa.float64(),
    "x_max": pa.float64(),
    "y_max": pa.float64(),
}
_DESIGN = {
    "landcover": pa.string(),
    "landcover_valid": pa.float32(),
    "landcover_entropy": pa.float32(),
    "landcover_classes": pa.int16(),
    "climate": pa.string(),
    "climate_share": pa.float32(),
    "stratum": pa.string(),
    "stratum_size": pa.int64(),
    "inclusion_probability": pa.float64(),
    "weight": pa.float64(),
    "rank": pa.int64(),
    "split": pa.string(),
}
NULLABLE = frozenset({"inclusion_probability"})
PURPOSIVE_OBJECTIVES = frozenset({"diverse", "kmeans"})
"""Objectives that are no probability design: their rows have no inclusion probability."""
CHIP = "chip"
"""Column that `fetch` adds: the row of the chip store, null where the tile has failed."""
SPLITS = ("train", "validation", "test", "buffer")


def schema_for(landcover_labels: Sequence[str], extra_columns: Mapping[str, pa.DataType] | None = None) -> pa.Schema:
    """The schema of a manifest whose thematic classes are `landcover_labels`.

    Args:
        landcover_labels: Labels of the land-cover legend, in its order; each gives a column `landcover_<label>`.
        extra_columns: Further columns (descriptors, scenes, chips) and their types; they are nullable and come last.

    Raises:
        ManifestError: Two columns would share a name.
    """
    shares = [(f"landcover_{label}", pa.float32()) for label in landcover_labels]
    fixed = [*_PLACE.items(), *shares, *_DESIGN.items()]
    extra = list((extra_columns or {}).items())
    names = [name for name, _ in [*fixed, *extra]]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ManifestError(f"manifest: two columns are called {', '.join(twice)}; rename the class or descriptor")
    return pa.schema(
        [pa.field(name, kind, nullable=name in NULLABLE) for name, kind in fixed]
        + [pa.field(name, kind) for name, kind in extra]
    )


@dataclass(frozen=True, kw_only=True)
class LegendClasses:
    """The classes of a legend as the metadata keeps it, in its order."""

    labels: tuple[str, ...]
    groups: tuple[str, ...]
    colors: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Manifest:
    """A manifest in memory."""

    table: pa.Table
    """One row a sample, sorted by `rank`; the columns of `schema_for`."""
    metadata: dict[str, Any]
    """The `csmoe` key of the file; docs/decisions/0004-manifest-schema.md describes its fields."""

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def grid(self) -> TileGrid:
        """The grid that the tile ids belong to."""
        return TileGrid(**self.metadata["grid"])

    @property
    def legends(self) -> dict[str, LegendClasses]:
        """The legends of all descriptors with class shares, by the descriptor's name."""
        return {
            name: LegendClasses(
                labels=tuple(legend["labels"]), groups=tuple(legend["groups"]), colors=tuple(legend["colors"])
            )
            for name, legend in self.metadata["legends"].items()
        }

    @property
    def landcover_labels(self) -> tuple[str, ...]:
        """Labels of the thematic classes, in the order of the legend."""
        return tuple(self.metadata["legends"]["landcover"]["labels"])

    def column(self, name: str) -> npt.NDArray[Any]:
        """A column as a numpy array; strings as objects, nulls of numbers as NaN."""
        return np.asarray(self.table[name].to_numpy())

    def landcover_shares(self) -> Float32:
        """Class shares, (rows, classes)."""
        return np.column_stack([self.column(f"landcover_{label}") for label in self.landcover_labels])

    def with_columns(self, columns: Mapping[str, pa.Array | pa.ChunkedArray]) -> Manifest:
        """This manifest with further columns after the others, declared in the metadata; same names are replaced."""
        table, declared = self.table, dict(self.metadata["extra_columns"])
        for name, values in columns.items():
            if name in table.column_names and name not in declared:
                raise ManifestError(f"manifest: column '{name}' belongs to the schema and cannot be replaced")
            if name in table.column_names:
                table = table.drop_columns([name])
            table = table.append_column(pa.field(name, values.type), values)
            declared.pop(name, None)
            declared[name] = str(values.type)
        return Manifest(table=table, metadata={**self.metadata, "extra_columns": declared})
