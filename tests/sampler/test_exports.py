"""Exports of a manifest and its chips, read back by the readers that they are made for, where these are installed."""

from __future__ import annotations

import csv
import hashlib
import importlib
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import get_args

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pystac
import pytest
import rasterio
import rasterio.warp
import shapely
from pystac.extensions.projection import ProjectionExtension
from typer.testing import CliRunner

from csmoe_sampler.chips.rows import ChipRows
from csmoe_sampler.cli.options import FormatName
from csmoe_sampler.errors import ChipError, ConfigError, ManifestError, StorageError
from csmoe_sampler.exports import FORMATS, export
from csmoe_sampler.manifest import read_manifest, write_manifest
from sampler.export_inputs import BANDS, NUM_CHIPS, SIZE_PX, write_inputs
from sampler.small_world import config, drawn

foreign = pytest.mark.filterwarnings("ignore")
"""Other projects' imports warn of other projects' matters."""
FETCHED = NUM_CHIPS - 1
SEASONS = ("winter", "summer")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("exports"))


@pytest.fixture(scope="module")
def seasonal(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("seasonal"), seasons=SEASONS)


@pytest.fixture(scope="module")
def table(inputs):
    return read_manifest(inputs[0]).table.to_pandas()


@pytest.fixture(scope="module")
def written(inputs, tmp_path_factory):
    """Exports of the small manifest, each made once."""
    folder, done = tmp_path_factory.mktemp("written"), {}

    def make(to: str, name: str, *, chips: bool = False) -> Path:
        if name not in done:
            export(inputs[0], to, folder / name, chips=inputs[1] if chips else None)
            done[name] = folder / name
        return done[name]

    return make


def across(table) -> int:
    shapes = shapely.from_wkb(table["geometry"])
    return int(np.flatnonzero(shapely.get_num_geometries(shapes) > 1)[0])


# ---- the table of formats ------------------------------------------------------------


def test_the_command_offers_every_format():
    assert set(get_args(FormatName)) == set(FORMATS)


@pytest.mark.parametrize("to", FORMATS)
def test_what_is_there_is_not_replaced(inputs, tmp_path, to):
    out = tmp_path / "mine"
    out.write_text("mine")
    chips = inputs[1] if FORMATS[to].chips == "must" else None
    with pytest.raises(StorageError, match="is there already: choose another --out"):
        export(inputs[0], to, out, chips=chips)
    assert out.read_text() == "mine"


@pytest.mark.parametrize("to", [to for to, target in FORMATS.items() if target.resumes])
def test_a_folder_with_other_files_is_refused(inputs, tmp_path, to):
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(StorageError, match="holds other files"):
        export(inputs[0], to, tmp_path, chips=inputs[1])


