"""A data set as a chip store and a manifest, so that a model can be pre-trained on it."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from csmoe_model.data.writing import Layer, write_store
from csmoe_model.errors import ConfigError, DataError
from csmoe_model.evaluation.dataset import EvaluationSet, Float32
from csmoe_model.evaluation.prepare import resized

STORE, MANIFEST = "chips.zarr", "sample.parquet"
Rows = npt.NDArray[np.int64]


def pack(
    data: EvaluationSet,
    folder: Path,
    *,
    size_px: int | None = None,
    splits: Sequence[str] = ("train", "validation"),
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[Path, Path]:
    """Chip store and manifest of a data set, in a new folder, which is there once both are whole.

    Args:
        data: The data set.
        folder: Where to; must not be there.
        size_px: Edge of the chips, to which images are resized; none: as they are, squares of one size.
        splits: Whose samples; the test split should stay out of what a model has seen.
        advance: Told how many samples more are read.

    Raises:
        ConfigError: The folder is there.
        DataError: A split is empty, images are of different sizes, or the folder cannot be written.
    """
    if folder.exists():
        raise ConfigError(f"folder {folder}: is there already: choose another one")
    rows = np.concatenate([data.of_split(split) for split in splits])
    draft: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        draft.chmod(0o755)
        origin = _origin(data, splits, size_px)
        filled = _write_chips(draft / STORE, data, rows, size_px, origin, advance)
        _write_manifest(draft / MANIFEST, data, rows, filled, origin)
        draft.rename(folder)
    except OSError as error:
        raise DataError(
            f"folder {folder}: cannot be written ({error.strerror}): choose another, or free space"
        ) from error
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
    return folder / STORE, folder / MANIFEST


def _origin(data: EvaluationSet, splits: Sequence[str], size_px: int | None) -> dict[str, Any]:
    """What store and manifest both tell of where they come from."""
    about = {
        "data": data.name,
        "fingerprint": data.fingerprint(),
        "split_hash": data.split_hash(),
        "splits": list(splits),
        "size_px": size_px,
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return about | {"notes": list(data.notes), "config_digest": digest}


def _write_chips(
    path: Path,
    data: EvaluationSet,
    rows: Rows,
    size_px: int | None,
    origin: Mapping[str, Any],
    advance: Callable[[int], None],
) -> npt.NDArray[np.bool_]:
    """(N,) Which rows have a pixel."""
    native, gsd_m = _first_size(data, rows)
    size = size_px or native
    layers = {name: Layer(bands=bands.names, unit=bands.unit) for name, bands in data.sensors.items()}

    def chips() -> Iterator[dict[str, Float32]]:
        for row in rows.tolist():
            images = data.reader.images(row)
            yield {
                name: _fitted(pixels, size, size_px, f"{name} of {data.ids[row]}") for name, pixels in images.items()
            }
            advance(1)

    about = {
        "manifest": {"config_digest": origin["config_digest"], "num_rows": len(rows)},
        "pixel_m": gsd_m * native / size,
        "source": dict(origin),
    }
    return write_store(path, layers, data.ids[rows], size, chips(), about)


def _first_size(data: EvaluationSet, rows: Rows) -> tuple[int, float]:
    """Width of the first image in pixels, and of its pixels in metres."""
    for row in rows.tolist():
        for name, pixels in data.reader.images(row).items():
            return pixels.shape[-1], data.sensors[name].gsd_m
    raise DataError(f"data set {data.name}: none of the {len(rows)} samples has pixels: check the path")


def _fitted(pixels: Float32, size: int, size_px: int | None, of: str) -> Float32:
    """(C, size, size) Resized where a size is wanted."""
    if pixels.shape[1:] == (size, size):
        return pixels
    if size_px is None:
        shape = " x ".join(map(str, pixels.shape[1:]))
        raise DataError(f"{of}: is {shape} px, chips are squares of one size, {size} px here: give a size (--size-px)")
    image = torch.from_numpy(pixels)
    valid = image.isfinite()
    image, valid = resized(image.nan_to_num(0.0), valid, size)
    return torch.where(valid, image, torch.nan).numpy()


def _write_manifest(
    path: Path, data: EvaluationSet, rows: Rows, filled: npt.NDArray[np.bool_], origin: Mapping[str, Any]
) -> None:
    num = len(rows)
    lon_lat = np.full((num, 2), np.nan) if data.lon_lat is None else data.lon_lat[rows]
    labels = [""] * num
    if data.task == "single_label" and data.labels is not None:
        labels = [data.classes[code] for code in data.labels[rows].tolist()]
    table = pa.table(
        {
            "tile_id": data.ids[rows].tolist(),
            "split": data.split[rows].tolist(),
            "weight": np.ones(num),
            "landcover": labels,
            "climate": [""] * num,
            "lon": lon_lat[:, 0],
            "lat": lon_lat[:, 1],
            "chip": pa.array(np.arange(num), mask=~filled),
        }
    )
    pq.write_table(table.replace_schema_metadata({"csmoe": json.dumps(dict(origin), sort_keys=True)}), path)
