"""A chip store in the formats of others: WebDataset shards, or GeoTIFFs, one folder a tile."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from csmoe_sampler.chips.geotiff import write_geotiffs
from csmoe_sampler.chips.rows import ChipRows
from csmoe_sampler.chips.tar_shards import write_shards
from csmoe_sampler.errors import ManifestError, StorageError
from csmoe_sampler.manifest import Manifest, read_manifest
from csmoe_sampler.progress import NoProgress, Progress
from csmoe_sampler.storage import Lock, write_json
from csmoe_sampler.types import Int64

PLAN, SUMMARY = "plan.json", "export.json"
_ABOUT = ("landcover", "climate", "stratum", "weight", "rank", "split")
"""Columns of a manifest that go with each chip."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """What an export has written."""

    num_chips: int
    """Tiles with pixels, those of an earlier run included."""
    files: tuple[str, ...]
    """Tar files, or folders of tiles, in the order of the rank; relative to the output folder."""
    failed: tuple[dict[str, str], ...]
    """Tile and reason of what was left out."""


class Writer(Protocol):
    """Writes the rows of a store into a folder, skipping what an earlier run has finished; returns names."""

    def __call__(self, job: Job, out: Path, progress: Progress) -> tuple[str, ...]:
        """Told of every finished chip."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is exported."""

    rows: ChipRows
    wanted: Int64
    """Rows with pixels, in the order of the rank."""
    about: dict[str, dict[str, Any]]
    """From the manifest, by tile; empty without one."""
    shard_chips: int


_WRITERS: dict[str, Writer] = {"webdataset": write_shards, "geotiff": write_geotiffs}


def export_chips(
    store: Path,
    manifest: Path | None,
    out: Path,
    to: str,
    *,
    writer: Writer | None = None,
    shard_chips: int = 256,
    progress: Progress | None = None,
) -> Export:
    """What was written; an export that was stopped continues where it was, with the same bytes.

    `webdataset` writes `chips-000000.tar` and so on with `<tile_id>.s2.npy` (int16, reflectance x 10,000, -32768
    where invalid), `<tile_id>.s1.npy` (dB), `<tile_id>.scl.npy` and `<tile_id>.json`; `geotiff` writes
    `<tile_id>/S2.tif`, `S1.tif`, `SCL.tif` and `chip.json`. With several seasons each name has the season in it. Tiles
    without pixels are left out and listed in `export.json`, which is written last.

    Args:
        store: A finished chip store.
        manifest: Its manifest, whose land cover, climate, stratum, weight, rank and split then go with each chip.
        out: A folder, empty or of the same export.
        to: Name of the format.
        writer: Writes it; by default that of `webdataset` or `geotiff`.
        shard_chips: Tiles in a tar file.
        progress: Told of every chip.

    Raises:
        ChipError: There is no store, or it is unfinished.
        StorageError: The folder holds another export, or cannot be written.
        ManifestError: The manifest is not that of the store.
    """
    progress = progress or NoProgress()
    with ChipRows(store) as rows, Lock(out):
        about = _about(read_manifest(manifest), rows) if manifest else {}
        job = Job(rows=rows, wanted=rows.fetched, about=about, shard_chips=shard_chips)
        _agree(out, _plan(job, to))
        progress.start("export", len(job.wanted), "chips")
        names = (writer or _WRITERS[to])(job, out, progress)
        progress.finish()
        result = Export(num_chips=len(job.wanted), files=names, failed=tuple(rows.failures()))
        write_json(out / SUMMARY, _summary(job, to, result))
    return result


def check_tiles(manifest: Manifest, rows: ChipRows) -> list[str]:
    """The tiles of a manifest, where a store holds its chips row by row; raises ManifestError where it does not."""
    tiles: list[str] = manifest.column("tile_id").astype(np.str_).tolist()
    if tiles[: len(rows.tile_ids)] != rows.tile_ids:
        raise ManifestError(
            f"manifest: its first {len(rows.tile_ids)} tiles are not those of the chip store; give the manifest that "
            "the store was fetched for"
        )
    return tiles


def _about(manifest: Manifest, rows: ChipRows) -> dict[str, dict[str, Any]]:
    tiles = check_tiles(manifest, rows)
    table = manifest.table.select([name for name in _ABOUT if name in manifest.table.column_names])
    return dict(zip(tiles, table.to_pylist(), strict=True))


def _plan(job: Job, to: str) -> dict[str, Any]:
    """What decides the bytes of the output."""
    of_rows = hashlib.sha256(job.rows.status.tobytes() + "\n".join(job.rows.tile_ids).encode()).hexdigest()
    content = json.dumps([job.rows.metadata, job.about], sort_keys=True).encode()
    shard_chips = job.shard_chips if to == "webdataset" else None
    return {"to": to, "shard_chips": shard_chips, "rows": of_rows, "content": hashlib.sha256(content).hexdigest()}


def _agree(out: Path, plan: dict[str, Any]) -> None:
    """Keeps the plan in the folder, so that no two exports are mixed."""
    path = out / PLAN
    if not path.exists():
        if any(not entry.name.startswith(".") for entry in out.iterdir()):
            raise StorageError(f"{out}: holds other files, and no export that could go on: choose an empty folder")
        write_json(path, plan)
    elif json.loads(path.read_text(encoding="utf-8")) != plan:
        raise StorageError(f"{out}: holds the export of another store or with other options: choose an empty folder")


def _summary(job: Job, to: str, result: Export) -> dict[str, Any]:
    return {
        "format": to,
        "chips": result.num_chips,
        "seasons": [season for season in job.rows.seasons if season],
        "sensors": job.rows.metadata["sensors"],
        "layers": job.rows.layers,
        "bands": job.rows.bands,
        "manifest": job.rows.metadata["manifest"],
        "files": list(result.files),
        "failed": list(result.failed),
    }