@pytest.mark.parametrize("to", [to for to, target in FORMATS.items() if target.scenes])
def test_scenes_that_are_not_there_name_the_stage(tmp_path, to):
    manifest = drawn(config(n=60))
    write_manifest(manifest.table, manifest.metadata, tmp_path / "bare.parquet")
    with pytest.raises(ManifestError, match=r"has no scenes.*run `csmoe-sample pair` first"):
        export(tmp_path / "bare.parquet", to, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("to", ["csv", "geojson", "olmoearth", "croissant", "datasheet"])
def test_a_manifest_without_scenes_is_enough(tmp_path, to):
    manifest = drawn(config(n=60))
    write_manifest(manifest.table, manifest.metadata, tmp_path / "bare.parquet")
    assert export(tmp_path / "bare.parquet", to, tmp_path / "out").startswith(("60 ", "1 file", "1 data sheet"))


@pytest.mark.parametrize("to", [to for to, target in FORMATS.items() if target.chips == "must"])
def test_pixels_that_are_not_there_name_the_stage(inputs, tmp_path, to):
    with pytest.raises(ConfigError, match="name the chip store with --chips"):
        export(inputs[0], to, tmp_path / "out")


def test_chips_where_none_are_held(inputs, tmp_path):
    with pytest.raises(ConfigError, match="holds no pixels: leave --chips out"):
        export(inputs[0], "csv", tmp_path / "out", chips=inputs[1])
    with pytest.raises(ConfigError, match="'shapefile': no such format; known are majortom"):
        export(inputs[0], "shapefile", tmp_path / "out")


@pytest.mark.parametrize("to", ["rslearn", "croissant", "terratorch", "datasheet"])
def test_chips_of_another_manifest(inputs, tmp_path, to):
    manifest = read_manifest(inputs[0])
    write_manifest(manifest.table.slice(1), manifest.metadata, tmp_path / "other.parquet")
    with pytest.raises(ManifestError, match="are not those of the chip store"):
        export(tmp_path / "other.parquet", to, tmp_path / "out", chips=inputs[1])
    assert not list(tmp_path.glob("out/[!.]*"))


@pytest.mark.parametrize("to", FORMATS)
def test_equal_inputs_give_equal_bytes(inputs, tmp_path, to):
    chips = inputs[1] if FORMATS[to].chips == "must" else None
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        export(inputs[0], to, tmp_path / name / "out", chips=chips)
        files = [path for path in sorted((tmp_path / name).rglob("[!.]*")) if path.is_file()]
        found.append({str(f.relative_to(tmp_path / name)): hashlib.sha256(f.read_bytes()).digest() for f in files})
    assert found[0] == found[1]


@pytest.mark.parametrize("to", ["csv", "rslearn"])
def test_an_export_that_is_stopped_leaves_nothing(inputs, tmp_path, to):
    class Stop:
        def start(self, name, total, unit):
            assert (name, total > 0) == ("export", True)

        def advance(self, count):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(inputs[0], to, tmp_path / "out", progress=Stop())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("to", ["torchgeo", "terratorch"])
def test_chips_continue_where_they_were_stopped(inputs, tmp_path, to):
    class Stop:
        told = 0

        def start(self, name, total, unit):
            assert (name, total, unit) == ("export", FETCHED, "chips")

        def advance(self, count):
            self.told += count
            if self.told == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(inputs[0], to, tmp_path / "out", chips=inputs[1], progress=Stop())
    first = next(path for path in sorted((tmp_path / "out").rglob("[!.]*.tif")))
    written_ns = first.stat().st_mtime_ns
    export(inputs[0], to, tmp_path / "out", chips=inputs[1])
    assert first.stat().st_mtime_ns == written_ns
    export(inputs[0], to, tmp_path / "whole", chips=inputs[1])
    for path in (tmp_path / "whole").rglob("[!.]*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "out" / path.relative_to(tmp_path / "whole")).read_bytes()


# ---- tables ------------------------------------------------------------


def test_csv_has_every_column_flat(written, table):
    path = written("csv", "a.csv")
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["tile_id"] for line in lines] == table["tile_id"].tolist()
    assert set(lines[0]) == set(table.columns) - {"geometry", "bbox"} | {"WKT"}
    first = lines[0]
    assert first["s2_datetime"] == "2021-06-01T10:00:00.024000Z"
    assert first["inclusion_probability"] == ""
    assert np.float32(first["landcover_tree_cover"]) == table["landcover_tree_cover"][0]
    assert lines[2]["s2_item"] == ""


def test_gdal_finds_the_geometry_of_the_csv(written, table):
    places = gpd.read_file(written("csv", "a.csv"))
    assert (places.geometry.geom_equals_exact(gpd.GeoSeries.from_wkb(table["geometry"]), 1e-8)).all()


def test_geojson_is_of_rfc_7946(written, table):
    text = written("geojson", "a.geojson").read_text()
    content = json.loads(text)
    assert list(content) == ["type", "features"], "no crs: it is always longitude and latitude on WGS 84"
    assert [feature["id"] for feature in content["features"]] == table["tile_id"].tolist()
    for feature in content["features"]:
        shape = shapely.geometry.shape(feature["geometry"])
        parts = shapely.get_parts(shape)
        assert shapely.is_ccw(shapely.get_exterior_ring(parts)).all()
        bounds = shapely.bounds(parts)
        assert (bounds[:, 2] - bounds[:, 0] < 90).all()
        assert (np.abs(bounds) <= [180, 90, 180, 90]).all()
        west, south, east, north = feature["bbox"]
        assert (west > east) == (len(parts) > 1)
        assert south <= feature["properties"]["lat"] <= north
    cut = content["features"][across(table)]
    assert cut["geometry"]["type"] == "MultiPolygon"
    assert "NaN" not in text


def test_geopandas_reads_the_geojson(written, table):
    places = gpd.read_file(written("geojson", "a.geojson"))
    assert places.crs == "EPSG:4326"
    assert places["tile_id"].tolist() == table["tile_id"].tolist()
    assert places["weight"].to_numpy() == pytest.approx(table["weight"].to_numpy())


def test_olmoearth_is_a_list_of_places(written, table):
    places = json.loads(written("olmoearth", "places.json").read_text())
    assert places == table[["lon", "lat"]].to_numpy().tolist()


@foreign
def test_olmoearth_finds_a_tile_for_every_place(written, table):
    """As `from_lon_lat_list` reads them, up to what asks catalogues on the network."""
    util = pytest.importorskip("olmoearth_pretrain.dataset_creation.create_windows.util")
    places = [(lon, lat) for lon, lat in json.loads(written("olmoearth", "places.json").read_text())]
    for k in [k for k in range(0, len(places), 7) if abs(places[k][1]) < 80]:
        tile = util.get_res10_tile(places[k])
        x, y = (tile.col + 0.5) * 2560, -(tile.row + 0.5) * 2560
        centre = rasterio.warp.transform(tile.crs, "EPSG:4326", [x], [y])
        assert shapely.contains_xy(shapely.from_wkb(table["geometry"][k]), centre[0][0], centre[1][0])


# ---- Major TOM ------------------------------------------------------------


def test_majortom_has_its_columns(written, table):
    found = pq.read_table(written("majortom", "metadata.parquet"))
    assert found.num_rows == len(table) - 1, "the tile without scenes has no product"
    core = ["grid_cell", "grid_row_u", "grid_col_r", "product_id", "timestamp", "cloud_cover", "nodata"]
    assert found.column_names[:11] == [*core, "centre_lat", "centre_lon", "crs", "geometry"]
    for row in found.to_pylist():
        north, east = ("U" if row["grid_row_u"] >= 0 else "D"), ("R" if row["grid_col_r"] >= 0 else "L")
        assert row["grid_cell"] == f"{abs(row['grid_row_u'])}{north}_{abs(row['grid_col_r'])}{east}"
        assert 0 <= row["nodata"] <= 1
    assert found["nodata"][1].as_py() == 0.25
    assert gpd.read_parquet(written("majortom", "metadata.parquet")).crs == "EPSG:4326"


def read_as_majortom(path: Path) -> gpd.GeoDataFrame:
    """As its `metadata_from_url` does, but for the CRS, which there is that of the first row."""
    rows = pq.read_table(path).to_pandas()
    rows["timestamp"] = pd.to_datetime(rows.timestamp)
    return gpd.GeoDataFrame(rows, geometry=gpd.points_from_xy(rows.centre_lon, rows.centre_lat), crs="EPSG:4326")


def test_majortom_can_be_filtered_as_its_helpers_do(written):
    """Comparisons of times with text, percents and shares, and a spatial index: what `filter_metadata` needs."""
    rows = read_as_majortom(written("majortom", "metadata.parquet"))
    late = rows[(rows.timestamp >= "2021-07-01") & (rows.timestamp <= "2021-12-31")]
    assert 0 < len(late) < len(rows)
    clear = late[(late.cloud_cover >= 0) & (late.cloud_cover <= 10) & (late.nodata <= 0.3)]
    assert 0 < len(clear) < len(late)
    assert len(rows.take(rows.sindex.query(shapely.box(-180, 0, 180, 90)))) == (rows.grid_row_u >= 0).sum()


@foreign
def test_majortom_filters_it(written):
    helpers = pytest.importorskip("MajorTOM.metadata_helpers")
    rows = read_as_majortom(written("majortom", "metadata.parquet"))
    found = helpers.filter_metadata(
        rows,
        region=shapely.box(-180, 0, 180, 90),
        daterange=("2021-06-10", "2022-06-01"),
        cloud_cover=(0, 10),
        nodata=(0, 0.3),
    )
    assert 0 < len(found) < len(rows)
    assert found.cloud_cover.max() <= 10
    assert found.centre_lat.min() >= 0


def test_majortom_has_a_row_a_season(seasonal, tmp_path):
    export(seasonal[0], "majortom", tmp_path / "m.parquet")
    rows = pq.read_table(tmp_path / "m.parquet").to_pylist()
    assert [row["product_id"] for row in rows[:4]] == [
        "S2B_scene_0_0",
        "S2B_scene_0_1",
        "S2B_scene_1_0",
        "S2B_scene_1_1",
    ]


# ---- STAC ------------------------------------------------------------


@pytest.fixture
def items(written):
    return written("stac-geoparquet", "items.parquet")


def check_item(item: dict, row: dict) -> None:
    assert (item["type"], item["id"]) == ("Feature", row["tile_id"])
    assert item["properties"]["datetime"].startswith("2021-06-01T10:00:00.024")
    assert item["properties"]["start_datetime"].startswith("2021-05-31T10")
    assert item["assets"]["B8A"]["href"] == "https://example.org/s2/0/T0_B8A.tif"
    assert item["assets"]["VH"]["roles"] == ["data"]
    assert len(item["assets"]) == 14
    read = pystac.Item.from_dict(item)
    projection = ProjectionExtension.ext(read)
    assert projection.code == row["crs"]
    assert projection.bbox == [row[edge] for edge in ("x_min", "y_min", "x_max", "y_max")]
    assert read.properties["eo:cloud_cover"] == 0


def test_rustac_reads_the_items(items, table):
    rustac = pytest.importorskip("rustac")
    found = rustac.read_sync(str(items))["features"]
    assert len(found) == len(table) - 1
    check_item(found[0], table.iloc[0].to_dict())


def test_stac_geoparquet_reads_the_items(items, table):
    arrow = pytest.importorskip("stac_geoparquet.arrow")
    found = list(arrow.stac_table_to_items(pq.read_table(items)))
    assert len(found) == len(table) - 1
    check_item(found[0], table.iloc[0].to_dict())


def test_items_are_valid(items):
    """Against the schema of STAC 1.1 that pystac brings with it; those of extensions would have to be downloaded."""
    pytest.importorskip("jsonschema")
    arrow = pytest.importorskip("stac_geoparquet.arrow")
    for item in arrow.stac_table_to_items(pq.read_table(items).slice(0, 5)):
        pystac.Item.from_dict(item | {"stac_extensions": []}).validate()


def test_items_are_geoparquet(items, table):
    found = gpd.read_parquet(items)
    assert found.crs == "EPSG:4326"
    assert json.loads(pq.read_schema(items).metadata[b"stac-geoparquet"])["version"] == "1.0.0"


def test_items_of_seasons_have_names_of_their_own(seasonal, tmp_path):
    export(seasonal[0], "stac-geoparquet", tmp_path / "i.parquet")
    found = pq.read_table(tmp_path / "i.parquet")
    assert len(set(found["id"].to_pylist())) == found.num_rows
    assert found["id"][0].as_py().endswith("_winter")
    assert found["csmoe:s2_item"][0].as_py() == "S2B_scene_0_0"


# ---- rslearn ------------------------------------------------------------


def windows_of(folder: Path) -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("windows/*/*/metadata.json")}


