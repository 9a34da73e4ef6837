"""Chips: the values of the files, on one grid, in a store that anybody can open."""

import shutil
import tarfile
from dataclasses import replace

import numpy as np
import pyproj
import pytest
import rasterio
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.warp import transform

from csmoe_sampler.chips.fetch import failures_of, fetch_chips
from csmoe_sampler.chips.grid import ChipGrid, Footprint, Lattice, place_chip
from csmoe_sampler.chips.layout import Layout
from csmoe_sampler.chips.radiometry import store_dn, to_decibels, to_dn, valid_share
from csmoe_sampler.chips.shards import ShardFile
from csmoe_sampler.chips.store import ChipStore, compress_chip, create_store, open_chips, open_shard
from csmoe_sampler.chips.windows import Access, BandFile, read_bands, split_address
from csmoe_sampler.config import S2_BANDS, ChipConfig, SceneConfig
from csmoe_sampler.engine import open_client
from csmoe_sampler.errors import ChipError
from sampler.chip_inputs import Chosen, manifest_of, terramesh, write_band, write_provider

PLACES = ("637U_59R_1_3", "433D_629L_3_1", "282D_485L_3_3")


@pytest.fixture(scope="module")
def client():
    with open_client(workers=2) as client:
        yield client


@pytest.fixture(scope="module")
def real(shared_data, tmp_path_factory, client):
    """The store of the three TerraMesh places, whose offset nobody tells, so that pixels are looked at."""
    folder = shared_data / "sentinel" / "terramesh"
    out = tmp_path_factory.mktemp("real") / "chips.zarr"
    scenes = SceneConfig(provider=str(write_provider(out.parent / "terramesh.toml")), url=str(folder))
    config = ChipConfig(size_px=224, shard_chips=2)
    result = fetch_chips(manifest_of(terramesh(folder, PLACES)), out, config, scenes, client=client)
    return out, folder, result


def test_real_chips_have_the_values_of_their_files(real):
    out, folder, result = real
    assert result.chip.tolist() == [0, 1, 2]
    assert result.failed == ()
    with ChipStore(out) as store, open_chips(out) as chips:
        for row, name in enumerate(PLACES):
            with (
                rasterio.open(folder / "S2L2A" / f"{name}.tif") as s2,
                rasterio.open(folder / "S1RTC" / f"{name}.tif") as s1,
            ):
                dn, decibels = s2.read(), s1.read()
            offset = {"433D_629L_3_1": 1000}.get(name, 0)
            chip = store.read(row)
            assert np.array_equal(chip["s2"], dn - offset)
            assert np.array_equal(chip["s1"], decibels.astype(np.float16))
            assert np.allclose(chips["s2"][row].values, (dn - offset) / 1e4, atol=1e-6)
    assert open_chips(out).s2_offset.values.tolist() == [0, 1000, 0]


@pytest.mark.parametrize(("rule", "subtracted"), [("metadata", 0), ("detect", 1000)])
def test_an_offset_that_is_told_wrong_is_believed_unless_pixels_are_asked(
    rule, subtracted, shared_data, tmp_path, client
):
    folder = shared_data / "sentinel" / "terramesh"
    told = [replace(one, offset=0.0) for one in terramesh(folder, ["433D_629L_3_1"])]
    scenes = SceneConfig(provider=str(write_provider(tmp_path / "terramesh.toml")), url=str(folder))
    fetch_chips(manifest_of(told), tmp_path / "chips.zarr", ChipConfig(size_px=224, offset=rule), scenes, client=client)
    assert open_chips(tmp_path / "chips.zarr").s2_offset.values.tolist() == [subtracted]


