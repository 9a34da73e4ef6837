"""Embeddings as files: what stands in them, where it lies on the globe, and that killing a run changes nothing."""

import json
import multiprocessing
import random
import time

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pyproj
import pytest
import shapely
import torch
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from csmoe_model.cli.embed import embed
from csmoe_model.data.store import ChipStore
from csmoe_model.embedding import write
from csmoe_model.embedding.layout import grid_place, wkb
from csmoe_model.embedding.quicklook import principal_components, quicklook_figure
from csmoe_model.embedding.utm import to_lon_lat
from csmoe_model.errors import ConfigError, DataError
from csmoe_model.train.checkpoint import load_model
from model.embedding_runs import CHIP_PX, content, one_thread_run, run, write_inputs
from model.processes import PRELOADED

TILES = [k for k in range(11) if k != 2]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before, rows = torch.get_num_threads(), write._PART_ROWS
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    write._PART_ROWS = rows


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def written(inputs, tmp_path_factory):
    """A whole file, a row a tile and sensor."""
    out = tmp_path_factory.mktemp("written") / "all.parquet"
    return out, run(inputs, out)


def features_by_hand(inputs, sensor, row):
    """Features of the middle of a chip, standardised by hand."""
    model = load_model(inputs[0])
    about = model.config.sensors[sensor]
    margin = (CHIP_PX - model.config.image_px) // 2
    pixels = ChipStore(inputs[2]).read(row, sensor, about.bands)[:, margin:-margin, margin:-margin]
    mean, std = (np.array(values)[:, None, None] for values in (about.mean, about.std))
    with torch.no_grad():
        return model.encoder(sensor, torch.from_numpy(np.nan_to_num((pixels - mean) / std)).float()[None])


def test_rows_are_tiles_by_sensor_with_the_features_of_the_model(inputs, written):
    out, found = written
    columns = content(out)
    expected = [(k, name) for k in TILES for name in ("s1", "s2") if (k, name) != (4, "s1")]
    assert list(zip(columns["grid_cell"], columns["sensor"], strict=True)) == [
        (f"{k}U_{k}R", name) for k, name in expected
    ]
    for place, (row, sensor) in enumerate(expected):
        pooled = features_by_hand(inputs, sensor, row).pooled[0].numpy()
        np.testing.assert_allclose(columns["embedding"][place], pooled, atol=2e-5)
        assert columns["product_id"][place] == f"{sensor}-{row}"
    assert columns["timestamp"][2] == "2023-11-14 22:13:20"
    assert columns["timestamp"][3] == "2020-09-14 12:26:40"
    assert columns["grid_row_u"] == [row for row, _ in expected]
    assert columns["pixel_bbox"][0] == [4, 4, 36, 36]
    assert len(set(columns["unique_id"])) == len(expected)
    assert (found.rows, found.missing, found.num_made) == (19, {"s1": 1, "s2": 0}, 10)