def test_rslearn_windows_are_the_footprints(written, table):
    windows = windows_of(written("rslearn", "windows"))
    assert len(windows) == len(table) - 1
    for row in table.drop(index=2).to_dict("records"):
        window = windows[row["tile_id"]]
        left, top, right, bottom = window["bounds"]
        assert np.allclose(
            [left * 10, -bottom * 10, right * 10, -top * 10],
            [row[e] for e in ("x_min", "y_min", "x_max", "y_max")],
            atol=5,
        )
        assert window["projection"] == {"crs": row["crs"], "x_resolution": 10.0, "y_resolution": -10.0}
    assert windows[table["tile_id"][0]]["time_range"] == ["2021-05-31T00:00:00+00:00", "2021-06-02T00:00:00+00:00"]


def test_rslearn_layers_are_the_chips(written, inputs, table):
    folder = written("rslearn", "materialised", chips=True)
    windows = windows_of(folder)
    # The third tile has pixels in this store, though no scenes in the manifest: it cannot be placed in time.
    assert set(windows) == set(table["tile_id"][:FETCHED].drop(index=2))
    for path in folder.glob("windows/*/*/layers/sentinel2/B02_B03_B04_B08/geotiff.tif"):
        with rasterio.open(path) as file:
            left, top, right, bottom = windows[path.parents[3].name]["bounds"]
            assert tuple(file.bounds) == (left * 10, -bottom * 10, right * 10, -top * 10)
            assert (file.count, file.height, file.nodata) == (len(BANDS), SIZE_PX, -32768)
        assert (path.parents[1] / "completed").exists()


