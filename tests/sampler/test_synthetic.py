import functools
import hashlib
import json
import math
import os
from pathlib import Path

import numpy as np
import pystac
import pystac_client
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from csmoe_sampler.errors import ConfigError, StorageError
from csmoe_sampler.koppen import GROUPS, SYMBOLS, classify
from csmoe_sampler.legend import load_legend
from csmoe_sampler.synthetic import Earth, Planet, season, write_earth
from csmoe_sampler.synthetic import layers as layers_module
from csmoe_sampler.synthetic import write as write_module
from csmoe_sampler.synthetic.noise import fractal_noise, sine_cosine, unit_vectors

WORLDCOVER_CODES = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100)


cached_planet = functools.cache(Planet)


@pytest.fixture(scope="module")
def planet():
    return cached_planet(0)


@pytest.fixture(scope="module")
def globe(planet):
    """Elevation, normals, climate and land cover every half degree, with the share of the sphere of each cell."""
    return Globe(planet)


class Globe:
    def __init__(self, planet):
        self.lon = -179.75 + 0.5 * np.arange(720)
        self.lat = 89.75 - 0.5 * np.arange(360)
        place = self.lon[None, :], self.lat[:, None]
        self.elevation = planet.elevation(*place)
        self.temperature, self.rain = planet.climate(*place)
        self.climate = classify(self.temperature, self.rain)
        self.cover = planet.landcover(*place)
        self.land = self.elevation > 0
        area = np.cos(np.radians(self.lat))[:, None] * np.ones((1, 720))
        self.area = area / area.sum()

    def mean(self, values, low, high):
        """Mean over the land of a band of latitude."""
        where = self.land & ((self.lat >= low) & (self.lat < high))[:, None]
        return np.average(values[where], weights=self.area[where])


# --- Noise ---


@given(st.floats(-400, 400))
def test_sine_and_cosine_are_those_of_libm(degrees):
    assert sine_cosine(degrees) == pytest.approx(
        (math.sin(math.radians(degrees)), math.cos(math.radians(degrees))), abs=2e-15
    )


def plain_noise(x, y, z, key):
    """Value noise with Python's own integers."""

    def value(i, j, k):
        h = (i * 0x9E3779B1 + j * 0x85EBCA77 + k * 0xC2B2AE3D + key * 0x165667B1) % 2**32
        h = (h ^ (h >> 15)) * 0x27D4EB2F % 2**32
        h = (h ^ (h >> 13)) * 0xC2B2AE3D % 2**32
        return ((h ^ (h >> 16)) >> 1) / 2**31

    def mix(a, b, t):
        return a + (b - a) * (t * t * (3 - 2 * t))

    x, y, z = x + 0.37, y + 0.59, z + 0.83
    i, j, k = math.floor(x), math.floor(y), math.floor(z)
    planes = [
        mix(
            mix(value(i, j, k + n), value(i + 1, j, k + n), x - i),
            mix(value(i, j + 1, k + n), value(i + 1, j + 1, k + n), x - i),
            y - j,
        )
        for n in (0, 1)
    ]
    return 2 * mix(*planes, z - k) - 1


@pytest.mark.parametrize("count", [1, 7, 64, 201])
def test_noise_is_the_same_in_vector_and_in_plain_arithmetic(count):
    points = np.random.default_rng(3).uniform(-1, 1, (3, count))
    found = fractal_noise(points, 900.0, 5, 3, 2.5, 0.5)
    expected = [
        sum(0.5**n * plain_noise(*(points[:, i] * 900.0 * 2.5**n), 5 + n) for n in range(3)) for i in range(count)
    ]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_unit_vectors_do_not_depend_on_their_neighbours():
    lon, lat = np.array([10.0, 20.0, 30.0, 40.0, 0.0]), np.array([50.0, 50.0, -3.0, 50.0, 0.0])
    together = unit_vectors(lon, lat)
    alone = np.concatenate([unit_vectors(lon[n : n + 1], lat[n : n + 1]) for n in range(5)], axis=1)
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_allclose(np.linalg.norm(together, axis=0), 1, atol=1e-15)


# --- Fields ---


