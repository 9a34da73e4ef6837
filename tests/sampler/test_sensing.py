import functools
import itertools
import json
import math
import os
import shutil
from datetime import UTC, datetime

import numpy as np
import pyarrow.parquet as pq
import pyproj
import pystac
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import shape

from csmoe_sampler.errors import ConfigError, StorageError
from csmoe_sampler.scenes.provider import load_provider
from csmoe_sampler.storage import file_digest
from csmoe_sampler.synthetic import Planet, write_earth, write_scenes
from csmoe_sampler.synthetic.noise import seed_key
from csmoe_sampler.synthetic.sensing import LAYOUTS
from csmoe_sampler.synthetic.sensing import write as write_module
from csmoe_sampler.synthetic.sensing.frames import Frame, box_outline, clip_outline, globe_polygon
from csmoe_sampler.synthetic.sensing.ground import observe, survey
from csmoe_sampler.synthetic.sensing.layouts import choose_granules
from csmoe_sampler.synthetic.sensing.mgrs import Granule, place_granule, square_name
from csmoe_sampler.synthetic.sensing.plan import Sentinel1Scene, Sentinel2Scene, plan_scenes
from csmoe_sampler.synthetic.sensing.radar import LOOKS, _speckle, sound
from csmoe_sampler.synthetic.sensing.sky import cover_sky, sun_above
from csmoe_sampler.synthetic.write import SIZES

S2, S1 = "sentinel-2-l2a", "sentinel-1-rtc"
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B11", "B12", "B8A")
FACTOR = {"B02": 1, "B03": 1, "B04": 1, "B08": 1, "B01": 6, "B09": 6}


planet = functools.cache(Planet)


class World:
    """Scenes on disk, and quick ways to what is in them."""

    def __init__(self, scenes):
        self.scenes = scenes
        self.root = scenes.root
        self.items = {
            name: [json.loads(path.read_text()) for path in sorted((self.root / name / "items").glob("*.json"))]
            for name in (S2, S1)
        }

    def path(self, item, asset):
        return self.root / item["collection"] / "items" / item["assets"][asset]["href"]

    def read(self, item, asset):
        with rasterio.open(self.path(item, asset)) as dataset:
            return dataset.read(1)

    def reflectance(self, item, asset):
        """NaN where there are no data."""
        dn = self.read(item, asset).astype(np.float64)
        offset = 1000 if item["properties"]["s2:processing_baseline"] == "04.00" else 0
        return np.where(dn == 0, np.nan, (dn - offset) / 10_000)

    def cover(self, item, asset):
        with rasterio.open(self.path(item, asset)) as dataset:
            frame = Frame(
                epsg=dataset.crs.to_epsg(),
                x_min=dataset.transform.c,
                y_max=dataset.transform.f,
                pixel_m=dataset.transform.a,
                width=dataset.width,
                height=dataset.height,
            )
        return planet(0).landcover(*frame.places())

    def of_tile(self, tile):
        return [item for item in self.items[S2] if item["properties"]["s2:mgrs_tile"] == tile]


@pytest.fixture(scope="module")
def own_earth(earth, sensed_earth, tmp_path_factory):
    """An Earth whose scenes may be spoilt."""
    root = shutil.copytree(sensed_earth.root, tmp_path_factory.mktemp("scenes") / "earth")
    return write_earth(root, earth.size, earth.seed)


@pytest.fixture(scope="module")
def world(own_earth):
    return World(write_scenes(own_earth, "tiny"))


@pytest.fixture(scope="module")
def genuine(shared_data):
    folder = shared_data / "stac" / "planetary_computer_items"
    return {name: json.loads((folder / f"{name}-pc.json").read_text()) for name in (S2, S1)}


def copy_earth(earth, root):
    shutil.copytree(earth.root, root, copy_function=os.link)
    return write_earth(root, earth.size, earth.seed)