@foreign
def test_rslearn_reads_the_windows(written, table):
    dataset_of = pytest.importorskip("rslearn.dataset").Dataset
    path_of = importlib.import_module("upath").UPath
    dataset = dataset_of(path_of(written("rslearn", "windows")))
    windows = {window.name: window for window in dataset.load_windows()}
    assert len(windows) == len(table) - 1
    first = windows[table["tile_id"][0]]
    assert str(first.projection.crs) == table["crs"][0]
    assert (first.group, first.options["split"]) == (table["split"][0],) * 2
    assert first.time_range[0].isoformat() == "2021-05-31T00:00:00+00:00"
    for layer in dataset.layers.values():
        layer.instantiate_data_source(dataset.path)


@foreign
def test_rslearn_reads_the_pixels(written, table):
    dataset_of = pytest.importorskip("rslearn.dataset").Dataset
    path_of = importlib.import_module("upath").UPath
    dataset = dataset_of(path_of(written("rslearn", "materialised", chips=True)))
    window = next(window for window in dataset.load_windows() if window.name == table["tile_id"][1])
    assert sorted(window.list_completed_layers()) == [("sentinel1", 0), ("sentinel2", 0)]
    bands = dataset.layers["sentinel2"].band_sets[0]
    pixels = window.data.read_raster("sentinel2", bands.bands, bands.instantiate_raster_format()).array
    assert pixels.shape == (len(BANDS), 1, SIZE_PX, SIZE_PX)
    assert pixels[1, 0, 3, 4] == 2000 + 100 + 3 * 3 + 4
    assert pixels[1, 0, 2, 5] == -32768