def test_xarray_shows_it_right_and_without_warnings(real):
    out, _, _ = real
    with xr.open_zarr(out) as chips:
        assert chips["s2"].dims == ("sample", "s2_band", "y", "x")
        assert chips["s1"].dims == ("sample", "s1_band", "y", "x")
        assert chips["s2_band"].values.tolist() == list(S2_BANDS)
        assert chips["s1_band"].values.tolist() == ["VV", "VH"]
        assert chips["tile_id"].values.tolist() == list(PLACES)
        assert chips["s2_time"].values[0] == np.datetime64("2021-07-01T10:30:31.024")
        assert chips["s1_item"].values.tolist() == [f"{name}-s1" for name in PLACES]
        assert chips["status"].values.tolist() == [0, 0, 0]
        assert (chips["bounds"].dims, chips["crs"].values[0]) == (("sample", "edge"), "EPSG:32632")
        assert chips["bounds"].sel(edge="x_max").values[0] - chips["bounds"].sel(edge="x_min").values[0] == 2240
        assert (chips["s1"].attrs["units"], chips["s1"].dtype) == ("dB", np.float32)
        assert set(chips.coords) >= {"lon", "lat", "s2_valid", "s1_valid", "s2_offset", "s2_item"}
        provenance = chips.attrs["csmoe"]
    assert (provenance["format"], provenance["version"], provenance["size_px"]) == ("csmoe chips", 1, 224)
    assert provenance["sensors"]["s1"]["bands"] == ["VV", "VH"]
    assert provenance["manifest"]["num_rows"] == 3
    assert provenance["failed"] == []


def test_zarr_and_the_reader_agree(real):
    out, _, _ = real
    group = zarr.open_group(out, mode="r")
    with ChipStore(out) as store:
        assert len(store) == 3
        for name in ("s2", "s1"):
            whole = group[name][:]
            assert np.array_equal(whole, np.stack([store.read(row)[name] for row in range(3)]))
        with pytest.raises(IndexError, match="row 3 of a chip store of 3"):
            store.read(3)


def test_zarr_writes_what_the_reader_reads(tmp_path):
    layout = Layout(num_rows=5, size_px=6, shard_chips=2, s2_bands=("B02", "B03"), seasons=("summer", "winter"))
    create_store(tmp_path / "a.zarr", layout)
    random = np.random.default_rng(3)
    chips = random.integers(-5, 9000, (5, 2, 2, 6, 6)).astype(np.int16)
    chips[3] = -32768
    for shard in range(layout.num_shards):
        with open_shard(tmp_path / "a.zarr", layout, shard) as writers:
            for place, row in reversed(list(enumerate(layout.rows_of(shard)))):
                for season in (0, 1):
                    if row != 3:
                        content = compress_chip(layout, {"s2": chips[row, season]})["s2"]
                        writers["s2"].append(2 * place + season, content)
    array = zarr.open_array(tmp_path / "a.zarr" / "s2")
    assert np.array_equal(array[:], chips)
    array[4, 1] = chips[0, 0]
    with ShardFile(tmp_path / "a.zarr" / layout.shard_key("s2", 2), 4) as file:
        found = np.empty((2, 6, 6), np.int16)
        assert file.read(1, found)
        assert np.array_equal(found, chips[0, 0])
        assert not file.read(3, found)


def test_damaged_shards_are_told(real, tmp_path):
    copy = shutil.copytree(real[0], tmp_path / "chips.zarr")
    shard = copy / "s2" / "c" / "0" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[1000] ^= 255
    shard.write_bytes(content)
    with ChipStore(copy) as store, pytest.raises(ChipError, match="is damaged"):
        store.read(0)
    shard.write_bytes(bytes(content[:-50]))
    with ChipStore(copy) as store, pytest.raises(ChipError, match="is damaged"):
        store.read(1)


@pytest.mark.parametrize("name", ["none.zarr", "empty"])
def test_what_is_no_store(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ChipError, match="no such store"):
        open_chips(tmp_path / name)


# ---- grid and registration ------------------------------------------------------------------------------------------

UTM = "EPSG:32633"


