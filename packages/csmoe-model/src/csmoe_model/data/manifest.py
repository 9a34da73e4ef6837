"""The rows of a manifest that have chips, and whether a chip store is the manifest's own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from csmoe_model.data.store import ChipStore
from csmoe_model.errors import DataError

_TEXTS = ("tile_id", "split", "landcover", "climate")
_NUMBERS = ("chip", "weight", "lon", "lat")
_ABOUT = ("region", "seed", "config_digest", "package_version")


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """The rows of a manifest that have chips, in its order."""

    origin: Path
    """The manifest."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Its region, seed and digest of the configuration, as far as it tells."""
    chip: npt.NDArray[np.int64]
    """Row of the store."""
    tile_id: npt.NDArray[np.str_]
    split: npt.NDArray[np.str_]
    weight: npt.NDArray[np.float64]
    landcover: npt.NDArray[np.str_]
    climate: npt.NDArray[np.str_]
    lon: npt.NDArray[np.float64]
    lat: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.chip)

    def take(self, keep: npt.NDArray[Any]) -> Rows:
        """Some of them, by number or by a mask."""
        names = [one.name for one in fields(self) if one.name not in ("origin", "about")]
        return Rows(origin=self.origin, about=self.about, **{name: getattr(self, name)[keep] for name in names})

    def of_split(self, split: str, *, least: int = 0) -> Rows:
        """Those of a split.

        Raises:
            DataError: They are fewer than `least`.
        """
        found = self.take(self.split == split)
        if len(found) < least:
            has = ", ".join(f"{name} {count:,}" for name, count in sorted(Counter(self.split.tolist()).items()))
            raise DataError(
                f"manifest {self.origin}: {len(found):,} rows of split '{split}' have a chip, {least:,} are needed "
                f"(chips by split: {has or 'none'})"
            )
        return found


def read_rows(manifest: Path, store: ChipStore) -> Rows:
    """The rows of a manifest whose chips are in the store.

    A part of the store's manifest will do, say its first rows, which are a smaller sample by themselves.

    Raises:
        DataError: The manifest is none, has no chips, or the store belongs to another.
    """
    table, metadata = _read(manifest)
    missing = [name for name in (*_TEXTS, *_NUMBERS) if name not in table.column_names]
    if missing:
        advice = "run `csmoe-sample fetch` on it first" if "chip" in missing else "is it one of csmoe-sampler's?"
        raise DataError(f"manifest {manifest}: has no column {', '.join(missing)}: {advice}")
    table = table.filter(pc.is_valid(table["chip"]))
    if not table.num_rows:
        raise DataError(f"manifest {manifest}: no row has a chip: look at the failures that fetch has listed")
    texts: dict[str, Any] = {
        name: np.asarray(pc.fill_null(table[name].cast(pa.string()), "")).astype(np.str_) for name in _TEXTS
    }
    numbers: dict[str, Any] = {name: np.asarray(table[name].cast(pa.float64())) for name in _NUMBERS[1:]}
    about = {name: metadata[name] for name in _ABOUT if name in metadata}
    rows = Rows(origin=manifest, about=about, chip=np.asarray(table["chip"].cast(pa.int64())), **texts, **numbers)
    _check_owner(rows, metadata, store)
    return rows


def _read(manifest: Path) -> tuple[pa.Table, Mapping[str, Any]]:
    try:
        with pq.ParquetFile(manifest) as file:
            names = [name for name in (*_TEXTS, *_NUMBERS) if name in file.schema_arrow.names]
            metadata = (file.schema_arrow.metadata or {}).get(b"csmoe", b"{}")
            table = file.read(names)
    except FileNotFoundError as error:
        raise DataError(f"manifest {manifest}: no such file: check the path") from error
    except (pa.ArrowException, ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"manifest {manifest}: cannot be read as Parquet ({reason}): check the path") from error
    try:
        return table, dict(json.loads(metadata))
    except ValueError as error:
        raise DataError(
            f"manifest {manifest}: its metadata 'csmoe' are no JSON: take the file as it was written"
        ) from error


def _check_owner(rows: Rows, metadata: Mapping[str, Any], store: ChipStore) -> None:
    """Raises DataError where the store was fetched from another manifest.

    The digest of the configuration tells most; the tile of every row tells the rest: the same configuration drawn from
    other sources, other scenes that have made others of the tiles give way.
    """
    owner = store.about.get("manifest", {})
    found = {
        "config_digest": metadata.get("config_digest"),
        "scenes_digest": metadata.get("scenes", {}).get("config_digest"),
    }
    differing = [key for key, value in found.items() if value and owner.get(key) and owner[key] != value]
    tiles = store.tile_ids()
    if differing:
        reason = f"its {differing[0]} is {owner[differing[0]][:12]}…, the manifest's {found[differing[0]][:12]}…"
    elif rows.chip.min() < 0 or rows.chip.max() >= store.num_rows:
        reason = f"it has {store.num_rows:,} rows, the manifest names row {rows.chip.max():,}"
    elif tiles is not None and (other := tiles[rows.chip].astype(object) != rows.tile_id).any():
        first = int(other.argmax())
        reason = f"its row {rows.chip[first]} is tile {tiles[rows.chip[first]]}, the manifest's {rows.tile_id[first]}"
    else:
        return
    raise DataError(
        f"chip store {store.path}: belongs to another manifest than {rows.origin} ({reason}): give the two "
        "that go together"
    )
