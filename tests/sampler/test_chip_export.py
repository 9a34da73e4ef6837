"""Exports of a chip store, read back by WebDataset and by rasterio."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import re
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rasterio
import webdataset as wds

from csmoe_sampler.chips.export import export_chips
from csmoe_sampler.errors import ChipError, ManifestError, StorageError
from csmoe_sampler.manifest import Manifest, write_manifest
from sampler import processes
from sampler.chip_files import bounds_of, encoded, write_store
from sampler.real_chips import L2A, Chip, terramesh
from sampler.small_world import config, drawn


def some_chips(data, num: int = 7) -> list[Chip]:
    """Small different chips cut from real ones, some pixels missing."""
    chips = []
    for k in range(num):
        whole = terramesh(data)[k % 3]
        s2, s1 = whole.s2[:, 9 * k : 9 * k + 40, :40].copy(), whole.s1[:, 9 * k : 9 * k + 40, :40].copy()
        s2[:, :2, k:10], s1[:, 5:7, 3] = np.nan, np.nan
        a, b, x, d, e, y = whole.transform
        chips.append(Chip(f"{k}U_{k}R", s2, L2A, s1, whole.crs, (a, b, x, d, e, y - 90 * k)))
    return chips


@pytest.fixture
def chips(shared_data) -> list[Chip]:
    return some_chips(shared_data)


@pytest.fixture
def store(chips, tmp_path) -> Path:
    return write_store(tmp_path / "chips.zarr", chips, failed=2)


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read_shards(folder: Path, exported) -> list[dict]:
    urls = [str(folder / name) for name in exported.files]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves it to the collector to close its files
        samples = list(wds.WebDataset(urls, shardshuffle=False, empty_check=False).decode())
        gc.collect()
    return samples


# ---- WebDataset ------------------------------------------------------------


def test_webdataset_reads_the_shards(chips, store, tmp_path):
    out = tmp_path / "shards"
    exported = export_chips(store, None, out, "webdataset", shard_chips=3)
    assert exported.num_chips == 7
    assert exported.files == ("chips-000000.tar", "chips-000001.tar", "chips-000002.tar")
    samples = read_shards(out, exported)
    assert [sample["__key__"] for sample in samples] == [chip.name for chip in chips], "in the order of the rank"
    for sample, chip in zip(samples, chips, strict=True):
        for name, array in encoded(chip).items():
            assert sample[f"{name}.npy"].dtype == array.dtype
            assert np.array_equal(sample[f"{name}.npy"], array, equal_nan=name == "s1")
        facts = sample["json"]
        assert (facts["crs"], facts["bounds"], facts["s2_item"]) == (chip.crs, bounds_of(chip), "S2B_scene")
        assert facts["bands"] == {"s2": list(L2A), "s1": ["VV", "VH"]}
        assert facts["layers"]["s2"]["_FillValue"] == -32768
        assert facts["layers"]["s2"]["scale_factor"] == 1e-4
        assert facts["s1_valid"] == 0.5
    assert samples[1]["json"]["s2_time"] == "2021-06-06T10:00:00.000Z"


def test_what_has_failed_is_left_out_and_listed(store, tmp_path):
    expected = [{"tile_id": f"failed_{k}", "reason": "s2 S2B_lost: HTTP 404"} for k in range(2)]
    for to in ("webdataset", "geotiff"):
        exported = export_chips(store, None, tmp_path / to, to)
        assert list(exported.failed) == expected
        summary = json.loads((tmp_path / to / "export.json").read_text())
        assert (summary["chips"], summary["failed"], summary["files"]) == (7, expected, list(exported.files))


def test_equal_stores_give_equal_bytes(chips, store, tmp_path):
    os.utime(store / "s2", (1, 1))
    other = write_store(tmp_path / "again.zarr", chips, failed=2)
    for to in ("webdataset", "geotiff"):
        export_chips(store, None, tmp_path / to / "a", to, shard_chips=2)
        export_chips(other, None, tmp_path / to / "b", to, shard_chips=2)
        assert digests(tmp_path / to / "a") == digests(tmp_path / to / "b")


def test_seasons_are_parts_of_a_sample(chips, tmp_path):
    seasons = {"summer": chips, "winter": chips[::-1]}
    store = write_store(tmp_path / "chips.zarr", chips, seasons=seasons)
    exported = export_chips(store, None, tmp_path / "out", "webdataset")
    samples = read_shards(tmp_path / "out", exported)
    assert len(samples) == 7
    for season, layer in seasons.items():
        for sample, chip in zip(samples, layer, strict=True):
            assert np.array_equal(sample[f"{season}.s2.npy"], encoded(chip)["s2"])
            assert sample[f"{season}.json"]["crs"]
    folders = export_chips(store, None, tmp_path / "tiles", "geotiff").files
    with rasterio.open(tmp_path / "tiles" / folders[0] / "S2_winter.tif") as file:
        assert np.array_equal(file.read(), encoded(chips[-1])["s2"])
    facts = json.loads((tmp_path / "tiles" / folders[0] / "chip.json").read_text())
    assert [entry["season"] for entry in facts["seasons"]] == ["summer", "winter"]


# ---- GeoTIFF ------------------------------------------------------------


def test_rasterio_reads_the_geotiffs(chips, store, tmp_path):
    exported = export_chips(store, None, tmp_path / "tiles", "geotiff")
    assert exported.files == tuple(chip.name for chip in chips)
    for chip in chips:
        for name, array in encoded(chip).items():
            with rasterio.open(tmp_path / "tiles" / chip.name / f"{name.upper()}.tif") as file:
                found = file.read()
                assert np.array_equal(found, array.reshape(found.shape), equal_nan=name == "s1")
                assert file.crs == rasterio.crs.CRS.from_string(chip.crs)
                assert list(file.bounds) == pytest.approx(bounds_of(chip), abs=1e-6)
                assert file.tags()["tile_id"] == chip.name
                assert file.tags(ns="IMAGE_STRUCTURE") | {"LAYOUT": "COG", "COMPRESSION": "DEFLATE"} == file.tags(
                    ns="IMAGE_STRUCTURE"
                )
                masked = file.read(masked=True)
                assert masked.mask[0, 0, 9] == (name != "s1")
    with rasterio.open(tmp_path / "tiles" / chips[2].name / "S2.tif") as file:
        assert file.descriptions == L2A
        assert file.dtypes[0] == "int16"
        assert (file.nodata, file.scales[3], file.offsets[3], file.units[3]) == (-32768, 1e-4, 0, "1")
        assert file.tags()["s2_item"] == "S2B_scene"
        assert file.tags()["TIFFTAG_DATETIME"] == "2021:06:11 10:00:00"
    with rasterio.open(tmp_path / "tiles" / chips[2].name / "S1.tif") as file:
        assert (file.descriptions, file.units, file.dtypes[0]) == (("VV", "VH"), ("dB", "dB"), "float32")
        assert np.isnan(file.nodata)


# ---- with the manifest ------------------------------------------------------------


def paired(num: int) -> Manifest:
    manifest = drawn(config(n=90))
    table = manifest.table.slice(0, num)
    return Manifest(table=table.set_column(0, table.schema.field(0), table.column(0)), metadata=manifest.metadata)


def test_the_manifest_goes_with_the_chips(chips, tmp_path):
    manifest = paired(7)
    write_manifest(manifest.table, manifest.metadata, tmp_path / "out.parquet")
    tiles = manifest.column("tile_id").tolist()
    store = write_store(tmp_path / "chips.zarr", chips, tile_ids=tiles)
    exported = export_chips(store, tmp_path / "out.parquet", tmp_path / "shards", "webdataset")
    for row, sample in enumerate(read_shards(tmp_path / "shards", exported)):
        for name in ("landcover", "climate", "stratum", "weight", "rank", "split"):
            assert sample["json"][name] == manifest.table[name][row].as_py()
    export_chips(store, tmp_path / "out.parquet", tmp_path / "tiles", "geotiff")
    facts = json.loads((tmp_path / "tiles" / tiles[4] / "chip.json").read_text())
    assert (facts["rank"], facts["climate"]) == (4, manifest.column("climate")[4])


def test_the_manifest_of_other_chips_is_refused(store, tmp_path):
    manifest = paired(9)
    write_manifest(manifest.table, manifest.metadata, tmp_path / "out.parquet")
    with pytest.raises(ManifestError, match="first 9 tiles are not those of the chip store; give"):
        export_chips(store, tmp_path / "out.parquet", tmp_path / "shards", "webdataset")


# ---- stopping and continuing ------------------------------------------------------------


class Told:
    def __init__(self) -> None:
        self.events: list[tuple] = []

    def start(self, name, total, unit):
        self.events.append((name, total, unit))

    def advance(self, count):
        self.events.append((count,))

    def finish(self):
        self.events.append(())

    def note(self, text):
        raise AssertionError(text)


class Stop(Told):
    """Interrupts the work once it has been told so often."""

    def __init__(self, stop_at: int) -> None:
        super().__init__()
        self._stop_at = stop_at

    def advance(self, count):
        super().advance(count)
        if len(self.events) > self._stop_at:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("to", "lost", "kept"),
    [("webdataset", "chips-000001.tar", "chips-000002.tar"), ("geotiff", "3U_3R/chip.json", "4U_4R/S2.tif")],
)
def test_what_is_there_is_not_written_again(store, tmp_path, to, lost, kept):
    out = tmp_path / "out"
    export_chips(store, None, out, to, shard_chips=2)
    before, written_ns = digests(out), (out / kept).stat().st_mtime_ns
    (out / lost).unlink()
    told = Told()
    export_chips(store, None, out, to, shard_chips=2, progress=told)
    assert digests(out) == before
    assert (out / kept).stat().st_mtime_ns == written_ns
    assert told.events[0] == ("export", 7, "chips")
    assert sum(count for event in told.events if len(event) == 1 for count in event) == 7
    assert told.events[-1] == ()


def test_an_export_killed_at_any_moment_continues_to_the_same_bytes(store, tmp_path):
    expected, out = tmp_path / "whole", tmp_path / "out"
    export_chips(store, None, expected, "geotiff", shard_chips=1)
    process = processes.start(partial(export_chips, shard_chips=1), store, None, out, "geotiff")
    until = time.monotonic() + 20
    while process.is_alive() and len(list(out.glob("*"))) < 5 and time.monotonic() < until:
        time.sleep(0.001)
    process.kill()
    process.join()
    export_chips(store, None, out, "geotiff", shard_chips=1)
    assert digests(out) == digests(expected)


@pytest.mark.parametrize("to", ["webdataset", "geotiff"])
def test_an_export_stopped_at_any_chip_continues_to_the_same_bytes(store, tmp_path, to):
    expected, out = tmp_path / "whole", tmp_path / "out"
    export_chips(store, None, expected, to, shard_chips=3)
    for stop_at in (1, 3, 4):
        with pytest.raises(KeyboardInterrupt):
            export_chips(store, None, out, to, shard_chips=3, progress=Stop(stop_at))
        assert not (out / "export.json").exists()
    export_chips(store, None, out, to, shard_chips=3)
    assert digests(out) == digests(expected)


def test_two_exports_are_not_mixed(chips, store, tmp_path):
    out = tmp_path / "out"
    export_chips(store, None, out, "webdataset", shard_chips=2)
    other = write_store(tmp_path / "other.zarr", chips[:5])
    for path, to, shard_chips in ((store, "webdataset", 3), (store, "geotiff", 2), (other, "webdataset", 2)):
        with pytest.raises(StorageError, match=re.escape(f"{out}: holds the export of another store")):
            export_chips(path, None, out, to, shard_chips=shard_chips)


def test_an_unfinished_store_is_refused(chips, tmp_path):
    store = write_store(tmp_path / "chips.zarr", chips, finished=False)
    with pytest.raises(ChipError, match="unfinished"):
        export_chips(store, None, tmp_path / "out", "webdataset")
    with pytest.raises(ChipError, match="no such store"):
        export_chips(tmp_path / "nothing.zarr", None, tmp_path / "out", "webdataset")


def test_a_store_without_chips_exports_a_list(chips, tmp_path):
    store = write_store(tmp_path / "chips.zarr", chips, fetched=0)
    exported = export_chips(store, None, tmp_path / "out", "webdataset")
    assert (exported.num_chips, exported.files, len(exported.failed)) == (0, (), 7)
    assert exported.failed[0] == {"tile_id": "0U_0R", "reason": "failed"}