def test_pixels_between_those_of_rslearn_are_refused(inputs, tmp_path, monkeypatch):
    opened = ChipRows.__init__

    def with_wide_pixels(self, path):
        opened(self, path)
        self.metadata = {**self.metadata, "pixel_m": 30.0}

    monkeypatch.setattr(ChipRows, "__init__", with_wide_pixels)
    with pytest.raises(ChipError, match=r"between two pixels of 30 m.*fetch with --pixel-m 10"):
        export(inputs[0], "rslearn", tmp_path / "out", chips=inputs[1])
    assert not list(tmp_path.iterdir())


# ---- TorchGeo and TerraTorch ------------------------------------------------------------


def test_torchgeo_has_a_folder_a_zone(written, table):
    folder = written("torchgeo", "torchgeo", chips=True)
    samples = pd.read_csv(folder / "samples.csv")
    assert samples["tile_id"].tolist() == table["tile_id"][:FETCHED].tolist()
    assert samples["split"].tolist() == table["split"][:FETCHED].tolist()
    for row in samples.itertuples():
        assert row.s2.startswith(f"s2/{row.crs.removeprefix('EPSG:')}/{row.tile_id}_2021")
        for name in (row.s2, row.s1, row.scl):
            with rasterio.open(folder / name) as file:
                assert str(file.crs) == row.crs