def test_fields_of_a_seed_are_the_same_everywhere(planet):
    """The digests were taken on x86-64 with AVX-512; another machine must find the same bits."""
    lon, lat = np.arange(-179.9, 180, 1.7)[None, :], np.arange(-89.5, 90, 1.3)[:, None]
    assert digest(planet.elevation(lon, lat)) == GOLDEN["elevation"]
    assert digest(np.concatenate(planet.climate(lon, lat))) == GOLDEN["climate"]
    assert digest(planet.landcover(lon, lat)) == GOLDEN["landcover"]


GOLDEN = {"elevation": "98ad031d210dc9ac", "climate": "db0a3d02bc75034b", "landcover": "b0f3e959914b5118"}


def digest(values):
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]


def test_seeds_are_different_earths(planet, globe):
    other = cached_planet(1).elevation(globe.lon[None, :], globe.lat[:, None]) > 0
    assert 0.02 < globe.area[other != globe.land].sum() < 0.3
    assert globe.area[other].sum() == pytest.approx(0.29, abs=0.015)


@given(st.floats(-90, 90))
@settings(deadline=None)
def test_antimeridian_is_no_seam(planet, lat):
    for field in (planet.elevation, planet.climate, planet.landcover):
        np.testing.assert_array_equal(field(180.0, lat), field(-180.0, lat))
        np.testing.assert_array_equal(field(190.25, lat), field(-169.75, lat))


def test_fields_are_continuous_across_the_antimeridian(planet):
    lat = np.arange(-84.97, 85, 0.05)
    lon = np.array([179.99, 180.0, 180.01])
    step = np.abs(np.diff(planet.elevation(lon[None, :], lat[:, None]), axis=1)).max(axis=0)
    elsewhere = np.abs(np.diff(planet.elevation(lon[None, :] - 8.3, lat[:, None]), axis=1)).max()
    assert step.max() < 3 * elsewhere


@given(
    west=st.integers(-180, 170),
    south=st.integers(-85, 80),
    per_deg=st.sampled_from([12, 192, 12000]),
    height=st.integers(1, 40),
    width=st.integers(1, 90),
    data=st.data(),
)
@settings(deadline=None, max_examples=40)
def test_values_do_not_depend_on_how_windows_are_cut(planet, west, south, per_deg, height, width, data):
    lon = west + (np.arange(width) + 0.5) / per_deg
    lat = south + (np.arange(height, 0, -1) - 0.5) / per_deg
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    for field in (planet.elevation, planet.landcover, lambda *place: planet.climate(*place)[0]):
        whole = field(lon[None, :], lat[:, None])
        part = field(lon[None, col:], lat[row:, None])
        np.testing.assert_array_equal(whole[..., row:, col:], part)
        np.testing.assert_array_equal(whole[..., row, col], field(lon[col], lat[row]))


def test_large_windows_equal_their_rows(planet):
    lon, lat = -75 + (np.arange(700) + 0.5) / 192, 3 - (np.arange(130) + 0.5) / 192
    whole = planet.landcover(lon[None, :], lat[:, None])
    rows = [planet.landcover(lon, np.full(700, y)) for y in lat]
    np.testing.assert_array_equal(whole, np.stack(rows))


def test_rounding_error_of_a_coordinate_changes_nothing(planet):
    lon, lat = -75 + (np.arange(300) + 0.5) / 12000, 2 - (np.arange(300) + 0.5) / 12000
    shifted = np.nextafter(lon, 0)[None, :], np.nextafter(lat, 9)[:, None]
    np.testing.assert_array_equal(planet.landcover(lon[None, :], lat[:, None]), planet.landcover(*shifted))


# --- Plausibility ---


def test_share_of_land_is_that_of_the_earth(globe):
    assert globe.area[globe.land].sum() == pytest.approx(0.29, abs=0.015)


def test_land_lies_at_the_antimeridian_at_the_south_pole_and_in_both_hemispheres(globe):
    tropics = np.abs(globe.lat) < 40
    assert globe.land[tropics][:, [0, -1]].all(axis=1).any()
    assert globe.land[globe.lat < -85].all()
    north = globe.area[globe.land & (globe.lat > 0)[:, None]].sum() / globe.area[globe.land].sum()
    assert 0.55 < north < 0.8


def test_sea_has_no_climate_and_land_has_one(globe):
    np.testing.assert_array_equal(globe.climate == 0, ~globe.land)
    np.testing.assert_array_equal(np.isnan(globe.temperature).all(axis=0), ~globe.land)
    np.testing.assert_array_equal(np.isnan(globe.rain).any(axis=0), ~globe.land)