def ramp(crs, corner, pixel_m, shape):
    """A linear field, sampled at the centres of pixels."""
    x = corner[0] + (np.arange(shape[1]) + 0.5) * pixel_m
    y = corner[1] - (np.arange(shape[0]) + 0.5) * pixel_m
    return (2000 + 0.05 * (x - 500_000)[None, :] - 0.03 * (y - 5_300_000)[:, None]).astype(np.float32)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pixel_m=st.sampled_from([10.0, 20.0, 60.0]),
    method=st.sampled_from(["bilinear", "cubic"]),
    x=st.floats(2000, 4000),
    y=st.floats(2000, 4000),
    size=st.integers(16, 70),
)
def test_bands_of_all_resolutions_are_registered(tmp_path, pixel_m, method, x, y, size):
    corner = (500_000.0, 5_300_040.0)
    path = tmp_path / f"{pixel_m}.tif"
    if not path.exists():
        pixels = ramp(UTM, corner, pixel_m, (int(6000 / pixel_m), int(7200 / pixel_m)))
        write_band(path, pixels, UTM, corner, pixel_m)
    centre = (corner[0] + x, corner[1] - y)
    footprint = Footprint(
        crs=UTM, x_min=centre[0] - 5e3, y_min=centre[1] - 5e3, x_max=centre[0] + 5e3, y_max=centre[1] + 5e3
    )
    lattice = Lattice(crs=UTM, x_min=corner[0], y_max=corner[1], width_m=10.0, height_m=10.0)
    grid = place_chip(footprint, lattice, size, 10.0)
    left, bottom, right, top = grid.bounds
    assert abs((left + right) / 2 - centre[0]) <= 5 + 1e-3
    assert abs((bottom + top) / 2 - centre[1]) <= 5 + 1e-3
    assert (left - corner[0]) % 10 == 0
    found = read_bands(BandFile(href=str(path)), grid, Access(resampling=method))[1][0]
    columns, rows = grid.centres()
    expected = 2000 + 0.05 * (columns - 500_000)[None, :] - 0.03 * (rows - 5_300_000)[:, None]
    assert np.abs(found - expected).max() < 0.05  # half a pixel of 10 m would be 0.25


def test_another_zone_is_warped_to_the_place_it_has(tmp_path):
    """A field that is linear in the tile's zone, from a file in the next."""
    other = "EPSG:32632"
    x, y = transform(UTM, other, [500_000 - 190_000], [5_300_000])
    corner = (round(x[0], -1) - 3000.0, round(y[0], -1) + 3000.0)
    columns = corner[0] + (np.arange(600) + 0.5) * 10
    rows = corner[1] - (np.arange(600) + 0.5) * 10
    xs, ys = np.meshgrid(columns, rows)
    own_x, own_y = pyproj.Transformer.from_crs(other, UTM, always_xy=True).transform(xs, ys)
    field = (3000 + 0.05 * (own_x - 310_000) - 0.03 * (own_y - 5_300_000)).astype(np.float32)
    path = write_band(tmp_path / "other.tif", field, other, corner, 10)
    grid = ChipGrid(crs=UTM, x_min=309_500.0, y_max=5_300_500.0, pixel_m=10.0, rows=90, cols=70)
    found = read_bands(BandFile(href=str(path)), grid, Access())[1][0]
    columns, rows = grid.centres()
    expected = 3000 + 0.05 * (columns - 310_000)[None, :] - 0.03 * (rows - 5_300_000)[:, None]
    assert np.abs(found - expected).max() < 0.02


def test_the_chip_lies_in_the_zone_of_its_scene():
    footprint = Footprint(crs=UTM, x_min=305_000, y_min=5_295_000, x_max=315_000, y_max=5_305_000)
    lattice = Lattice(crs="EPSG:32632", x_min=600_000, y_max=5_400_000, width_m=10, height_m=10)
    grid = place_chip(footprint, lattice, 64, 10.0)
    left, bottom, right, top = grid.bounds
    x, y = transform(grid.crs, UTM, [(left + right) / 2], [(bottom + top) / 2])
    assert grid.crs == "EPSG:32632"
    assert np.hypot(x[0] - 310_000, y[0] - 5_300_000) < 7.1


def test_the_whole_footprint_is_covered():
    footprint = Footprint(crs=UTM, x_min=305_003.217, y_min=5_295_001.9, x_max=315_683.217, y_max=5_305_681.9)
    lattice = Lattice(crs=UTM, x_min=299_995, y_max=5_400_005, width_m=10, height_m=10)
    left, bottom, right, top = place_chip(footprint, lattice, "footprint", 10.0).bounds
    assert left <= footprint.x_min and right >= footprint.x_max
    assert bottom <= footprint.y_min and top >= footprint.y_max
    assert right - left == 10_690


