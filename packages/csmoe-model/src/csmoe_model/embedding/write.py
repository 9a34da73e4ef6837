"""Embeddings as one GeoParquet file, written in parts that a killed run leaves behind for the next.

    out.parquet.parts/part-00000.parquet ...  ->  out.parquet

A part holds whole batches and has its name once it is whole. So it makes no difference where a run was killed: the file
has the same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from csmoe_model.embedding.embedder import EmbeddedBatch, Embedder
from csmoe_model.embedding.layout import GEOMETRY_TYPES, geo_metadata
from csmoe_model.errors import ConfigError, DataError

_PART_ROWS = 8192
"""Rows in a part, about."""
_FORMAT: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["sensor", "timestamp", "product_id", "grid_cell", "utm_crs"],
}
_KEY = b"csmoe"


@dataclass(kw_only=True)
class Embedded:
    """What has come of it."""

    rows: int
    missing: dict[str, int]
    """Tiles without a sensor, hence without rows of it."""
    num_made: int = 0
    """Tiles of this run; the others were there."""
    seconds: float = 0.0
    """That it took to make these."""
    waited_s: float = 0.0
    """Of these, for pixels."""


def write_embeddings(embedder: Embedder, out: Path, advance: Callable[[int], Any] = lambda _: None) -> Embedded:
    """Writes the file, going on with what an earlier run has left in `<out>.parts`.

    Args:
        embedder: What makes the rows.
        out: The file; one that is there already, made from the same inputs, is left as it is.
        advance: Told how many tiles more are done.

    Raises:
        ConfigError: There is another file, or there are parts of other inputs.
        DataError: A chip cannot be read, features are not finite, or the disk is full.
    """
    folder = out.with_name(f"{out.name}.parts")
    if out.exists():
        about = _checked(out, embedder, "choose another --out")
        shutil.rmtree(folder, ignore_errors=True)
        advance(embedder.num_tiles)
        return Embedded(rows=about["rows"], missing=about["missing"])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        work = _make_parts(embedder, folder, advance)
        about = _join(_part_paths(embedder, folder), out)
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error}): free space, or choose another --out") from error
    shutil.rmtree(folder)
    return Embedded(rows=about["rows"], missing=about["missing"], **work)


def _make_parts(embedder: Embedder, folder: Path, advance: Callable[[int], Any]) -> dict[str, Any]:
    """Makes the parts that are not there."""
    paths = _part_paths(embedder, folder)
    there = next((k for k, path in enumerate(paths) if not path.exists()), len(paths))
    for path in paths[:there]:
        _checked(path, embedder, f"remove {folder}, or choose another --out")
    size = _batches_a_part(embedder)
    advance(min(there * size * embedder.config.batch, embedder.num_tiles))
    work = {"num_made": 0, "seconds": 0.0, "waited_s": 0.0}
    started = time.perf_counter()
    batches = embedder.batches(there * size)
    for path in paths[there:]:
        made = []
        for batch in islice(batches, size):
            made.append(batch)
            work["num_made"] += batch.num_tiles
            work["waited_s"] += batch.waited_s
            advance(batch.num_tiles)
        _write_part(path, made, embedder.inputs)
    work["seconds"] = time.perf_counter() - started
    return work


def _write_part(path: Path, made: list[EmbeddedBatch], inputs: dict[str, Any]) -> None:
    table = pa.Table.from_batches([batch.rows for batch in made])
    extents = np.concatenate([batch.extents for batch in made])
    kinds = {GEOMETRY_TYPES[blob[1]] for blob in table["geometry"].to_pylist()}
    about = {
        "inputs": inputs,
        "rows": len(table),
        "missing": dict(sum((Counter(batch.missing) for batch in made), Counter())),
        "bbox": [*extents[:, :2].min(0).tolist(), *extents[:, 2:].max(0).tolist()],
        "geometry_types": sorted(kinds),
    }
    with _replacing(path) as draft:
        pq.write_table(table.replace_schema_metadata({_KEY: _json(about)}), draft, **_FORMAT)


def _join(paths: list[Path], out: Path) -> dict[str, Any]:
    """One file of all parts, a row group each; what it tells of itself."""
    parts = [_about(path) for path in paths]
    bbox = np.array([part["bbox"] for part in parts])
    about = {
        "inputs": parts[0]["inputs"],
        "rows": sum(part["rows"] for part in parts),
        "missing": {
            name: sum(part["missing"].get(name, 0) for part in parts) for name in parts[0]["inputs"]["sensors"]
        },
    }
    box = [*bbox[:, :2].min(0).tolist(), *bbox[:, 2:].max(0).tolist()]
    kinds = sorted({kind for part in parts for kind in part["geometry_types"]})
    schema = pq.read_schema(paths[0]).with_metadata({b"geo": geo_metadata(box, kinds), _KEY: _json(about)})
    with _replacing(out) as draft, pq.ParquetWriter(draft, schema, **_FORMAT) as writer:
        for path in paths:
            writer.write_table(pq.read_table(path).replace_schema_metadata(schema.metadata))
    return about


def _checked(path: Path, embedder: Embedder, advice: str) -> dict[str, Any]:
    """What a file tells of itself, made from the same inputs."""
    about = _about(path)
    inputs = json.loads(_json(embedder.inputs))
    before = about.get("inputs", {})
    if differing := sorted(key for key in {*inputs, *before} if inputs.get(key) != before.get(key)):
        raise ConfigError(f"{path}: is there, made with other {', '.join(differing)}: {advice}")
    return about


def _about(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((pq.read_schema(path).metadata or {}).get(_KEY, b"{}"))
    except (pa.ArrowException, ValueError):
        return {}
    return found


def _batches_a_part(embedder: Embedder) -> int:
    return max(1, _PART_ROWS // embedder.rows_a_batch)


def _part_paths(embedder: Embedder, folder: Path) -> list[Path]:
    tiles = _batches_a_part(embedder) * embedder.config.batch
    return [folder / f"part-{k:05d}.parquet" for k in range(-(-embedder.num_tiles // tiles))]


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A draft that becomes the file at the end; one of a killed process is written over."""
    draft = path.with_name(f".{path.name}.draft")
    yield draft
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(path)


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