def test_normals_come_in_their_steps(globe):
    temperature, rain = globe.temperature[:, globe.land], globe.rain[:, globe.land]
    np.testing.assert_allclose(temperature, np.round(temperature, 1), atol=1e-5)
    np.testing.assert_array_equal(rain, np.round(rain))
    assert rain.min() >= 0
    assert -80 < temperature.min() < -50
    assert 30 < temperature.max() < 42


def test_climates_cover_the_classes_and_all_groups(globe):
    shares = {SYMBOLS[c - 1]: globe.area[globe.climate == c].sum() for c in range(1, 31)}
    total = sum(shares.values())
    assert sum(share > 0 for share in shares.values()) >= 24
    groups = {g: sum(s for (name, s) in shares.items() if name[0] == g) / total for g in set(GROUPS)}
    assert min(groups.values()) > 0.08
    assert max(groups.values()) < 0.4


def test_climates_follow_latitude(globe):
    mean = globe.temperature.mean(axis=0)
    bands = [globe.mean(mean, low, low + 15) for low in range(0, 75, 15)]
    assert bands == sorted(bands, reverse=True)
    assert bands[0] > 22 > 0 > bands[4]
    rain = globe.rain.sum(axis=0)
    assert globe.mean(rain, -5, 5) > 3 * globe.mean(rain, 20, 30)
    assert globe.mean(rain, 50, 60) > 1.2 * globe.mean(rain, 75, 85)
    tropical = np.isin(globe.climate, (1, 2, 3))
    assert np.abs(globe.lat[tropical.any(axis=1)]).max() < 30
    frozen = globe.climate == SYMBOLS.index("EF") + 1
    assert globe.mean(frozen.astype(float), -90, -75) > 0.95


def test_summer_is_in_july_in_the_north_and_in_january_in_the_south(globe):
    warmest = globe.temperature.argmax(axis=0)
    north, south = (globe.lat > 12)[:, None] & globe.land, (globe.lat < -12)[:, None] & globe.land
    assert set(np.unique(warmest[north])) == {6}
    assert set(np.unique(warmest[south])) == {0}


def test_height_cools_and_distance_from_the_sea_widens_the_year(planet, globe):
    swing = globe.temperature.max(axis=0) - globe.temperature.min(axis=0)
    north = ((globe.lat > 45) & (globe.lat < 65))[:, None] & globe.land
    inland = north & np.logical_and.reduce([np.roll(globe.land, s, axis=1) for s in range(-20, 21)])
    coast = north & ~np.logical_and.reduce([np.roll(globe.land, s, axis=1) for s in (-2, -1, 1, 2)])
    assert swing[inland].mean() > swing[coast].mean() + 8
    tropics = (np.abs(globe.lat) < 10)[:, None] & globe.land
    high, low = tropics & (globe.elevation > 2500), tropics & (globe.elevation < 500)
    mean = globe.temperature.mean(axis=0)
    assert high.any()
    assert mean[low].mean() - mean[high].mean() > 10


def test_land_cover_has_every_class_and_only_those(globe):
    codes, counts = np.unique(globe.cover, return_counts=True)
    assert set(codes) == {0, *WORLDCOVER_CODES} == {0, *load_legend("worldcover").label_of}
    assert counts.min() >= 10


def test_land_cover_follows_climate_and_sea(globe):
    assert set(np.unique(globe.cover[~globe.land])) == {0, 80}
    assert 0 not in globe.cover[globe.land]

    def share(code, *symbols):
        where = np.isin(globe.climate, [SYMBOLS.index(s) + 1 for s in symbols])
        return (globe.cover[where] == code).mean()

    assert share(10, "Af") > 0.7
    assert share(60, "BWh", "BWk") > 0.5
    assert share(70, "EF") > 0.9
    assert share(100, "ET") > 0.4
    assert share(40, "Cfa", "Dfa", "BSk", "Aw") > 2 * share(40, "Dfc", "Af", "BWh")
    assert not np.isin(globe.cover[np.abs(globe.lat) > 35], 95).any()


