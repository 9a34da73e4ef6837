"""What is on disk: `_atlas.json` (which grid, which sources, which tiles) and the parts (the rows, what was seen)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from csmoe_sampler.atlas.tile_sets import TileSet
from csmoe_sampler.errors import AtlasError
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.storage import write_json, write_parquet
from csmoe_sampler.types import Descriptor

SCHEMA_VERSION = 1
RECORD = "_atlas.json"
PLACE_COLUMNS = {"tile": "int64", "tile_id": "str", "lon": "float64", "lat": "float64"}
_KEY = "csmoe"


@dataclass(frozen=True, kw_only=True)
class Described:
    """A descriptor as an atlas remembers it."""

    name: str
    columns: dict[str, str]
    """Column name -> numpy dtype name."""
    provenance: dict[str, Any]

    @classmethod
    def by(cls, descriptor: Descriptor) -> Described:
        """What an atlas remembers of `descriptor`."""
        provenance = json.loads(json.dumps(descriptor.provenance()))
        return cls(name=descriptor.name, columns=dict(descriptor.columns), provenance=provenance)

    @cached_property
    def digest(self) -> str:
        """`sha256:` and 64 hexadecimal digits; equal digests mean equal columns."""
        text = json.dumps([self.name, list(self.columns.items()), self.provenance], sort_keys=True)
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Atlas:
    """What an atlas holds or, until `describe` has ended, is going to hold."""

    path: Path
    grid: TileGrid
    block_deg: int
    """Edge of the blocks; fixed by the first run."""
    descriptors: tuple[Described, ...]
    """In the order of their columns; the first decides which tiles have land."""
    asked: TileSet
    """The tiles of all runs."""

    @property
    def columns(self) -> dict[str, str]:
        """Column name -> numpy dtype name, in the order of the table."""
        return PLACE_COLUMNS | {name: dtype for d in self.descriptors for name, dtype in d.columns.items()}

    @property
    def provenance(self) -> dict[str, Any]:
        """Descriptor name -> sources with version and hash, legend, options."""
        return {descriptor.name: descriptor.provenance for descriptor in self.descriptors}

    @property
    def num_tiles(self) -> int:
        """Tiles with land in the parts that are there; opens each."""
        return sum(open_part(self, path).num_rows for path in self.parts())

    def part(self, block: str) -> Path:
        """The file of a block."""
        return self.path / f"{block}.parquet"

    def parts(self) -> list[Path]:
        """The files that are there, in the order of their names."""
        return sorted(self.path.glob("[!._]*.parquet"))


def open_atlas(path: Path) -> Atlas:
    """The atlas in a folder; its parts are not looked at.

    Raises:
        AtlasError: There is none, its record is damaged, or another version has written it.
    """
    try:
        record = json.loads((path / RECORD).read_text(encoding="utf-8"))
        if record["schema"] != SCHEMA_VERSION:
            raise AtlasError(
                f"atlas {path} has format {record['schema']}, this version reads {SCHEMA_VERSION}: describe it anew"
            )
        return Atlas(
            path=path,
            grid=TileGrid(**record["grid"]),
            block_deg=record["block_deg"],
            descriptors=tuple(Described(**descriptor) for descriptor in record["descriptors"]),
            asked=TileSet.parse(record["tiles"]),
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AtlasError(f"{path} is no atlas, it holds no {RECORD}: write one with describe") from error
    except (KeyError, TypeError, ValueError) as error:
        raise AtlasError(f"{path / RECORD} is damaged ({error}): remove the atlas and describe it anew") from error


def save_atlas(atlas: Atlas) -> None:
    """Writes the record; raises StorageError."""
    described = [{"name": d.name, "columns": d.columns, "provenance": d.provenance} for d in atlas.descriptors]
    record = {
        "schema": SCHEMA_VERSION,
        "grid": _grid_json(atlas),
        "block_deg": atlas.block_deg,
        "descriptors": described,
        "tiles": atlas.asked.text,
    }
    write_json(atlas.path / RECORD, record)


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """What a part says of itself."""

    descriptors: frozenset[str]
    """Names."""
    seen: TileSet
    """Tiles that were described; the rows are those among them with land."""
    num_rows: int


def open_part(atlas: Atlas, path: Path) -> Part:
    """What a part says of itself; raises AtlasError as `read_part`."""
    return read_part(atlas, path, ())[0]


def read_part(atlas: Atlas, path: Path, columns: Iterable[str]) -> tuple[Part, pa.Table]:
    """A part, and those of `columns` that it has.

    Raises:
        AtlasError: The file is damaged, or is no part of this atlas.
    """
    try:
        with pq.ParquetFile(path, memory_map=True, page_checksum_verification=True) as file:
            part = _check_part(atlas, path, file)
            there = set(file.schema_arrow.names)
            table = file.read([name for name in columns if name in there], use_threads=False)
            return part, table.replace_schema_metadata(None)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise AtlasError(f"{path} is damaged ({error}): delete this file and run describe again") from error


def write_part(atlas: Atlas, block: str, descriptors: Iterable[str], seen: TileSet, rows: pa.Table) -> None:
    """Writes a part, the same bytes for the same rows however they came about; raises StorageError."""
    digests = {d.name: d.digest for d in atlas.descriptors if d.name in set(descriptors)}
    metadata = _identity(atlas, block) | {"descriptors": digests, "tiles": seen.text}
    rows = rows.select([name for name in atlas.columns if name in rows.column_names])
    if (np.diff(rows["tile"].to_numpy()) < 0).any():
        rows = rows.sort_by("tile")
    write_parquet(rows, atlas.part(block), {_KEY: metadata})


def table_of(columns: dict[str, Any], dtypes: dict[str, str]) -> pa.Table:
    """Arrays as a table of columns without nulls."""
    fields = [
        pa.field(name, pa.string() if dtypes[name] == "str" else pa.from_numpy_dtype(np.dtype(dtypes[name])), False)
        for name in columns
    ]
    return pa.table([pa.array(column) for column in columns.values()], schema=pa.schema(fields))


def empty_table(atlas: Atlas, names: Sequence[str]) -> pa.Table:
    """No rows of columns of an atlas."""
    return table_of({name: np.empty(0, atlas.columns[name]) for name in names}, atlas.columns)


def _grid_json(atlas: Atlas) -> dict[str, float]:
    return {"spacing_km": float(atlas.grid.spacing_km), "lat_max_deg": float(atlas.grid.lat_max_deg)}


def _identity(atlas: Atlas, block: str) -> dict[str, Any]:
    return {"schema": SCHEMA_VERSION, "grid": _grid_json(atlas), "block_deg": atlas.block_deg, "block": block}


def _check_part(atlas: Atlas, path: Path, file: pq.ParquetFile) -> Part:
    metadata = json.loads((file.schema_arrow.metadata or {}).get(_KEY.encode(), b"{}"))
    digests = {d.name: d.digest for d in atlas.descriptors}
    identity = _identity(atlas, path.stem)
    if not identity.items() <= metadata.items() or not metadata["descriptors"].items() <= digests.items():
        raise AtlasError(f"{path} is no part of this atlas: remove it from the folder, then run describe again")
    return Part(
        descriptors=frozenset(metadata["descriptors"]),
        seen=TileSet.parse(metadata["tiles"]),
        num_rows=file.metadata.num_rows,
    )
