"""Tiny data sets on disk, in the layouts of those who publish them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tifffile
from PIL import Image
from safetensors.numpy import save

from csmoe_model.evaluation.dataset import EvaluationSet
from csmoe_model.evaluation.layouts.bigearthnet import BANDS
from csmoe_model.evaluation.layouts.geobench_bands import SENTINEL_2

TILE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
OTHER_TILE = "S2B_MSIL2A_20180204T094161_N9999_R036_T35VPK"
S1_SCENE = "S1A_IW_GRDH_1SDV_20170613T165043"
SIZES = {60: ("B01", "B09"), 20: ("B05", "B06", "B07", "B8A", "B11", "B12")}
"""Bands of BigEarthNet by pixel, the others have 10 m."""


def write_tiff(
    path: Path, pixels: np.ndarray, *, nodata: str | None = None, bands: Sequence[str] = (), **options: Any
) -> Path:
    """(C, H, W) as a GeoTIFF, its bands described as GDAL does it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tags: list[tuple[Any, ...]] = [(33550, "d", 3, (10, 10, 0), True), (33922, "d", 6, (0, 0, 0, 5e5, 5e6, 0), True)]
    if nodata is not None:
        tags.append((42113, "s", 0, nodata, True))
    if bands:
        items = "".join(
            f'<Item name="DESCRIPTION" sample="{k}" role="description">{band}</Item>' for k, band in enumerate(bands)
        )
        tags.append((42112, "s", 0, f"<GDALMetadata>{items}</GDALMetadata>", True))
    stored = pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)
    planar = {} if len(pixels) == 1 else {"planarconfig": "contig"}
    tifffile.imwrite(path, stored, photometric="minisblack", metadata=None, extratags=tags, **(planar | options))
    return path


def write_picture(path: Path, pixels: np.ndarray) -> Path:
    """(C, H, W) uint8 as PNG or JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)).save(path)
    return path


def write_eurosat_rgb(
    root: Path, counts: Mapping[str, int], *, size: tuple[int, int] = (8, 6)
) -> dict[str, np.ndarray]:
    """JPEGs in class folders, each of one colour of its own; the colours by id."""
    chance, colours = np.random.default_rng(0), {}
    for name, num in counts.items():
        for k in range(1, num + 1):
            colours[f"{name}_{k}"] = chance.integers(20, 230, 3)
            pixels = np.broadcast_to(colours[f"{name}_{k}"][:, None, None], (3, *size)).astype(np.uint8)
            write_picture(root / name / f"{name}_{k}.jpg", pixels)
    return colours


def write_eurosat_ms(root: Path, counts: Mapping[str, int], *, size: tuple[int, int] = (8, 6)) -> dict[str, np.ndarray]:
    """GeoTIFFs of 13 bands in class folders; their pixels by id."""
    chance, written = np.random.default_rng(1), {}
    for name, num in counts.items():
        for k in range(1, num + 1):
            pixels = chance.integers(1, 9000, (13, *size)).astype(np.uint16)
            write_tiff(root / name / f"{name}_{k}.tif", pixels)
            written[f"{name}_{k}"] = pixels
    return written


def patches(num: int = 5) -> list[dict[str, Any]]:
    """Rows of reBEN's table: the last lies under snow, the second has no partner."""
    labels = [["Pastures", "Mixed forest"], ["Urban fabric"], ["Marine waters", "Inland waters"], ["Arable land"]]
    return [
        {
            "patch_id": f"{TILE if k % 2 else OTHER_TILE}_{k}_{k + 40}",
            "labels": labels[k % len(labels)],
            "split": ("train", "validation", "test", "train")[k % 4],
            "country": ("Austria", "Finland")[k % 2],
            "s1_name": None if k == 1 else f"{S1_SCENE}_33UUP_{k}_{k + 40}",
            "contains_seasonal_snow": k == num - 1,
            "contains_cloud_or_shadow": False,
        }
        for k in range(num)
    ]


