"""rslearn: a data set of windows, `config.json` and `windows/<split>/<tile>/metadata.json`.

With chips, their pixels are the materialised layers; without, the layers name rslearn's own sources on the Planetary
Computer, and `rslearn dataset prepare`, `materialize` bring them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from csmoe_sampler.chips.export import check_tiles
from csmoe_sampler.chips.geotiff import write_layer
from csmoe_sampler.chips.rows import ChipRow, ChipRows
from csmoe_sampler.config import S2_BANDS
from csmoe_sampler.errors import ChipError
from csmoe_sampler.exports.task import Task, record_name
from csmoe_sampler.storage import atomic_folder

LAYERS = {"s2": "sentinel2", "s1": "sentinel1"}
_PIXEL_M = 10.0
_SOURCES = {
    "s2": ("rslearn.data_sources.planetary_computer.Sentinel2", {"harmonize": True}),
    "s1": ("rslearn.data_sources.planetary_computer.Sentinel1", {}),
}
_PIXELS: dict[str, dict[str, Any]] = {"s2": {"dtype": "int16", "nodata_value": -32768}, "s1": {"dtype": "float32"}}
_ALSO = ("rank", "stratum", "weight", "landcover", "climate", "s2_item", "s1_item")
"""Columns of the manifest that go into the options of a window, where `tags` of a split can ask for them."""
Window = dict[str, Any]


def write(task: Task, out: Path) -> str:
    """Writes the folder as a whole, or not at all."""
    with ChipRows(task.chips) if task.chips else nullcontext() as rows, atomic_folder(out) as folder:
        if rows is not None:
            check_tiles(task.manifest, rows)
        bands = rows.bands if rows else _bands(task)
        (folder / "config.json").write_text(json.dumps(_config(bands, fetched=rows is not None), indent=1) + "\n")
        total = len(rows.fetched) if rows else len(task.manifest)
        task.progress.start("export", total * len(task.seasons), "windows")
        num = 0
        for split, name, window, chip in _with_chips(task, rows) if rows else _of_footprints(task):
            place = folder / "windows" / split / name
            place.mkdir(parents=True)
            (place / "metadata.json").write_text(json.dumps(window))
            if chip is not None and rows is not None:
                _write_layers(chip, rows, place)
            task.progress.advance(1)
            num += 1
        task.progress.finish()
    return f"{num:,} windows"


def _of_footprints(task: Task) -> Iterator[tuple[str, str, Window, ChipRow | None]]:
    """Windows of the footprints, to the nearest pixel of 10 m."""
    for season in task.seasons:
        for row in task.scenes(season).drop_columns(["geometry"]).to_pylist():
            edges = (row["x_min"], row["y_max"], row["x_max"], row["y_min"])
            bounds = [round(edge / step) for edge, step in zip(edges, (_PIXEL_M, -_PIXEL_M) * 2, strict=True)]
            yield row["split"], record_name(row["tile_id"], season), _window(row, row["crs"], _PIXEL_M, bounds), None


def _with_chips(task: Task, rows: ChipRows) -> Iterator[tuple[str, str, Window, ChipRow | None]]:
    """Windows of the chips of a store."""
    pixel_m = float(rows.metadata["pixel_m"])
    described = {
        (row["tile_id"], season): row
        for season in task.seasons
        for row in task.scenes(season).drop_columns(["geometry"]).to_pylist()
    }
    for chip in rows.read(rows.fetched):
        row = described.get((chip.tile_id, chip.season))
        if row is None:  # no scenes in this season, and so neither time nor pixels
            continue
        bounds = _pixels_of(chip, pixel_m)
        window = _window(row, chip.facts["crs"], pixel_m, bounds)
        yield row["split"], record_name(chip.tile_id, chip.season), window, chip


def _pixels_of(chip: ChipRow, pixel_m: float) -> list[int]:
    """The bounds of a chip in pixels from the origin of its CRS, y downwards.

    Raises:
        ChipError: It does not begin at a whole pixel.
    """
    left, bottom, right, top = (edge / pixel_m for edge in chip.facts["bounds"])
    edges = (left, -top, right, -bottom)
    if any(abs(edge - round(edge)) > 1e-3 for edge in edges):
        raise ChipError(
            f"chip {chip.tile_id}: begins at {left * pixel_m:.10g} m, between two pixels of {pixel_m:g} m, and windows "
            "of rslearn begin at whole ones: fetch with --pixel-m 10, or leave --chips out"
        )
    return [round(edge) for edge in edges]


def _window(row: dict[str, Any], crs: str, pixel_m: float, bounds: list[int]) -> Window:
    options = {"split": row["split"]} | {name: row[name] for name in _ALSO if row.get(name) is not None}
    return {
        "projection": {"crs": crs, "x_resolution": pixel_m, "y_resolution": -pixel_m},
        "bounds": bounds,
        "time_range": [time.isoformat() for time in _days(row)],
        "options": options,
    }


def _days(row: dict[str, Any]) -> tuple[datetime, datetime]:
    """From the beginning of the day of the first scene to the end of the day of the last."""
    times = [row[name] for name in ("s2_datetime", "s1_datetime") if row.get(name) is not None]
    first, last = (time.replace(hour=0, minute=0, second=0, microsecond=0) for time in (min(times), max(times)))
    return first, last + timedelta(days=1)


def _bands(task: Task) -> dict[str, tuple[str, ...]]:
    bands: dict[str, tuple[str, ...]] = {"s2": S2_BANDS}
    if any(name.startswith("s1_item") for name in task.manifest.table.column_names):
        bands["s1"] = ("vv", "vh")  # as the source calls them
    return bands


def _config(bands: dict[str, tuple[str, ...]], *, fetched: bool) -> dict[str, Any]:
    layers: dict[str, Any] = {}
    for sensor, names in bands.items():
        layer: dict[str, Any] = {"type": "raster", "band_sets": [{**_PIXELS[sensor], "bands": list(names)}]}
        if not fetched:
            path, arguments = _SOURCES[sensor]
            layer["band_sets"][0].pop("nodata_value", None)
            query = {"max_matches": 1, "space_mode": "MOSAIC"}
            layer["data_source"] = {"class_path": path, "init_args": arguments, "query_config": query}
        layers[LAYERS[sensor]] = layer
    return {"layers": layers}


def _write_layers(chip: ChipRow, rows: ChipRows, window: Path) -> None:
    for sensor, names in rows.bands.items():
        layer = window / "layers" / LAYERS[sensor]
        write_layer(chip, sensor, rows, layer / _folder_of(names) / "geotiff.tif")
        (layer / "completed").touch()


def _folder_of(bands: tuple[str, ...]) -> str:
    """Folder of a set of bands: their names, or a digest where these are long."""
    name = "_".join(bands)
    if any("_" in band for band in bands):
        return hashlib.sha256(json.dumps(list(bands)).encode()).hexdigest()
    return hashlib.sha256(name.encode()).hexdigest() if len(name) > 64 else name