@pytest.mark.parametrize("pixel_m", [10, 20])
def test_outside_and_missing_pixels_are_never_zeros(tmp_path, pixel_m):
    dn = np.full((80, 100), 700, np.uint16)
    dn[40, 50] = 0
    path = write_band(tmp_path / "dn.tif", dn, UTM, (500_000.0, 5_300_000.0), pixel_m)
    grid = ChipGrid(crs=UTM, x_min=499_800.0, y_max=5_300_200.0, pixel_m=10.0, rows=60, cols=90)
    found = read_bands(BandFile(href=str(path), nodata=0.0), grid, Access())[1][0]
    assert np.isnan(found[:19]).all() and np.isnan(found[:, :19]).all()
    assert (found[21:, 21:] == 700).all()
    x_min, y_max = 500_000.0 + 45 * pixel_m, 5_300_000.0 - 35 * pixel_m
    hole = ChipGrid(crs=UTM, x_min=x_min, y_max=y_max, pixel_m=10, rows=21, cols=20)
    found = read_bands(BandFile(href=str(path), nodata=0.0), hole, Access())[1][0]
    assert set(np.unique(found[~np.isnan(found)])) == {700}
    far = ChipGrid(crs=UTM, x_min=700_000.0, y_max=5_300_000.0, pixel_m=10, rows=20, cols=22)
    assert np.isnan(read_bands(BandFile(href=str(path), nodata=0.0), far, Access())[1]).all()


def test_power_is_resampled_as_power(tmp_path):
    power = np.tile([[0.01, 0.09]], (40, 20)).astype(np.float32)
    linear = write_band(tmp_path / "linear.tif", power, UTM, (500_000.0, 5_300_000.0), 10)
    decibel = write_band(tmp_path / "db.tif", 10 * np.log10(power), UTM, (500_000.0, 5_300_000.0), 10)
    grid = ChipGrid(crs=UTM, x_min=500_105.0, y_max=5_299_900.0, pixel_m=10, rows=12, cols=16)
    found = to_decibels(read_bands(BandFile(href=str(linear), unit="linear"), grid, Access())[1])
    assert np.allclose(found, 10 * np.log10(0.05), atol=1e-3)
    assert np.allclose(read_bands(BandFile(href=str(decibel), unit="dB"), grid, Access())[1], found, atol=1e-3)


def test_radiometry():
    dn = to_dn(np.array([1000, 969, 40000, np.nan], np.float32), "DN", 1000)
    assert store_dn(dn).tolist() == [0, -31, 32767, -32768]
    assert store_dn(to_dn(np.array([0.1234], np.float32), "reflectance", 0)).tolist() == [1234]
    decibels = to_decibels(np.array([0.1, 0, -1, np.nan, np.inf], np.float32))
    assert decibels[0] == pytest.approx(-10)
    assert np.isnan(decibels[1:]).all()
    assert valid_share(np.array([[[1, np.nan, 3, 4]], [[1, 2, np.nan, 4]]], np.float32)) == 0.5
    assert split_address("a/b.tif#12") == ("a/b.tif", 12)
    assert split_address("a/b.tif") == ("a/b.tif", 1)


# ---- further real files ---------------------------------------------------------------------------------------------