@pytest.mark.parametrize("lat", [-50.0, -4.0, 4.0, 50.0])
def test_season_is_the_phase_of_the_normals(planet, lat):
    middays = [30.4375 * (month + 0.5) for month in range(12)]
    phase = np.array([season(lat, day) for day in middays])
    assert phase.argmax() == (6 if lat > 0 else 0)
    assert np.abs(phase).max() == pytest.approx(1, abs=0.02)
    assert season(0.0, 196) == 0
    assert season([-lat, lat], 196).tolist() == [-np.sign(lat), np.sign(lat)]


# --- Files ---


@pytest.fixture
def tiny(monkeypatch):
    """A size that is written in no time, across the antimeridian; one of its boxes is open sea."""
    size = write_module._Size(
        tile_px=192,
        normals_deg=5.0,
        elevation_deg=2.5,
        boxes=((-180, -27, -177, -24), (177, -30, 180, -24), (-120, -39, -117, -36)),
    )
    monkeypatch.setitem(write_module.SIZES, "tiny", size)
    monkeypatch.setattr(layers_module, "_KOPPEN_DEG", 2.5)
    monkeypatch.setattr(write_module, "Planet", cached_planet)
    return "tiny"


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_two_runs_are_equal_to_the_byte(tiny, tmp_path, monkeypatch):
    write_earth(tmp_path / "a", tiny, 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(layers_module, "_WINDOW_PIXELS", 1 << 11)
    write_earth(tmp_path / "b", tiny, 0)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    write_earth(tmp_path / "c", tiny, 1)
    assert contents(tmp_path / "c") != contents(tmp_path / "a")


def test_files_hold_the_fields(tiny, tmp_path):
    earth = write_earth(tmp_path, tiny, 0)
    planet = cached_planet(0)
    for path, field in (
        (earth.landcover[0], planet.landcover),
        (earth.elevation, planet.elevation),
        (earth.temperature, lambda *place: planet.climate(*place)[0]),
        (earth.precipitation, lambda *place: planet.climate(*place)[1]),
        (earth.climate, lambda *place: classify(*planet.climate(*place))),
    ):
        with rasterio.open(path) as dataset:
            found = dataset.read(masked=True)
            west, south, east, north = dataset.bounds
            lon = west + (east - west) * (np.arange(dataset.width) + 0.5) / dataset.width
            lat = north - (north - south) * (np.arange(dataset.height) + 0.5) / dataset.height
        expected = np.asarray(field(lon[None, :], lat[:, None])).reshape(found.shape)
        mask = np.ma.getmaskarray(found)
        assert (path == earth.landcover[0] or mask.any()) and not mask.all()
        if path == earth.elevation:
            np.testing.assert_array_equal(mask, expected <= 0)
            np.testing.assert_allclose(found.data[~mask], expected[~mask], atol=0.51)
        else:
            np.testing.assert_array_equal(found.data[~mask], expected[~mask])
            assert np.all(np.isnan(expected[mask]) | (expected[mask] == 0))


def test_sizes_name_only_whole_tiles_and_exact_pixels():
    for size in write_module.SIZES.values():
        assert all(edge % 3 == 0 for box in size.boxes for edge in box)
        assert all(-60 <= south < north <= 84 for _, south, _, north in size.boxes)
        assert (240_000 * 3) % (2 * size.tile_px) == 0


def test_open_sea_has_no_tiles(tiny, tmp_path):
    earth = write_earth(tmp_path, tiny, 0)
    names = [path.name[-15:-8] for path in earth.landcover]
    assert names
    assert set(names) <= {"S27W180", "S30E177", "S27E177"}
    for path in earth.landcover:
        with rasterio.open(path) as dataset:
            assert np.isin(dataset.read(1), (0, 80), invert=True).any()


def test_layout_is_that_of_the_genuine_product(earth: Earth, shared_data: Path):
    with (
        rasterio.open(shared_data / "worldcover/ESA_WorldCover_10m_2021_v200_N00E006_Map.tif") as genuine,
        rasterio.open(earth.landcover[0]) as ours,
    ):
        size = {"width", "height", "transform"}
        assert {k: v for k, v in ours.profile.items() if k not in size} == {
            k: v for k, v in genuine.profile.items() if k not in size
        }
        assert ours.overviews(1) == genuine.overviews(1)
        assert ours.tags(ns="IMAGE_STRUCTURE") == genuine.tags(ns="IMAGE_STRUCTURE")
        assert ours.colorinterp == genuine.colorinterp
        genuine_colors = genuine.colormap(1)
        assert all(ours.colormap(1)[code] == genuine_colors[code] for code in WORLDCOVER_CODES)
        assert ours.bounds.right - ours.bounds.left == genuine.bounds.right - genuine.bounds.left == 3
        shared_tags = set(genuine.tags()) - {"algorithm_version", "copyright", "creation_time", "legend", "license"}
        assert shared_tags - {"reference"} <= set(ours.tags())


def test_overviews_are_the_mode(earth: Earth):
    """Of four pixels, GDAL keeps one that no other outnumbers."""
    with rasterio.open(earth.landcover[0]) as full, rasterio.open(earth.landcover[0], overview_level=0) as half:
        pixels, coarse = full.read(1), half.read(1)
    quads = np.stack([pixels[i::2, j::2] for i in (0, 1) for j in (0, 1)])
    votes = (quads == quads[:, None]).sum(axis=1) * (quads != 0)
    chosen = ((quads == coarse) * votes).max(axis=0)
    np.testing.assert_array_equal(chosen, votes.max(axis=0))


def test_koppen_map_is_like_the_real_one(earth: Earth, shared_data: Path):
    with (
        rasterio.open(shared_data / "koppen/koppen_geiger_0p1.tif") as genuine,
        rasterio.open(earth.climate) as ours,
    ):
        for key in ("dtype", "nodata", "width", "height", "transform", "crs", "count"):
            assert ours.profile[key] == genuine.profile[key], key
        assert all(ours.colormap(1)[code] == genuine.colormap(1)[code] for code in range(1, 31))
        assert len(np.unique(ours.read(1))) - 1 >= 24


def test_normals_have_twelve_named_bands(earth: Earth):
    for path in (earth.temperature, earth.precipitation):
        with rasterio.open(path) as dataset:
            assert dataset.descriptions[0] == "January"
            assert dataset.descriptions[11] == "December"
            assert dataset.dtypes == ("float32",) * 12
            assert np.isnan(dataset.nodata)


def test_small_earth_is_small(earth: Earth):
    assert sum(len(data) for data in contents(earth.root).values()) < 60e6
    assert 40 < len(earth.landcover) < 80
    west = {path.name[-12:-8] for path in earth.landcover}
    assert {"W180", "E177", "W075"} <= west


# --- Catalogue ---


def test_catalogue_is_read_by_pystac(earth: Earth):
    catalog = pystac.Catalog.from_file(str(earth.catalog))
    items = list(catalog.get_items(recursive=True))
    assert len(items) == len(earth.landcover)
    hrefs = {Path(item.assets["map"].get_absolute_href()) for item in items}
    assert hrefs == set(earth.landcover)
    for item in items[::17]:
        assert item.get_collection().id == "esa-worldcover"
        assert item.get_parent().id == "esa-worldcover"
        assert item.get_root().id == catalog.id
        with rasterio.open(item.assets["map"].get_absolute_href()) as dataset:
            assert tuple(item.bbox) == tuple(dataset.bounds)
            assert item.assets["map"].extra_fields["proj:transform"] == list(dataset.transform)[:6]
            assert item.assets["map"].extra_fields["proj:shape"] == [dataset.height, dataset.width]
            assert str(dataset.crs) == item.properties["proj:code"]  # as pystac reads the older proj:epsg
            assert item.id in dataset.name
    collection = catalog.get_child("esa-worldcover")
    assert collection.extent.spatial.bboxes[0][0] == -180
    assert collection.extent.spatial.bboxes[0][2] == 180


def test_catalogue_is_read_by_pystac_client(earth: Earth):
    catalog = pystac_client.Client.from_file(str(earth.catalog))
    assert [child.id for child in catalog.get_children()] == ["esa-worldcover"]


def test_catalogue_has_only_relative_links(earth: Earth):
    for path in [earth.catalog, *earth.root.glob("esa-worldcover/**/*.json")]:
        document = json.loads(path.read_text())
        hrefs = [link["href"] for link in document["links"]]
        hrefs += [asset["href"] for asset in document.get("assets", {}).values()]
        assert all(href.startswith(".") and (path.parent / href).is_file() for href in hrefs), path


def test_items_have_the_fields_of_the_genuine_ones(earth: Earth, shared_data: Path):
    genuine = json.loads((shared_data / "worldcover/stac_items/ESA_WorldCover_10m_2021_v200_N00E006.json").read_text())
    ours = json.loads(sorted(earth.root.glob("esa-worldcover/items/*.json"))[0].read_text())
    same = ("type", "stac_version", "stac_extensions", "collection")
    assert {key: ours[key] for key in same} == {key: genuine[key] for key in same}
    assert list(ours) == list(genuine)
    assert list(ours["properties"]) == list(genuine["properties"])
    varying = {"esa_worldcover:product_tile", "grid:code", "description"}
    for key in set(genuine["properties"]) - varying:
        assert ours["properties"][key] == genuine["properties"][key], key
    asset, model = ours["assets"]["map"], genuine["assets"]["map"]
    assert set(asset) == set(model)
    for key in ("type", "title", "classification:classes", "roles"):
        assert asset[key] == model[key], key
    assert set(asset["raster:bands"][0]) == set(model["raster:bands"][0])
    assert {link["rel"] for link in ours["links"]} == {link["rel"] for link in genuine["links"]}


# --- Continuing ---


class Counted:
    """Progress that remembers."""

    def __init__(self):
        self.total, self.done, self.finished = 0, 0, False

    def start(self, name, total, unit):
        self.total = total

    def advance(self, count):
        self.done += count

    def finish(self):
        self.finished = True

    def note(self, text):
        raise AssertionError(text)


def stamps(root: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*.tif")}


def test_complete_earth_is_not_written_again(tiny, tmp_path):
    progress = Counted()
    first = write_earth(tmp_path, tiny, 0, progress)
    assert progress.total == progress.done == 4 + len(first.landcover)
    assert progress.finished
    before, again = stamps(tmp_path), Counted()
    assert write_earth(tmp_path, tiny, 0, again) == first
    assert again.total == 0
    assert stamps(tmp_path) == before


@pytest.mark.parametrize("harm", ["missing", "damaged", "damaged item"])
def test_only_what_is_missing_or_damaged_is_written_again(tiny, tmp_path, harm):
    earth = write_earth(tmp_path, tiny, 0)
    expected, before = contents(tmp_path), stamps(tmp_path)
    victim = next(tmp_path.glob("**/items/*.json")) if harm == "damaged item" else earth.landcover[0]
    if harm == "missing":
        victim.unlink()
    else:
        victim.write_bytes(victim.read_bytes()[:-1])
    write_earth(tmp_path, tiny, 0)
    assert contents(tmp_path) == expected
    after = stamps(tmp_path)
    assert {path for path in before if before[path] != after[path]} <= {str(victim)}


def test_killed_run_is_continued(tiny, tmp_path, monkeypatch):
    write_earth(tmp_path / "whole", tiny, 0)
    written = []

    def fail_at_third(path, layer):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        layers_module.write_layer(path, layer)

    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(write_module, "write_layer", fail_at_third)
    with pytest.raises(KeyboardInterrupt):
        write_earth(tmp_path / "killed", tiny, 0)
    monkeypatch.setattr(write_module, "write_layer", layers_module.write_layer)
    before = stamps(tmp_path / "killed")
    assert len(before) == 2
    write_earth(tmp_path / "killed", tiny, 0)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert before.items() <= stamps(tmp_path / "killed").items()


def test_folder_of_another_earth_is_refused(tiny, tmp_path):
    write_earth(tmp_path, tiny, 0)
    with pytest.raises(StorageError, match=r"another synthetic Earth \(.*seed 0, not 1\)"):
        write_earth(tmp_path, tiny, 1)


def test_folder_with_other_files_is_refused(tiny, tmp_path):
    (tmp_path / "catalog.json").write_text("mine")
    with pytest.raises(StorageError, match=r"holds other files and no earth\.json"):
        write_earth(tmp_path, tiny, 0)
    assert (tmp_path / "catalog.json").read_text() == "mine"


@pytest.mark.parametrize("text", ["", "[]", "3", '{"files": 3}', "{"])
def test_strange_record_is_refused(tiny, tmp_path, text):
    (tmp_path / "earth.json").write_text(text)
    with pytest.raises(StorageError, match="not the record of a synthetic Earth"):
        write_earth(tmp_path, tiny, 0)


def test_unknown_size_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"'huge'.*small, medium, large"):
        write_earth(tmp_path / "out", "huge", 0)
    assert not (tmp_path / "out").exists()
