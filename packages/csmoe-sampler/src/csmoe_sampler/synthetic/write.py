"""The synthetic Earth on disk: rasters and a catalogue, written once, continued where a killed run has stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from csmoe_sampler.errors import ConfigError, StorageError
from csmoe_sampler.progress import NoProgress, Progress
from csmoe_sampler.storage import Lock, file_digest, write_json
from csmoe_sampler.synthetic.catalog import MAP_FOLDER, write_catalog
from csmoe_sampler.synthetic.earth import Planet
from csmoe_sampler.synthetic.layers import (
    TILE_DEG,
    Layer,
    elevation_layer,
    koppen_layer,
    landcover_tile,
    precipitation_layer,
    temperature_layer,
    tile_name,
    write_layer,
)

MANIFEST = "earth.json"

_GENERATION = 1
"""To be raised with every change of what a seed looks like: an Earth of another generation is not continued."""
_MAX_WORKERS = 8


@dataclass(frozen=True, kw_only=True)
class _Size:
    tile_px: int
    """Edge of a land-cover tile of 3 degrees; a multiple of 64, so that all overviews are exact."""
    normals_deg: float
    elevation_deg: float
    boxes: tuple[tuple[int, int, int, int], ...]
    """West, south, east, north of the parts of the Earth that get land cover, on the tiling grid."""


# A strip from the Arctic to the southern ocean meets most climates; a second part crosses the antimeridian.
SIZES = {
    "small": _Size(
        tile_px=576,
        normals_deg=0.5,
        elevation_deg=0.1,
        boxes=((-75, -60, -69, 18), (-75, 39, -72, 78), (-180, -27, -177, -21), (177, -27, 180, -21)),
    ),
    "medium": _Size(
        tile_px=2880,
        normals_deg=0.25,
        elevation_deg=0.05,
        boxes=((-75, -60, -72, 84), (-180, -27, -177, -21), (177, -27, 180, -21)),
    ),
    "large": _Size(
        tile_px=36000,
        normals_deg=0.25,
        elevation_deg=0.05,
        boxes=((-75, -3, -72, 0), (-75, 45, -72, 48), (-180, -27, -177, -24), (177, -27, 180, -24)),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Earth:
    """A synthetic Earth on disk."""

    root: Path
    size: str
    seed: int
    landcover: tuple[Path, ...]
    """Tiles in the layout of ESA WorldCover, in the order of their names."""
    climate: Path
    """Map of the Köppen-Geiger classes."""
    temperature: Path
    """Monthly normals, twelve bands, °C."""
    precipitation: Path
    """Monthly normals, twelve bands, mm a month."""
    elevation: Path
    """Metres; no data at sea."""
    catalog: Path
    """Static STAC catalogue."""


def write_earth(out: Path, size: str = "small", seed: int = 0, progress: Progress | None = None) -> Earth:
    """The synthetic Earth of a seed in folder `out`; what is there already is checked and kept.

    Args:
        out: A folder of its own; made where it is missing.
        size: `small` (seconds, pixels of 600 m), `medium` (minutes, 120 m) or `large` (a few tiles of the real 10 m).
        seed: Which Earth; the same seed and size give the same files to the byte.
        progress: Told of every file.

    Raises:
        ConfigError: No such size.
        StorageError: The folder holds something else, is in use by another process, or cannot be written.
    """
    if size not in SIZES:
        raise ConfigError(f"size {size!r} of a synthetic Earth is unknown: choose one of {', '.join(SIZES)}")
    identity = {"format": "csmoe synthetic earth", "generation": _GENERATION, "size": size, "seed": seed}
    with Lock(out):
        digests = _recorded(out, identity)
        if not digests or remove_damaged(out, digests):
            write_json(out / MANIFEST, identity)
            digests = _write_files(out, SIZES[size], Planet(seed), progress or NoProgress())
            write_json(out / MANIFEST, identity | {"files": digests})
    return Earth(
        root=out,
        size=size,
        seed=seed,
        landcover=tuple(out / name for name in sorted(digests) if name.startswith(f"{MAP_FOLDER}/")),
        climate=out / "koppen_geiger_0p1.tif",
        temperature=out / "temperature_normals.tif",
        precipitation=out / "precipitation_normals.tif",
        elevation=out / "elevation.tif",
        catalog=out / "catalog.json",
    )


def _recorded(out: Path, identity: Mapping[str, Any]) -> dict[str, str]:
    """Name and digest of every file of a complete Earth in `out`; empty where there is none, or an unfinished one."""
    manifest = out / MANIFEST
    if not manifest.exists():
        if any(entry.name != ".lock" for entry in out.iterdir()):
            raise StorageError(f"{out} holds other files and no {MANIFEST}: choose an empty folder")
        return {}
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))
        files = dict(found.pop("files", {}))
    except (ValueError, AttributeError, TypeError) as error:
        raise StorageError(f"{manifest} is not the record of a synthetic Earth: choose an empty folder") from error
    if found != identity:
        differences = ", ".join(f"{key} {found.get(key)!r}, not {value!r}" for key, value in identity.items())
        raise StorageError(f"{out} holds another synthetic Earth ({differences}): choose an empty folder")
    return files


def remove_damaged(out: Path, digests: Mapping[str, str]) -> bool:
    """Whether files were missing or damaged; the damaged ones are removed, so that what remains can be trusted."""
    damaged = [name for name, digest in digests.items() if not _is_sound(out / name, digest)]
    for name in damaged:
        (out / name).unlink(missing_ok=True)
    return bool(damaged)


def record_file(root: Path, name: str) -> None:
    """Note in the record of a complete Earth that one of its files has another content now."""
    record = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    record["files"][name] = file_digest(root / name)
    write_json(root / MANIFEST, record)


def _is_sound(path: Path, digest: str) -> bool:
    return path.is_file() and file_digest(path) == digest


def _write_files(out: Path, size: _Size, planet: Planet, progress: Progress) -> dict[str, str]:
    """Name and digest of every file, those written and those that were there, in the order of their names."""
    tiles = _land_tiles(planet, size.boxes)
    layers = {
        "koppen_geiger_0p1.tif": koppen_layer(planet),
        "temperature_normals.tif": temperature_layer(planet, size.normals_deg),
        "precipitation_normals.tif": precipitation_layer(planet, size.normals_deg),
        "elevation.tif": elevation_layer(planet, size.elevation_deg),
    }
    for west, south in tiles:
        name = f"{MAP_FOLDER}/ESA_WorldCover_10m_2021_v200_{tile_name(west, south)}_Map.tif"
        layers[name] = landcover_tile(planet, west, south, size.tile_px)
    _write_layers(out, {name: layer for name, layer in layers.items() if not (out / name).exists()}, progress)
    names = [*layers, *write_catalog(out, tiles, size.tile_px)]
    return {name: file_digest(out / name) for name in sorted(names)}


def _write_layers(out: Path, layers: Mapping[str, Layer], progress: Progress) -> None:
    """Write layers side by side; the first error stops what has not begun."""
    progress.start("synthetic Earth", len(layers), "files")
    with ThreadPoolExecutor(min(_MAX_WORKERS, os.cpu_count() or 1)) as pool:
        writes = [pool.submit(write_layer, out / name, layer) for name, layer in layers.items()]
        try:
            for write in as_completed(writes):
                write.result()
                progress.advance(1)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    progress.finish()


def _land_tiles(planet: Planet, boxes: Iterable[tuple[int, int, int, int]]) -> list[tuple[int, int]]:
    """South-west corners of the tiles that hold land, looked for every 0.1 degrees."""
    offsets = (np.arange(10 * TILE_DEG) + 0.5) / 10
    corners = [
        (lon, lat)
        for west, south, east, north in boxes
        for lat in range(south, north, TILE_DEG)
        for lon in range(west, east, TILE_DEG)
    ]
    return [
        (lon, lat) for lon, lat in corners if (planet.elevation(lon + offsets, (lat + offsets)[:, None]) > 0.0).any()
    ]
