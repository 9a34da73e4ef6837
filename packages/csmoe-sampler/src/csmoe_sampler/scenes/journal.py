"""What has been brought of a catalogue, portion by portion: the snapshot that every later choice is made from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from csmoe_sampler.scenes.items import Found
from csmoe_sampler.scenes.table import SCENES
from csmoe_sampler.storage import write_parquet

_BATCH_SCENES = 1 << 15
_COUNTS = "csmoe_scenes"


@dataclass(frozen=True, kw_only=True)
class RequestPlan:
    """What a pairing asks of a service that is not in the journal yet."""

    requests: int
    bytes: int | None
    """To bring; None where the service has not told."""
    searches: int = 0
    """Cells to be searched: each takes one request a page, of which `requests` counts the first."""
    files: int = 0
    """Item tables to be brought or read."""


def portion_path(folder: Path, sensor: str, key: str) -> Path:
    """Where a portion of the scenes of a sensor is kept."""
    return folder / f"{sensor}-{key}.parquet"


def join(parts: Iterable[Found]) -> Found:
    """All scenes of several findings, sorted by item, each once."""
    tables, read, left_out = [SCENES.empty_table()], 0, Counter[str]()
    for part in parts:
        tables.append(part.table)
        read += part.read
        left_out += part.left_out
    table = pa.concat_tables(tables).sort_by("item")
    items = table["item"].combine_chunks()
    if len(items):
        fresh = np.asarray(pc.not_equal(items[1:], items[:-1]))
        table = table.filter(pa.array(np.concatenate([[True], fresh])))
    return Found(table=table, read=read, left_out=left_out)


def write_portion(path: Path, found: Found) -> None:
    """Keeps scenes, and how many were read and left out; raises StorageError."""
    counts = {"read": found.read, "left_out": dict(sorted(found.left_out.items()))}
    write_parquet(found.table, path, {_COUNTS: counts})


def read_portion(path: Path, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The scenes of a portion, in tables of bounded size."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH_SCENES, columns=columns):
            yield pa.table(batch).replace_schema_metadata(None)


def count_portions(paths: Iterable[Path]) -> dict[str, object]:
    """Numbers of scenes read, and left out by reason, over all portions."""
    read, left_out = 0, Counter[str]()
    for path in paths:
        counts = json.loads(pq.read_schema(path).metadata[_COUNTS.encode()])
        read += counts["read"]
        left_out += Counter(counts["left_out"])
    return {"read": read, "left_out": dict(sorted(left_out.items()))}


def num_scenes(paths: Iterable[Path]) -> int:
    """Rows of all portions."""
    total: int = sum(pq.read_metadata(path).num_rows for path in paths)
    return total
