"""A chip store with any column of its manifest as label: land cover, climate, or what a user has added."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from csmoe_model.data.manifest import read_rows
from csmoe_model.data.store import ChipStore
from csmoe_model.errors import ConfigError, DataError
from csmoe_model.evaluation.dataset import SPLITS, Bands, EvaluationSet, Float32, Strings, Unit
from csmoe_model.evaluation.layouts.options import LayoutOptions
from csmoe_model.evaluation.layouts.readers import Unmasked


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipReader(Unmasked):
    """Rows of a store, the first season that has pixels."""

    store: ChipStore
    rows: tuple[int, ...]

    def images(self, sample: int) -> dict[str, Float32]:
        """See `Reader`."""
        row = self.rows[sample]
        season = self.store.seasons_of(row)[0]
        read = {name: self.store.read(row, name, bands, season) for name, bands in self.store.bands.items()}
        return {name: pixels for name, pixels in read.items() if np.isfinite(pixels).any()}


def recognises(path: Path) -> bool:
    """Whether there is a Zarr group."""
    return (path / "zarr.json").is_file()


def open_chips(path: Path, options: LayoutOptions) -> EvaluationSet:
    """The chips of a manifest, labelled by one of its columns.

    Raises:
        ConfigError: The manifest is not given.
        DataError: Store or manifest cannot be used, or the column holds no classes.
    """
    if options.manifest is None:
        raise ConfigError(f"chip store {path}: the labels are in its manifest: give --manifest too")
    store = ChipStore(path)
    rows = read_rows(options.manifest, store)
    column = options.label or "landcover"
    values = _column(options.manifest, column)
    used, labelled = np.isin(rows.split, SPLITS), values != ""
    notes = [f"labels: column {column} of the manifest"]
    if len(store.seasons) > 1:
        notes.append(f"of the seasons {', '.join(store.seasons)} the first that a chip has")
    if left_out := int((~used).sum()):
        notes.append(f"left out: {left_out:,} of other splits ({', '.join(sorted({*rows.split[~used].tolist()}))})")
    if left_out := int((used & ~labelled).sum()):
        notes.append(f"left out: {left_out:,} without a label")
    keep = used & labelled
    if not keep.any():
        raise DataError(f"manifest {options.manifest}: no row with a chip is left: {'; '.join(notes)}")
    kept = rows.take(keep)
    classes, labels = np.unique(values[keep], return_inverse=True)
    return EvaluationSet(
        name=f"chips by {column}",
        task="single_label",
        sensors={name: _bands(store, name) for name in store.bands},
        classes=tuple(classes.tolist()),
        ids=_ids(kept.tile_id, kept.chip.tolist()),
        split=kept.split,
        labels=labels.astype(np.int64),
        reader=ChipReader(store=store, rows=tuple(kept.chip.tolist())),
        group=kept.tile_id,
        lon_lat=np.stack([kept.lon, kept.lat], 1),
        notes=tuple(notes),
    )


def _column(manifest: Path, name: str) -> Strings:
    """(N,) Of the rows that have a chip, in the order of `read_rows`; empty where there is no label."""
    schema = pq.read_schema(manifest)
    if name not in schema.names:
        raise DataError(f"manifest {manifest}: has no column {name} (it has {', '.join(schema.names)})")
    table = pq.read_table(manifest, columns=list({"chip", name}))
    values = table.filter(pc.is_valid(table["chip"]))[name]
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if not any(fits(kind) for fits in (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer)):
        raise DataError(f"manifest {manifest}: column {name} is of {kind}: classes are texts or whole numbers")
    return np.asarray(pc.fill_null(values.cast(pa.string()), "")).astype(np.str_)


def _ids(tiles: Strings, chips: list[int]) -> Strings:
    """Tiles, with the row where one stands twice."""
    if len(np.unique(tiles)) == len(tiles):
        return tiles
    return np.array([f"{tile}/{chip}" for tile, chip in zip(tiles.tolist(), chips, strict=True)], np.str_)


def _bands(store: ChipStore, sensor: str) -> Bands:
    own = store.unit(sensor)
    unit: Unit | None = next((known for known in get_args(Unit) if known == own), None)
    if unit is None:
        raise DataError(
            f"chip store {store.path}: sensor '{sensor}' is in '{own}': evaluation knows {', '.join(get_args(Unit))}"
        )
    return Bands(names=store.bands[sensor], unit=unit, gsd_m=store.gsd_m or 10.0)