def test_geopandas_reads_places_as_proj_has_them(inputs, written):
    table = geopandas.read_parquet(written[0])
    assert table.crs == "EPSG:4326"
    assert table.geometry.is_valid.all()
    assert table.loc[0, "utm_crs"] == "EPSG:32633"
    for row in table.itertuples():
        utm = shapely.from_wkt(row.utm_footprint)
        assert utm.area == pytest.approx(320.0**2)
        project = pyproj.Transformer.from_crs(row.utm_crs, 4326, always_xy=True).transform
        lon, lat = project(*np.array(utm.exterior.coords).T)
        centre = project(*np.array(utm.centroid.coords)[0])
        assert (row.centre_lon, row.centre_lat) == pytest.approx(centre, abs=1e-5)
        if row.geometry.geom_type == "Polygon":
            assert row.geometry.exterior.is_ccw
            np.testing.assert_allclose(row.geometry.exterior.coords, np.stack([lon, lat], 1), atol=1e-8)
        else:
            west, east = sorted(row.geometry.geoms, key=lambda part: part.bounds[0])
            assert (west.bounds[0], east.bounds[2]) == (-180, 180)
    kinds = table.geometry.geom_type.value_counts()
    assert kinds["MultiPolygon"] == sum(table.utm_crs == "EPSG:32660")
    geo = json.loads(pq.read_schema(written[0]).metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    assert geo["columns"]["geometry"]["geometry_types"] == ["MultiPolygon", "Polygon"]
    np.testing.assert_allclose(geo["columns"]["geometry"]["bbox"], table.total_bounds, atol=1e-9)


def test_the_layout_is_major_toms(written):
    schema = pq.read_schema(written[0])
    types = [f"{field.name} {field.type}".replace("element:", "item:") for field in schema]
    assert types == [
        "unique_id string",
        "embedding fixed_size_list<item: float>[32]",
        "sensor string",
        "timestamp string",
        "product_id string",
        "grid_cell string",
        "grid_row_u int16",
        "grid_col_r int16",
        "geometry binary",
        "centre_lat float",
        "centre_lon float",
        "utm_footprint string",
        "utm_crs string",
        "pixel_bbox fixed_size_list<item: int32>[4]",
    ]
    about = json.loads(schema.metadata[b"csmoe"])
    assert set(about["inputs"]) >= {"checkpoint", "manifest", "sensors", "seasons", "version", "dtype", "image_px"}
    assert about["inputs"]["sensors"]["s1"]["bands"] == ["VV", "VH"]


def test_patches_are_tokens_and_tile_the_view(inputs, tmp_path):
    found = run(inputs, tmp_path / "patches.parquet", per_patch=True, sensors=("s2",), dtype="float16", batch=3)
    columns = content(tmp_path / "patches.parquet")
    assert found.rows == len(TILES) * 16
    assert pq.read_schema(tmp_path / "patches.parquet").field("embedding").type.value_type == "halffloat"
    first = slice(16, 32)
    tokens = features_by_hand(inputs, "s2", 1).tokens[0].numpy()
    np.testing.assert_allclose(np.array(columns["embedding"][first], float), tokens, atol=5e-3)
    boxes = np.array(columns["pixel_bbox"][first])
    np.testing.assert_array_equal(boxes[:5, :2], [[4, 4], [12, 4], [20, 4], [28, 4], [4, 12]])
    parts = shapely.from_wkt(columns["utm_footprint"][first])
    assert shapely.union_all(parts).area == pytest.approx(320.0**2)
    assert shapely.bounds(parts)[0].tolist() == [300_041.0, 7_000_287.0, 300_121.0, 7_000_367.0]
    assert len(set(columns["unique_id"])) == found.rows


def test_a_run_killed_at_any_moment_ends_with_the_same_bytes(inputs, written, tmp_path):
    out, chance = tmp_path / "all.parquet", random.Random(0)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    killed = 0
    for _ in range(2):
        process = context.Process(target=one_thread_run, args=(inputs, out, 0.15))
        parts = len(list(out.parent.glob("*.parts/part-*")))
        process.start()
        while process.is_alive() and len(list(out.parent.glob("*.parts/part-*"))) <= parts:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.15))
        process.kill()
        process.join()
        killed += process.exitcode == -9
    assert killed == 2
    found = run(inputs, out, workers=1)
    assert found.num_made <= len(TILES) - 2 * killed
    assert (found.rows, found.missing) == (written[1].rows, written[1].missing)
    assert out.read_bytes() == written[0].read_bytes()
    assert [path.name for path in out.parent.iterdir()] == ["all.parquet"]


def test_a_file_of_the_same_inputs_is_left_and_another_is_refused(inputs, written):
    before = written[0].stat().st_mtime_ns
    assert run(inputs, written[0]).num_made == 0
    with pytest.raises(ConfigError, match="made with other dtype: choose another --out"):
        run(inputs, written[0], dtype="float16")
    assert written[0].stat().st_mtime_ns == before


def test_a_strange_file_is_refused(inputs, tmp_path):
    out = tmp_path / "notes.parquet"
    out.write_text("mine")
    with pytest.raises(ConfigError, match="is there, made with other"):
        run(inputs, out)
    assert out.read_text() == "mine"


def test_parts_of_other_inputs_are_refused(inputs, written, tmp_path):
    folder = tmp_path / "all.parquet.parts"
    folder.mkdir()
    (folder / "part-00000.parquet").write_bytes(written[0].read_bytes())
    with pytest.raises(ConfigError, match=r"part-00000\.parquet: is there, made with other sensors: remove"):
        run(inputs, tmp_path / "all.parquet", sensors=("s2",))


def test_features_that_are_not_finite_name_their_tile(inputs, tmp_path, monkeypatch):
    whole = load_model(inputs[0])
    monkeypatch.setattr("csmoe_model.embedding.embedder.load_model", lambda _: whole)
    with torch.no_grad():
        whole.encoder.pooled_norm.weight.fill_(torch.nan)
    with pytest.raises(DataError, match="embedding of s1 of tile 0U_0R is not finite"):
        run(inputs, tmp_path / "bad.parquet")