@foreign
def test_torchgeo_reads_the_chips(written):
    datasets = pytest.importorskip("torchgeo.datasets")
    samplers = importlib.import_module("torchgeo.samplers")
    folder = written("torchgeo", "torchgeo", chips=True)
    samples = pd.read_csv(folder / "samples.csv")
    first = samples.iloc[0]
    zone = first.crs.removeprefix("EPSG:")
    optical = datasets.RasterDataset(folder / "s2" / zone)
    both = optical & datasets.RasterDataset(folder / "s1" / zone)
    num = (samples.crs == first.crs).sum()
    assert len(optical) == len(both) == num
    images = [both[query]["image"] for query in samplers.PreChippedGeoSampler(both)]
    assert [tuple(image.shape) for image in images] == [(len(BANDS) + 2, SIZE_PX, SIZE_PX)] * num
    assert {int(image[0, 0, 0]) for image in images} == {
        1000 + 100 * k for k in samples.index[samples.crs == first.crs]
    }


def settings_of(folder: Path) -> dict:
    """What a YAML reader finds, read as lines of `key: JSON`."""
    found: dict = {}
    stack = [found]
    for line in (folder / "datamodule.yaml").read_text().splitlines()[1:]:
        depth = (len(line) - len(line.lstrip())) // 2
        key, _, value = line.strip().partition(":")
        del stack[depth + 1 :]
        stack[-1][key] = json.loads(value) if value.strip() else {}
        if not value.strip():
            stack.append(stack[-1][key])
    return found


def test_terratorch_settings_say_what_the_files_hold(written, table):
    folder = written("terratorch", "terratorch", chips=True)
    settings = settings_of(folder)["init_args"]
    assert settings["dataset_bands"] == {"S2L2A": list(BANDS), "S1RTC": ["VV", "VH"]}
    fetched = table[:FETCHED]
    train = fetched.index[fetched["split"] == "train"]
    pixels = {"S2L2A": [], "S1RTC": []}
    for modality, values in pixels.items():
        for k in train:
            with rasterio.open(folder / modality / f"{table['tile_id'][k]}_{modality}.tif") as file:
                values.append(file.read(masked=True).astype(float).filled(np.nan))
        stack = np.stack(values, axis=1).reshape(len(values[0]), -1)
        assert settings["means"][modality] == pytest.approx(np.nanmean(stack, axis=1), abs=1e-3)
        assert settings["stds"][modality] == pytest.approx(np.nanstd(stack, axis=1), abs=1e-3)
    for split in ("train", "validation", "test"):
        listed = (folder / f"{split}.txt").read_text().split()
        assert listed == fetched["tile_id"][fetched["split"] == split].tolist() != []
    listed = "".join(path.read_text() for path in folder.glob("*.txt"))
    assert not any(tile in listed for tile in fetched["tile_id"][fetched["split"] == "buffer"])


def test_settings_are_yaml(written):
    yaml = pytest.importorskip("yaml")
    folder = written("terratorch", "terratorch", chips=True)
    assert yaml.safe_load((folder / "datamodule.yaml").read_text()) == settings_of(folder)


@foreign
def test_terratorch_reads_the_chips(written, monkeypatch, table):
    pytest.importorskip("terratorch")
    folder = written("terratorch", "terratorch", chips=True)
    monkeypatch.chdir(folder)
    settings = settings_of(folder)
    module, _, name = settings["class_path"].rpartition(".")
    data = getattr(importlib.import_module(module), name)(**settings["init_args"] | {"batch_size": 2})
    data.setup("fit")
    data.setup("test")
    datasets = {"train": data.train_dataset, "validation": data.val_dataset, "test": data.test_dataset}
    assert {split: len(found) for split, found in datasets.items()} == dict(
        table["split"][:FETCHED].value_counts().drop("buffer", errors="ignore")
    )
    image = data.train_dataset[0]["image"]
    assert {key: tuple(value.shape) for key, value in image.items()} == {
        "S2L2A": (len(BANDS), SIZE_PX, SIZE_PX),
        "S1RTC": (2, SIZE_PX, SIZE_PX),
    }
    batch = next(iter(data.train_dataloader()))
    assert abs(float(data.aug(batch)["image"]["S2L2A"].mean())) < 2