def test_bigearthnet(shared_data, tmp_path, client):
    """Bands of 10, 20 and 60 m and Sentinel-1 in dB, each in a file of its own."""
    for sensor in ("S1", "S2"):
        with tarfile.open(shared_data / "sentinel" / "bigearthnet" / f"BigEarthNet-{sensor}-Example.tar.bz2") as tar:
            tar.extractall(tmp_path / "data", filter="data")
    tiles = []
    for optical in sorted((tmp_path / "data" / "BigEarthNet-S2-Example").glob("*/*_B02.tif")):
        with rasterio.open(optical) as dataset:
            bounds, crs = dataset.bounds, dataset.crs.to_string()
        start = str(optical.relative_to(tmp_path / "data")).removesuffix("B02.tif")
        centre = ((bounds.left + bounds.right) / 2, (bounds.bottom + bounds.top) / 2)
        tiles.append(Chosen(optical.stem, crs, centre, {"s2": {band: f"{start}{band}.tif" for band in S2_BANDS}}))
    assert len(tiles) == 6
    out = tmp_path / "chips.zarr"
    scenes = SceneConfig(
        provider=str(write_provider(tmp_path / "ben.toml")), url=str(tmp_path / "data"), sentinel1="none"
    )
    result = fetch_chips(manifest_of(tiles), out, ChipConfig(size_px=120), scenes, client=client)
    kept = [row for row in result.chip.tolist() if row >= 0]
    assert len(kept) >= 5
    with ChipStore(out) as store:
        assert set(store.read(0)) == {"s2"}
        for row in kept:
            chip = store.read(row)["s2"]
            with rasterio.open(tmp_path / "data" / tiles[row].files["s2"]["B03"]) as dataset:
                assert np.array_equal(chip[S2_BANDS.index("B03")], dataset.read(1))
            with rasterio.open(tmp_path / "data" / tiles[row].files["s2"]["B11"]) as dataset:
                coarse = dataset.read(1).astype(float)
            mean = chip[S2_BANDS.index("B11")].reshape(60, 2, 60, 2).mean(axis=(1, 3))
            inner = (slice(2, -2), slice(2, -2))
            assert np.corrcoef(mean[inner].ravel(), coarse[inner].ravel())[0, 1] > 0.95


def test_a_chip_without_data_is_refused_by_name(shared_data, tmp_path, client):
    radar = shared_data / "sentinel" / "sen1floods11" / "S1" / "Paraguay_34417_S1Hand.tif"
    with rasterio.open(radar) as dataset:
        lon, lat = (dataset.bounds.left + dataset.bounds.right) / 2, (dataset.bounds.top + dataset.bounds.bottom) / 2
    x, y = transform("EPSG:4326", "EPSG:32721", [lon], [lat])
    dn = np.random.default_rng(0).integers(200, 3000, (3, 200, 200)).astype(np.uint16)
    write_band(tmp_path / "s2.tif", dn, "EPSG:32721", (round(x[0]) - 1000.0, round(y[0]) + 1000.0), 10)
    shutil.copy(radar, tmp_path / "s1.tif")
    bands = ("B02", "B03", "B04")
    files = {
        "s2": {band: f"s2.tif#{k}" for k, band in enumerate(bands, 1)},
        "s1": {"VV": "s1.tif#1", "VH": "s1.tif#2"},
    }
    manifest = manifest_of([Chosen("271D_537L", "EPSG:32721", (x[0], y[0]), files)])
    scenes = SceneConfig(provider=str(write_provider(tmp_path / "floods.toml")), url=str(tmp_path))
    result = fetch_chips(manifest, tmp_path / "c.zarr", ChipConfig(size_px=64, s2_bands=bands), scenes, client=client)
    assert result.chip.tolist() == [-1]
    assert {(failure.tile_id, failure.sensor) for failure in result.failed} == {("271D_537L", "s1")}
    assert "VV" in result.failed[0].reason
    assert failures_of(tmp_path / "c.zarr").read_text().count("271D_537L") == 1
    with ChipStore(tmp_path / "c.zarr") as store:
        assert np.isnan(store.read(0)["s1"]).all()
        assert (store.read(0)["s2"] == -32768).all()


def test_seasons_have_an_axis(tmp_path, client, shared_data):
    folder = shared_data / "sentinel" / "terramesh"
    place = terramesh(folder, PLACES[:1])[0]
    scenes = SceneConfig(
        provider=str(write_provider(tmp_path / "p.toml")), url=str(folder), seasons=("summer", "winter")
    )
    manifest = manifest_of([[place, place]], ("summer", "winter"))
    out = tmp_path / "chips.zarr"
    fetch_chips(manifest, out, ChipConfig(size_px=32), scenes, client=client)
    with xr.open_zarr(out) as chips:
        assert chips["s2"].dims == ("sample", "season", "s2_band", "y", "x")
        assert chips["season"].values.tolist() == ["summer", "winter"]
        assert chips["s2_item"].dims == ("sample", "season")
        assert np.array_equal(chips["s1"][0, 0], chips["s1"][0, 1])
        assert chips["status"].values.tolist() == [0]