def digests(root):
    return {
        str(path.relative_to(root)): file_digest(path)
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


# --- Names and places ---


@pytest.mark.parametrize(
    ("epsg", "x_min", "y_max", "name"),
    [
        (32647, 399960, 9100020, "47XML"),
        (32647, 399960, 8900040, "47XMJ"),
        (32646, 499980, 9200040, "46XES"),
        (32646, 499980, 9100020, "46XER"),
        (32735, 499980, 9200020, "35MNM"),
        (32613, 399960, 4500000, "13TDE"),
        (32631, 399960, 5100000, "31TDL"),
        (32631, 600000, 4900020, "31TFJ"),
        (32633, 399960, 5900040, "33UVU"),
        (32756, 300000, 6300040, "56HLH"),
        (32618, 600000, 4500000, "18TXK"),
    ],
)
def test_squares_have_their_mgrs_names(epsg, x_min, y_max, name):
    assert square_name(epsg, x_min, y_max) == name


def test_names_are_those_of_the_genuine_items(genuine):
    for item in genuine[S2]:
        west, _, _, north = item["assets"]["B02"]["proj:bbox"]
        assert square_name(item["properties"]["proj:epsg"], west, north) == item["properties"]["s2:mgrs_tile"]


@pytest.mark.parametrize(
    ("epsg", "column", "row", "corner"),
    [
        (32647, 4, 90, (399960, 9100020)),
        (32646, 5, 91, (499980, 9200040)),
        (32735, 5, -9, (499980, 9200020)),
        (32613, 4, 44, (399960, 4500000)),
    ],
)
def test_granules_lie_where_the_genuine_ones_do(epsg, column, row, corner):
    granule = place_granule(epsg, column, row)
    assert (granule.x_min, granule.y_max) == corner


@pytest.mark.parametrize(("epsg", "x", "y"), [(32618, 600012.0, 5_200_020.0), (32719, 199_963.0, 6_400_040.0)])
def test_pixel_centres_are_where_proj_puts_them(epsg, x, y):
    frame = Frame(epsg=epsg, x_min=x, y_max=y, pixel_m=1500.0, width=91, height=104)
    lon, lat = frame.places()
    xs, ys = x + 1500 * (np.arange(91) + 0.5), y - 1500 * (np.arange(104) + 0.5)
    expected = pyproj.Transformer.from_crs(epsg, 4326, always_xy=True).transform(*np.meshgrid(xs, ys))
    np.testing.assert_allclose(lon, expected[0], atol=1e-8)
    np.testing.assert_allclose(lat, expected[1], atol=1e-8)


@settings(deadline=None, max_examples=40)
@given(st.floats(-2000, 8000), st.floats(-2000, 8000), st.floats(500, 7000), st.floats(500, 7000))
def test_inside_counts_the_centres_of_a_clipped_outline(west, south, width, height):
    frame = Frame(epsg=32618, x_min=0.0, y_max=6000.0, pixel_m=100.0, width=40, height=60)
    clip = np.round([(west, south), (west + width, south), (west + width, south + height), (west, south + height)])
    if not shapely.Polygon(clip).intersection(shapely.Polygon(box_outline(frame))).area:
        return
    outline = clip_outline(box_outline(frame), clip)
    inside = frame.inside(outline)
    x, y = 100 * (np.arange(40) + 0.5), 6000 - 100 * (np.arange(60) + 0.5)
    expected = shapely.intersects_xy(shapely.Polygon(outline), *np.meshgrid(x, y))
    np.testing.assert_array_equal(inside, expected)


@pytest.mark.parametrize(("name", "least"), [("small", 6), ("medium", 20)])
def test_layouts_have_land_of_different_climates(name, least):
    granules = choose_granules(planet(0), LAYOUTS[name].climates, SIZES["small"].boxes)
    assert len(granules) >= least
    assert {granule.epsg > 32700 for granule in granules} == {True, False}
    boxes = shapely.union_all([shapely.box(*box) for box in SIZES["small"].boxes]).buffer(0.001)
    for granule in granules:
        frame = Frame(epsg=granule.epsg, x_min=granule.x_min, y_max=granule.y_max, pixel_m=6100, width=18, height=18)
        assert boxes.contains(globe_polygon(frame.epsg, box_outline(frame)))
        assert (planet(0).elevation(*frame.places()) > 0).mean() > 0.6


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_plans_have_both_orbits_both_baselines_and_every_season(layout):
    granules = choose_granules(planet(0), layout.climates, SIZES["small"].boxes)
    stacks = plan_scenes(layout, granules)
    scenes = list(itertools.chain(*stacks))
    assert len({scene.item_id for scene in scenes}) == len(scenes)
    optical = [scene for scene in scenes if isinstance(scene, Sentinel2Scene)]
    radar = [scene for scene in scenes if isinstance(scene, Sentinel1Scene)]
    assert {scene.baseline for scene in optical} == {"03.01", "04.00"}
    assert {scene.ascending for scene in radar} == {True, False}
    assert {scene.platform for scene in scenes if scene.when.year == 2022 and scene in radar} <= {"A"}
    if layout.name == "small":
        assert {scene.when.month % 12 // 3 for scene in optical} == {0, 1, 2, 3}
        assert {len(scene.polarizations) for scene in radar} == {1, 2}
    for stack in stacks:
        assert len({(scene.frame, scene.granule) for scene in stack}) == 1
        for scene in stack:
            start = {("A", True): 73, ("B", True): 27, ("A", False): -2, ("B", False): 27}
            is_radar = isinstance(scene, Sentinel1Scene)
            orbits = 175 if is_radar else 143
            first = start[scene.platform, is_radar]
            assert (scene.absolute_orbit - first) % orbits + 1 == scene.relative_orbit


def test_a_granule_has_no_radar_for_months():
    layout = LAYOUTS["small"]
    granules = choose_granules(planet(0), layout.climates, SIZES["small"].boxes)
    radar = [s for stack in plan_scenes(layout, granules) for s in stack if isinstance(s, Sentinel1Scene)]
    longest = {}
    for granule in granules:
        times = sorted(scene.when for scene in radar if scene.granule == granule)
        longest[granule.name] = max((b - a).days for a, b in itertools.pairwise(times))
    assert max(longest.values()) > 250


# --- Sun, clouds, speckle ---


@pytest.mark.parametrize(
    ("lat", "month", "zenith", "azimuth"), [(50.0, 6, 26.6, 180.0), (-34.0, 6, 57.4, 0.0), (0.0, 3, 0.0, None)]
)
def test_the_sun_stands_in_the_south_at_noon_and_in_the_north_beyond_the_equator(lat, month, zenith, azimuth):
    sun = sun_above(0.0, lat, datetime(2021, month, 21, 12, 0, tzinfo=UTC))
    assert sun.zenith_deg == pytest.approx(zenith, abs=1.0)
    if azimuth is not None:
        assert math.cos(math.radians(sun.azimuth_deg - azimuth)) > 0.999
    assert sun.east**2 + sun.north**2 + sun.up**2 == pytest.approx(1)
    morning = sun_above(0.0, lat, datetime(2021, month, 21, 9, 0, tzinfo=UTC))
    assert morning.east > 0.3


def test_shadows_lie_away_from_the_sun():
    frame = Frame(epsg=32618, x_min=600000, y_max=5200020, pixel_m=300, width=366, height=360)
    ground = survey(planet(0), frame)
    sun = sun_above(ground.lon, ground.lat, datetime(2021, 7, 1, 15, 20, tzinfo=UTC))
    sky = cover_sky(ground.points, (360, 366), 300, 0.3, sun, seed_key(3))
    assert sun.east > 0
    assert sun.north < 0
    rows, cols = round(-sun.north * 1600 / 300 / sun.up), round(sun.east * 1600 / 300 / sun.up)
    assert rows > 0
    np.testing.assert_array_equal(sky.shadow[:-rows, :-cols], sky.cloud[rows:, cols:])


def test_a_clear_sky_has_no_clouds_and_more_is_more():
    frame = Frame(epsg=32618, x_min=600000, y_max=5200020, pixel_m=600, width=183, height=170)
    ground = survey(planet(0), frame)
    sun = sun_above(ground.lon, ground.lat, datetime(2021, 7, 1, 15, 20, tzinfo=UTC))
    means = [cover_sky(ground.points, (170, 183), 600, s, sun, seed_key(3)).cloud.mean() for s in (0.0, 0.1, 0.5, 0.9)]
    assert means[0] == 0
    assert np.all(np.diff(means) > 0)


def test_speckle_has_the_mean_and_the_variance_of_its_looks():
    values = np.array([_speckle(float(x), 3.0, np.uint32(77)) for x in range(40_000)])
    assert values.min() > 0
    assert values.mean() == pytest.approx(1, abs=0.01)
    assert values.var() == pytest.approx(1 / LOOKS, rel=0.05)


def test_vegetation_is_green_in_its_own_summer_and_snow_lies_in_its_winter():
    for granule, summer, winter in (
        (Granule(epsg=32618, x_min=600000, y_max=5200020), 7, 1),
        (Granule(epsg=32719, x_min=300000, y_max=5300020), 1, 7),
    ):
        frame = Frame(epsg=granule.epsg, x_min=granule.x_min, y_max=granule.y_max, pixel_m=1220, width=90, height=80)
        ground = survey(planet(0), frame)
        warm, cold = (observe(ground, datetime(2021, month, 20, 15, tzinfo=UTC)) for month in (summer, winter))
        land = ground.cover != 8
        assert warm.green[land].mean() > cold.green[land].mean() + 0.3
        assert warm.snow.max() == 0
        assert cold.snow[land].mean() > 0.2


# --- Files ---


def test_the_same_seed_gives_the_same_bytes_whatever_the_workers(world, earth, tmp_path, monkeypatch):
    monkeypatch.setattr(write_module, "_MAX_WORKERS", 1)
    other = copy_earth(earth, tmp_path / "earth")
    write_scenes(other, "tiny")
    assert digests(other.root) == digests(world.root)


def test_what_is_there_is_kept_and_what_is_missing_or_damaged_is_made_again(world, own_earth):
    before = digests(world.root)
    kept, lost, harmed = (world.path(world.items[S2][k], "B02") for k in (0, 1, 2))
    times = {path: path.stat().st_mtime_ns for path in (kept, lost, harmed)}
    lost.unlink()
    harmed.write_bytes(harmed.read_bytes()[:-9])
    again = write_scenes(own_earth, "tiny")
    assert digests(world.root) == before
    assert again == world.scenes
    assert kept.stat().st_mtime_ns == times[kept]
    assert harmed.stat().st_mtime_ns != times[harmed]


def test_an_unfinished_run_is_continued(world, own_earth):
    before = digests(world.root)
    record = world.root / "scenes.json"
    identity = json.loads(record.read_text())
    identity.pop("files")
    record.write_text(json.dumps(identity))
    shutil.rmtree(world.path(world.items[S1][0], "vv").parents[1])
    (world.root / "sentinel-2-l2a.parquet").unlink()
    write_scenes(own_earth, "tiny")
    assert digests(world.root) == before


def test_the_earth_stays_sound(world, own_earth):
    before = digests(world.root)
    assert write_earth(own_earth.root, "small", 0) == own_earth
    assert digests(world.root) == before
    (world.root / "catalog.json").unlink()
    write_earth(own_earth.root, "small", 0)
    assert digests(world.root) == before


def test_another_layout_or_an_unknown_one_is_refused(world, own_earth):
    with pytest.raises(StorageError, match="another layout"):
        write_scenes(own_earth, "small")
    with pytest.raises(ConfigError, match="choose one of small, tiny"):
        write_scenes(own_earth, "huge")


def test_files_are_cogs_of_the_right_type(world):
    for item in (*world.items[S2], *world.items[S1]):
        for asset, content in item["assets"].items():
            with rasterio.open(world.path(item, asset)) as dataset:
                kind = "uint8" if asset == "SCL" else "uint16" if item["collection"] == S2 else "float32"
                assert dataset.dtypes == (kind,)
                assert dataset.nodata == (0 if item["collection"] == S2 else -32768)
                assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
                assert dataset.compression.name == "deflate"
                assert dataset.block_shapes == [(512, 512)]
                assert dataset.overviews(1)
                assert dataset.crs.to_epsg() == item["properties"]["proj:epsg"]
                shape_ = content.get("proj:shape", item["properties"].get("proj:shape"))
                transform = content.get("proj:transform", item["properties"].get("proj:transform"))
                assert [dataset.height, dataset.width] == shape_
                assert list(dataset.transform)[: len(transform)] == transform


def test_granules_are_whole_and_radar_is_on_no_lattice_of_theirs(world):
    for item in world.items[S2]:
        for band in BANDS:
            with rasterio.open(world.path(item, band)) as dataset:
                west, south, east, north = dataset.bounds
                assert (east - west, north - south) == (109_800, 109_800)
                assert dataset.transform.a == 300 * FACTOR.get(band, 2)
    for item in world.items[S1]:
        left, top = item["properties"]["proj:transform"][2], item["properties"]["proj:transform"][5]
        assert 0.1 < (left % 300) / 300 < 0.9
        assert item["properties"]["proj:bbox"][0] == left
        assert item["properties"]["proj:bbox"][3] == top


# --- Items ---


def test_items_have_the_keys_of_the_genuine_ones(world, genuine):
    for name in (S2, S1):
        known = genuine[name][0]
        for item in world.items[name]:
            assert set(item) <= set(known)
            assert set(item["properties"]) == set(known["properties"])
            assert set(item["assets"]) <= set(known["assets"])
            for asset, content in item["assets"].items():
                assert set(content) <= set(known["assets"][asset])
                lacking = set(known["assets"][asset]) - set(content)
                assert lacking <= {"file:size", "file:checksum"}
            for key, value in item["properties"].items():
                assert type(value) is type(known["properties"][key]), key
            assert len(item["id"]) == len(known["id"])
    transform = world.items[S1][0]["properties"]["proj:transform"]
    assert len(transform) == 9


def test_the_provider_table_of_the_layout_finds_every_band(world):
    provider = load_provider("planetary-computer")
    for name in (S2, S1):
        product = provider.product(name)
        for item in world.items[name]:
            wanted = {band: asset for band, asset in product.bands.items() if band not in ("HH", "HV")}
            assert set(wanted.values()) == set(item["assets"]) - {"SCL"}


def test_the_catalogue_links_to_everything_and_nothing_is_absolute(world):
    catalog = pystac.Catalog.from_file(str(world.scenes.catalog))
    assert [child.id for child in catalog.get_children()] == ["esa-worldcover", S2, S1]
    for name in (S2, S1):
        found = catalog.get_child(name)
        assert "nothing in them was observed" in found.description
        assert sorted(item.id for item in found.get_items()) == [item["id"] for item in world.items[name]]
    assert world.scenes.num_scenes == len(world.items[S2]) + len(world.items[S1])
    for path in world.root.rglob("*.json"):
        assert str(world.root) not in path.read_text()


def test_item_tables_hold_the_items(world):
    for name in (S2, S1):
        file = pq.ParquetFile(world.scenes.items[name])
        metadata = file.metadata.metadata
        assert json.loads(metadata[b"geo"])["primary_column"] == "geometry"
        assert b"stac-geoparquet" in metadata
        rows = file.read().to_pylist()
        assert len(rows) == len(world.items[name])
        for row, item in zip(rows, world.items[name], strict=True):
            assert row["id"] == item["id"]
            assert shapely.equals_exact(shapely.from_wkb(row["geometry"]), shape(item["geometry"]))
            assert list(row["bbox"].values()) == item["bbox"]
            for key, value in item["properties"].items():
                wanted = datetime.fromisoformat(value) if "datetime" in key else value
                assert row[key] == wanted
            for asset, content in item["assets"].items():
                stored = row["assets"][asset]
                assert (world.root / stored["href"]).samefile(world.path(item, asset))
                assert {k: v for k, v in stored.items() if k != "href" and v is not None} == {
                    k: v for k, v in content.items() if k != "href"
                } or asset.startswith("B")


# --- Pixels of Sentinel-2 ---


def test_cloud_cover_and_no_data_are_counted_in_the_pixels(world):
    for item in world.items[S2]:
        properties, scl = item["properties"], world.read(item, "SCL")
        assert set(np.unique(scl)) <= {0, 3, 4, 5, 6, 8, 9, 10, 11}
        valid = scl > 0
        assert properties["eo:cloud_cover"] == pytest.approx(
            100 * np.isin(scl, (8, 9, 10)).sum() / valid.sum(), abs=1e-5
        )
        assert properties["s2:snow_ice_percentage"] == pytest.approx(100 * (scl == 11).sum() / valid.sum(), abs=1e-5)
        nodata = 100 * (world.read(item, "B02") == 0).mean()
        assert properties["s2:nodata_pixel_percentage"] == pytest.approx(nodata, abs=1e-5)
        assert 100 * (1 - valid.mean()) == pytest.approx(nodata, abs=0.5)
        assert 0 < nodata < 80 or nodata == 0
    shares = [item["properties"]["s2:nodata_pixel_percentage"] for item in world.items[S2]]
    assert 0.0 in shares
    assert max(shares) > 10


def test_geometries_are_where_the_pixels_are(world):
    for item, asset, nodata in [(i, "B02", 0) for i in world.items[S2]] + [(i, "vv", -32768) for i in world.items[S1]]:
        with rasterio.open(world.path(item, asset)) as dataset:
            valid = dataset.read(1) != nodata
            to_map = pyproj.Transformer.from_crs(4326, dataset.crs, always_xy=True).transform
            outline = shapely.transform(
                shape(item["geometry"]), lambda p, f=to_map: np.column_stack(f(p[:, 0], p[:, 1]))
            )
            rows, cols = np.indices(valid.shape)
            x = dataset.transform.c + 300 * (cols + 0.5)
            y = dataset.transform.f - 300 * (rows + 0.5)
        inner = shapely.contains_xy(outline.buffer(-60), x, y)
        outer = shapely.contains_xy(outline.buffer(60), x, y)
        assert valid[inner].all()
        assert not valid[~outer].any()
        assert shape(item["geometry"]).bounds == tuple(item["bbox"])


def test_the_offset_comes_with_baseline_4(world):
    before = {item["properties"]["s2:processing_baseline"]: item for item in world.items[S2]}
    for item in world.items[S2]:
        late = item["properties"]["datetime"] >= "2022-01-25"
        assert item["properties"]["s2:processing_baseline"] == ("04.00" if late else "03.01")
        assert ("N0400" if late else "N0301") in item["properties"]["s2:product_uri"]
        dark = {band: np.percentile(dn[dn > 0], 0.05) for band in BANDS for dn in [world.read(item, band)]}
        assert min(dark.values()) > 950 if late else min(dark.values()) < 700
    assert set(before) == {"03.01", "04.00"}


def clear(world, item):
    """Where the ground is seen, in pixels of 10 m."""
    scl = np.kron(world.read(item, "SCL"), np.ones((2, 2), np.uint8))
    return np.isin(scl, (4, 5, 6))


def test_covers_look_as_they_should(world):
    tile = "18TWS"
    item = next(i for i in world.of_tile(tile) if i["properties"]["datetime"][5:7] == "07")
    cover, seen = world.cover(item, "B02"), clear(world, item)
    bands = {band: world.reflectance(item, band) for band in ("B02", "B03", "B04", "B08")}
    means = {code: {band: np.nanmean(bands[band][seen & (cover == code)]) for band in bands} for code in (10, 40, 80)}
    assert 0.3 < means[10]["B08"] < 0.45
    assert means[10]["B04"] < 0.05
    assert means[40]["B08"] > means[10]["B08"] - 0.1
    assert means[80]["B08"] < 0.03
    assert means[80]["B02"] < 0.08
    green = world.read(item, "SCL") == 4
    assert np.all(world.reflectance(item, "B06")[green] > world.reflectance(item, "B05")[green])


def test_snow_is_bright_but_not_in_the_shortwave_infrared(world):
    item = next(i for i in world.of_tile("18TWS") if i["properties"]["datetime"][5:7] == "01")
    assert item["properties"]["s2:snow_ice_percentage"] > 50
    snow = world.read(item, "SCL") == 11
    red = world.reflectance(item, "B04")[::2, ::2][snow]
    assert np.nanmean(red) > 0.45
    assert np.nanmean(world.reflectance(item, "B11")[snow]) < 0.25


def test_vegetation_is_greener_in_its_summer(world):
    for tile, summer, winter in (("18TWS", "07", "01"), ("19LBJ", "01", "07")):
        means = {}
        for month in (summer, winter):
            item = next(i for i in world.of_tile(tile) if i["properties"]["datetime"][5:7] == month)
            where = np.isin(world.cover(item, "B04"), (30, 40)) & (world.read(item, "B04") > 0)
            scl = np.kron(world.read(item, "SCL"), np.ones((2, 2), np.uint8))
            where &= ~np.isin(scl, (0, 3, 8, 9, 10))
            red, nir = world.reflectance(item, "B04")[where], world.reflectance(item, "B08")[where]
            means[month] = np.mean((nir - red) / (nir + red))
        assert means[summer] > means[winter] + 0.2


# --- Pixels of Sentinel-1 ---


def decibels(values):
    return 10 * np.log10(values.mean())


def test_backscatter_is_linear_and_has_the_means_of_its_covers(world):
    land, values = {"vv": [], "vh": []}, {}
    for item in world.items[S1]:
        cover = world.cover(item, "vv")
        for asset in item["assets"]:
            pixels = world.read(item, asset)
            valid = pixels != -32768
            assert (pixels[valid] > 0).all()
            assert 0.05 < valid.mean() < 0.95
            land[asset].append(pixels[valid & (cover != 80)])
            for code in (10, 30, 50, 80):
                values.setdefault((asset, code), []).append(pixels[valid & (cover == code)])
    means = {key: decibels(np.concatenate(parts)) for key, parts in values.items()}
    assert decibels(np.concatenate(land["vv"])) == pytest.approx(-12.6, abs=1.0)
    assert decibels(np.concatenate(land["vh"])) == pytest.approx(-19.4, abs=1.0)
    assert means["vv", 80] == pytest.approx(-20, abs=1.5)
    assert means["vh", 80] == pytest.approx(-27, abs=1.5)
    assert means["vv", 50] > means["vv", 10] + 2
    assert means["vh", 10] > means["vh", 30] + 2
    for code in (10, 30, 50, 80):
        assert means["vv", code] > means["vh", code] + 4


def test_slopes_are_bright_on_the_side_of_the_sensor():
    granule = Granule(epsg=32719, x_min=300000, y_max=6400040)
    frame = Frame(epsg=32719, x_min=granule.x_min, y_max=granule.y_max, pixel_m=300, width=300, height=280)
    ground = survey(planet(0), frame)
    state = observe(ground, datetime(2021, 10, 1, 10, tzinfo=UTC))
    valid = np.ones((280, 300), bool)
    east, west = (sound(ground, state, "vv", look, valid, 5) for look in ((0.98, 0.2), (-0.98, 0.2)))
    rising = ground.rise[0] > 0.1
    falling = ground.rise[0] < -0.1
    assert (east[rising] > west[rising]).mean() > 0.95
    assert (east[falling] < west[falling]).mean() > 0.95


def test_ascending_and_descending_differ_in_frame_and_look(world):
    states = {item["properties"]["sat:orbit_state"]: item for item in world.items[S1]}
    assert set(states) == {"ascending", "descending"}
    up, down = states["ascending"], states["descending"]
    assert up["properties"]["sat:relative_orbit"] != down["properties"]["sat:relative_orbit"]
    assert up["properties"]["proj:bbox"] != down["properties"]["proj:bbox"]


def test_tiles_of_the_region_have_scenes_of_both_sensors(world):
    area = json.loads(world.scenes.region.read_text())
    parts = [shape(feature["geometry"]) for feature in area["features"]]
    assert len(parts) == 2
    boxes = shapely.union_all([shapely.box(*box) for box in SIZES["small"].boxes])
    optical = shapely.union_all([shape(item["geometry"]) for item in world.items[S2]])
    radar = shapely.union_all([shape(item["geometry"]) for item in world.items[S1]])
    for part in parts:
        assert part.area > 0.4
        assert boxes.buffer(1e-6).contains(part)
        assert optical.contains(part.buffer(0.04))
        assert radar.contains(part.buffer(0.04))