def test_seasons_are_samples_of_their_own(seasonal, tmp_path):
    export(seasonal[0], "terratorch", tmp_path / "tt", chips=seasonal[1])
    assert len(list(tmp_path.glob("tt/S2L2A/*_winter_S2L2A.tif"))) == FETCHED
    export(seasonal[0], "rslearn", tmp_path / "rs", chips=seasonal[1])
    names = {path.parent.name for path in tmp_path.glob("rs/windows/*/*/metadata.json")}
    assert len(names) == 2 * (FETCHED - 1)
    assert export(seasonal[0], "torchgeo", tmp_path / "tg", chips=seasonal[1]).startswith(f"{FETCHED} chips, 1 tile")


# ---- Croissant ------------------------------------------------------------


def test_croissant_has_the_digest_of_every_file(written, inputs):
    path = written("croissant", "croissant.json", chips=True)
    content = json.loads(path.read_text())
    files = content["distribution"]
    assert files[0]["@id"] == "manifest"
    store = [found for found in inputs[1].rglob("*") if found.is_file() and not found.name.startswith(".")]
    assert len(files) == len(store) + 1
    for file in files:
        found = (path.parent / file["contentUrl"]).read_bytes()
        assert hashlib.sha256(found).hexdigest() == file["sha256"]
        assert file["contentSize"] == f"{len(found)} B"


def test_croissant_describes_the_columns(written, table):
    content = json.loads(written("croissant", "croissant.json", chips=True).read_text())
    fields = {field["name"]: field for field in content["recordSet"][0]["field"]}
    assert set(fields) == set(table.columns) - {"bbox"}
    assert {name: fields[name]["dataType"] for name in ("rank", "lon", "split", "s2_datetime")} == {
        "rank": "sc:Integer",
        "lon": "sc:Float",
        "split": "sc:Text",
        "s2_datetime": "sc:DateTime",
    }


@foreign
def test_mlcroissant_reads_the_manifest(written, table):
    mlc = pytest.importorskip("mlcroissant")
    dataset = mlc.Dataset(jsonld=str(written("croissant", "croissant.json", chips=True)))
    assert not dataset.metadata.issues.errors
    records = list(dataset.records("tiles"))
    assert [record["tiles/tile_id"].decode() for record in records] == table["tile_id"].tolist()


def test_chips_are_looked_for_beside_the_manifest(inputs, tmp_path, monkeypatch):
    from csmoe_sampler.cli import app

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for source, name in zip(inputs, ("sample.parquet", "chips.zarr"), strict=True):
        (tmp_path / name).symlink_to(source)
    command = ["export", str(tmp_path / "sample.parquet"), "--to", "geotiff", "--out", "files", "-q"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert list(Path("files").rglob("*.tif"))


# ---- the page ------------------------------------------------------------

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "exports.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")[1:]}


def test_the_page_has_a_section_and_a_row_a_format():
    in_table = re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE)
    assert set(in_table) == set(FORMATS)
    assert set(SECTIONS) == {to for to in FORMATS if to not in ("webdataset", "geotiff")}


@foreign
@pytest.mark.parametrize("to", SECTIONS)
def test_what_the_page_shows_runs(inputs, tmp_path, monkeypatch, to):
    from csmoe_sampler.cli import app

    monkeypatch.chdir(tmp_path)
    for source in inputs:
        (tmp_path / source.name).symlink_to(source)
    for command in re.findall(r"^csmoe-sample (export .*)", SECTIONS[to], re.MULTILINE):
        shutil.rmtree("dataset", ignore_errors=True)  # where a section shows two ways
        result = CliRunner().invoke(app, [*shlex.split(command), "-q"])
        assert result.exit_code == 0, result.output
    code = "\n".join(re.findall(r"```python\n(.*?)```", SECTIONS[to], re.DOTALL))
    if to == "terratorch":
        monkeypatch.chdir("chips")
    if to == "torchgeo":
        code = code.replace("32631", sorted(path.name for path in Path("chips/s2").iterdir())[0])
    try:
        exec(code, {})
    except ModuleNotFoundError as error:
        pytest.skip(f"no {error.name}")