def test_unknown_sensors_are_refused(inputs, tmp_path):
    with pytest.raises(ConfigError, match="--sensor s3: the model has s1, s2"):
        run(inputs, tmp_path / "bad.parquet", sensors=("s3",))


def test_the_command_writes_the_file_and_a_picture(inputs, written, tmp_path):
    app = typer.Typer()
    app.command()(embed)
    checkpoint, manifest, chips = map(str, inputs)
    out = tmp_path / "all.parquet"
    options = ["--checkpoint", checkpoint, "--manifest", manifest, "--chips", chips, "--batch", "2", "--workers", "0"]
    result = CliRunner().invoke(app, [*options, "--out", str(out), "--quiet"], catch_exceptions=False)
    assert "19 embeddings of 10 tiles" in result.output
    assert "no rows: 1 tiles have no s1" in result.output
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert content(out) == content(written[0])


@given(
    zone=st.integers(1, 60),
    south=st.booleans(),
    x=st.floats(100_000, 900_000),
    y=st.floats(1_000_000, 9_300_000),
)
@settings(max_examples=100, deadline=None)
def test_utm_is_projs_to_the_micrometre(zone, south, x, y):
    crs = f"EPSG:32{7 if south else 6}{zone:02d}"
    lon, lat = to_lon_lat(np.array([[x]]), np.array([[y]]), [crs])
    wanted = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    east = (lon[0, 0] - wanted[0] + 180) % 360 - 180
    assert abs(east) * np.cos(np.radians(wanted[1])) < 1e-11
    assert abs(lat[0, 0] - wanted[1]) < 1e-11


def test_chips_outside_utm_are_refused():
    with pytest.raises(DataError, match="chips in EPSG:3035"):
        to_lon_lat(np.zeros(1), np.zeros(1), ["EPSG:3035"])


@given(west=st.floats(-182, 181), width=st.floats(0.01, 0.5), tilt=st.floats(-0.3, 0.3))
@settings(max_examples=100, deadline=None)
def test_polygons_keep_their_area_within_the_world(west, width, tilt):
    corners = np.array([[0, 0], [1, tilt], [1 + tilt, 1], [tilt, 1 - tilt]]) * width + [west, 60]
    (blob,), (extent,) = wkb(corners[None])
    shape = shapely.from_wkb(blob)
    assert shape.is_valid
    assert shape.area == pytest.approx(shapely.Polygon(corners).area, rel=1e-6, abs=1e-9)
    assert extent.tolist() == pytest.approx(shape.bounds, abs=1e-9)
    assert -180 <= shape.bounds[0] < shape.bounds[2] <= 180


@pytest.mark.parametrize(
    ("tile", "place"),
    [("543U_17R", (543, 17)), ("378D_1396R", (-378, 1396)), ("35D_668L", (-35, -668)), ("0U_0R", (0, 0))],
)
def test_grid_places_are_signed(tile, place):
    assert grid_place(tile) == place


@pytest.mark.parametrize("tile", ["", "17R_543U", "543U-17R", "543U_17R_1"])
def test_other_names_are_no_cells(tile):
    with pytest.raises(DataError, match="is no cell"):
        grid_place(tile)


def test_colours_are_those_of_the_principal_components():
    chance = np.random.default_rng(0)
    hidden = chance.normal(size=(500, 3)) * [9.0, 3.0, 1.0]
    features = hidden @ np.linalg.qr(chance.normal(size=(8, 8)))[0][:3] + 5
    found = principal_components(features)
    colours = found.colours()
    assert colours.min() == 0
    assert colours.max() == 1
    assert found.shares.sum() == pytest.approx(1)
    assert found.shares.tolist() == sorted(found.shares, reverse=True)
    for k in range(3):
        assert abs(np.corrcoef(colours[:, k], hidden[:, k])[0, 1]) > 0.97
        assert abs(np.corrcoef(found.values[:, k], hidden[:, k])[0, 1]) > 0.99
    np.testing.assert_allclose(principal_components(np.ones((4, 8))).colours(), 0)
    assert principal_components(np.eye(2, 5)).values.shape == (2, 3)  # fewer components than that are 0


def test_the_quick_look_has_a_map_and_a_plane_for_each_sensor(written):
    figure = quicklook_figure(written[0])
    assert [axes.get_title().split(":")[0] for axes in figure.axes] == ["s1", "s2", "", ""]
    assert [len(axes.collections[0].get_offsets()) for axes in figure.axes] == [9, 10, 9, 10]
    assert [axes.get_xlabel().split(",")[0] for axes in figure.axes[2:]] == ["component 1"] * 2