def patch_pixels(name: str, *, edge: int = 12) -> dict[str, np.ndarray]:
    """Bands of a patch, as many pixels as their resolution has; `edge` of 10 m."""
    chance = np.random.default_rng(sum(name.encode()))
    if name.startswith("S1"):
        level = {"VV": -12.5, "VH": -19.5}
        return {band: chance.normal(level[band], 1, (edge, edge)).astype(np.float32) for band in ("VH", "VV")}
    factor = {band: metres // 10 for metres, bands in SIZES.items() for band in bands}
    return {
        band: chance.integers(100, 4000, (edge // factor.get(band, 1),) * 2).astype(np.uint16) for band in BANDS["s2"]
    }


def write_metadata(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """reBEN's table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def write_reben(root: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """reBEN's folders and table."""
    write_metadata(root / "metadata.parquet", rows)
    for row in rows:
        folders = {"BigEarthNet-S2": (row["patch_id"], 2), "BigEarthNet-S1": (row["s1_name"], 3)}
        for folder, (name, parts) in folders.items():
            for band, pixels in patch_pixels(name).items() if name else ():
                write_tiff(root / folder / name.rsplit("_", parts)[0] / name / f"{name}_{band}.tif", pixels[None])
    return root


def write_rico(root: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """rico-hdl's LMDB, the table beside it."""
    write_metadata(root.parent / "metadata.parquet", rows)
    with lmdb.open(str(root), map_size=2**24) as environment, environment.begin(write=True) as transaction:
        for name in [row[column] for row in rows for column in ("patch_id", "s1_name") if row[column]]:
            transaction.put(name.encode(), save(patch_pixels(name)))
    return root


def write_ben_v1(root: Path, labels: Mapping[str, Sequence[str]]) -> Path:
    """The first version: folders of patches with labels of 43 classes beside the bands."""
    for k, (name, own) in enumerate(labels.items()):
        partner = f"{S1_SCENE}_33UUP_{k}_7"
        for folder, patch in (("BigEarthNet-v1.0", name), ("BigEarthNet-S1-v1.0", partner)):
            about = {
                "labels": list(own),
                "corresponding_s2_patch": name,
                "tile_source": f"S2A_MSIL1C_T33UU{'PQ'[k % 2]}_x",
            }
            for band, pixels in patch_pixels(patch).items():
                write_tiff(root / folder / patch / f"{patch}_{band}.tif", pixels[None])
            (root / folder / patch / f"{patch}_labels_metadata.json").write_text(json.dumps(about))
    return root


class Bomb:
    """Writes a file once its pickle is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "executed")


def write_geobench(
    root: Path,
    samples: Mapping[str, Mapping[str, np.ndarray]],
    *,
    labels: Mapping[str, Any],
    fuse: Path,
) -> Path:
    """A data set of GEO-Bench v1; half of the samples are for training, a quarter each for validation and test.

    Args:
        root: Folder.
        samples: Arrays by name, by sample.
        labels: Code of each sample, or zeros and ones by class.
        fuse: Is written if someone opens the pickles.
    """
    root.mkdir(parents=True)
    for name, arrays in samples.items():
        with h5py.File(root / f"{name}.hdf5", "w") as file:
            for key, pixels in arrays.items():
                file.create_dataset(key, data=pixels)
            file.attrs["pickle"] = str(pickle.dumps({"label": Bomb(fuse), "bands_order": list(arrays)}))
    (root / "task_specs.pkl").write_bytes(pickle.dumps(Bomb(fuse)))
    names = list(samples)
    parts = {
        "train": names[: len(names) // 2],
        "valid": names[len(names) // 2 :: 2],
        "test": names[len(names) // 2 + 1 :: 2],
    }
    (root / "default_partition.json").write_text(json.dumps(parts))
    if isinstance(next(iter(labels.values())), int):
        by_code: dict[str, list[str]] = {}
        for name, code in labels.items():
            by_code.setdefault(str(code), []).append(name)
        (root / "label_map.json").write_text(json.dumps(by_code))
    else:
        (root / "label_stats.json").write_text(json.dumps(labels))
    return root


def sentinel_2_arrays(
    values: Sequence[float], *, size: tuple[int, int] = (6, 5), seed: int = 0
) -> dict[str, np.ndarray]:
    """Arrays under GEO-Bench's 13 names in its order, about as bright as `values`."""
    chance = np.random.default_rng(seed)
    return {
        key: np.round(value * chance.uniform(0.8, 1.2, size)).astype(np.int16)
        for key, value in zip(SENTINEL_2, values, strict=True)
    }


EUROSAT_IN_GEOBENCH = (1355, 1118, 1042, 948, 1200, 2002, 2373, 2300, 731, 12, 1822, 1120, 2598)
"""About the means of m-eurosat, in the order of its files."""
LEVEL_1C = (1355, 1118, 1042, 948, 1200, 2002, 2373, 2300, 2598, 731, 12, 1822, 1120)
KILNS = (575, 674, 886, 815, 1129, 1934, 2046, 2013, 1609, 1130, 83, 90, 69)


def geobench(
    root: Path, values: Sequence[float], num: int = 8
) -> tuple[Path, dict[str, dict[str, np.ndarray]], dict[str, int]]:
    """A set of three classes, as bright as `values`; its folder, arrays and labels."""
    samples = {f"id_{k:04d}": sentinel_2_arrays(values, seed=k) for k in range(num)}
    labels = {name: k % 3 for k, name in enumerate(samples)}
    return write_geobench(root, samples, labels=labels, fuse=root.parent / "fuse"), samples, labels


def images_of(data: EvaluationSet, one: str) -> dict[str, np.ndarray]:
    """Pixels of a sample, by its id."""
    return data.reader.images(data.ids.tolist().index(one))


def names_of(data: EvaluationSet, one: str) -> set[str]:
    """Names of the classes of a sample, by its id."""
    row = data.labels[data.ids.tolist().index(one)]
    return {data.classes[k] for k in np.flatnonzero(row)}
