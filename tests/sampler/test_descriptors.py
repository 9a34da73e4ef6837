"""Class shares and moments per tile: equal to plain loops, to the bit the same however tiles and files are cut."""

import json
import math
import pickle

import numpy as np
import pytest
import rasterio

from csmoe_sampler.descriptors import ClassShares, Moments
from csmoe_sampler.errors import LegendError, RasterError
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.legend import load_legend
from csmoe_sampler.rasters import open_source, reading
from sampler.raster_files import COARSE_GRID, locate_centres, overlaps, patches, write_raster

GRID = COARSE_GRID
WORLDCOVER = load_legend("worldcover")
EVERY_TILE = np.arange(GRID.size)
FINE, COARSE = 0.1, 0.9


def shares_of(path, legend=WORLDCOVER):
    return ClassShares(name="cover", raster=open_source(path), legend=legend)


def same(one, other):
    assert one.keys() == other.keys()
    for key in one:
        assert one[key].dtype == other[key].dtype
        assert one[key].tobytes() == other[key].tobytes(), key


def cover(shape, seed=0, dtype="uint8"):
    return patches(shape, [10, 30, 40, 80, 0], seed, dtype)


def values_of(shape, seed=0):
    values = np.random.default_rng(seed).normal(300, 50, shape).astype(np.float32)
    values[patches(shape, [0, 0, 0, 1], seed + 1) == 1] = np.nan
    return values


def declare_nodata(path, dtype, nodata):
    """A VRT beside a raster of 90 x 130 pixels that declares a no-data value, whatever its pixels can hold."""
    vrt = path.with_suffix(".vrt")
    vrt.write_text(
        '<VRTDataset rasterXSize="130" rasterYSize="90"><SRS>EPSG:4326</SRS>'
        f"<GeoTransform>12,{FINE},0,48,0,-{FINE}</GeoTransform>"
        f'<VRTRasterBand dataType="{dtype}" band="1"><NoDataValue>{nodata}</NoDataValue><SimpleSource>'
        f'<SourceFilename relativeToVRT="1">{path.name}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>'
        "</VRTRasterBand></VRTDataset>"
    )
    return vrt


# ---- what comes out -------------------------------------------------------------------------------------------------


def test_class_columns(tmp_path):
    shares = shares_of(write_raster(tmp_path / "c.tif", cover((90, 130)), 12.0, 48.0, FINE))
    found = shares.describe(GRID, EVERY_TILE)
    assert {key: column.dtype.name for key, column in found.items()} == shares.columns
    assert list(shares.columns)[:2] == ["cover_tree_cover", "cover_shrubland"]
    assert list(shares.columns)[-5:] == [f"cover_{key}" for key in ("valid", "water", "entropy", "classes", "pixels")]
    assert all(column.shape == (GRID.size,) for column in found.values())
    assert shares.pixel_deg == FINE


def test_shares_of_known_pixels(tmp_path):
    """A raster of one tile: a quarter of water, a quarter of no data, the rest trees."""
    tile = GRID.locate_index([0.1], [0.1])
    _, _, east, north = (float(edge[0]) for edge in GRID.bounds(tile))
    pixels = np.full((24, 24), 10, np.uint8)
    pixels[:, :6], pixels[:, 6:12] = 80, 0
    path = write_raster(tmp_path / "c.tif", pixels, 0.0, north, (east / 24, north / 24))
    found = {key: column[0] for key, column in shares_of(path).describe(GRID, tile).items()}
    third = 1 / 3
    assert found["cover_tree_cover"] == pytest.approx(2 * third)
    assert found["cover_permanent_water_bodies"] == pytest.approx(third)
    assert found["cover_valid"] == pytest.approx(0.75)
    assert found["cover_water"] == pytest.approx(0.25)
    assert found["cover_entropy"] == pytest.approx(math.log2(3) - 2 * third)
    assert found["cover_classes"] == 2
    assert found["cover_pixels"] == 24 * 24 * 3 / 4
    assert found["cover_cropland"] == 0


@pytest.mark.parametrize("options", [{}, {"tiled": True, "blockxsize": 64, "blockysize": 16}])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_classes_by_centres_are_those_of_a_plain_count(tmp_path, dtype, options):
    pixels = cover((150, 210), dtype=dtype)
    shares = shares_of(write_raster(tmp_path / "c.tif", pixels, -150.0, -31.0, FINE, **options))
    tally = shares.tally(GRID, EVERY_TILE)
    located = locate_centres(shares.raster.lattice, GRID)
    cosine = np.cos(np.radians(shares.raster.lattice.lat(np.arange(150))))[:, None] * np.ones(210)
    for code, column in ((10, 0), (20, 1), (30, 2), (40, 3), (80, 7)):
        inside = (pixels == code) & (located >= 0)
        assert np.array_equal(tally.pixels[:, column], np.bincount(located[inside], minlength=GRID.size))
        weight = np.bincount(located[inside], cosine[inside], minlength=GRID.size)
        valid = np.bincount(located[pixels != 0], cosine[pixels != 0], minlength=GRID.size)
        there = valid > 0
        share = tally.weight[there, column] / tally.weight[there].sum(axis=1)
        np.testing.assert_allclose(share, weight[there] / valid[there], rtol=1e-12, atol=1e-12)


def test_valid_is_a_share_of_the_whole_tile(tmp_path):
    """Also of a tile that the raster covers in part, and exactly 1 where it covers it all."""
    shares = shares_of(write_raster(tmp_path / "c.tif", np.full((90, 130), 40, np.uint8), 12.0, 48.0, FINE))
    valid = shares.describe(GRID, EVERY_TILE)["cover_valid"]
    west, south, east, north = GRID.bounds(EVERY_TILE)
    inside = (west >= 12) & (east <= 25) & (south >= 39) & (north <= 48)
    assert inside.sum() > 5
    assert (valid[inside] == 1).all()
    width = np.clip(np.minimum(east, 25) - np.maximum(west, 12), 0, None) / (east - west)
    height = np.clip(np.minimum(north, 48) - np.maximum(south, 39), 0, None) / (north - south)
    np.testing.assert_allclose(valid, width * height, atol=0.06)
    assert valid.max() == 1


def test_classes_by_areas_are_those_of_a_plain_loop(tmp_path):
    pixels = cover((9, 14))
    shares = shares_of(write_raster(tmp_path / "c.tif", pixels, 171.0, 55.0, COARSE))
    tiles = GRID.in_box(GRID.row_first, GRID.row_last + 1, 165, -165)
    found = shares.describe(GRID, tiles)
    assert (found["cover_pixels"] == 0).all()
    assert found["cover_valid"].max() <= 1
    for k, tile in enumerate(tiles):
        expected: dict[int, float] = {}
        for row, col, share in overlaps(shares.raster.lattice, GRID, int(tile)):
            code = int(pixels[row, col])
            expected[code] = expected.get(code, 0) + share
        valid = sum(share for code, share in expected.items() if code)
        assert found["cover_valid"][k] == pytest.approx(valid, abs=1e-7)
        assert found["cover_water"][k] == pytest.approx(expected.get(80, 0), abs=1e-7)
        if valid > 1e-9:
            assert found["cover_cropland"][k] == pytest.approx(expected.get(40, 0) / valid, abs=1e-6)


@pytest.mark.parametrize("edge", [FINE, COARSE])
def test_moments_are_those_of_a_plain_loop(tmp_path, edge):
    shape = (60, 90) if edge == FINE else (9, 12)
    values = values_of(shape)
    values[3, 5] = -999
    path = write_raster(tmp_path / "v.tif", values, 4.0, 61.0, edge, nodata=-999)
    moments = Moments(name="height", raster=open_source(path))
    found = moments.describe(GRID, EVERY_TILE)
    assert {key: column.dtype.name for key, column in found.items()} == moments.columns
    lattice = moments.raster.lattice
    located = locate_centres(lattice, GRID)
    known = 0
    for tile in np.unique(located[located >= 0]):
        if edge == FINE:
            parts = [
                (r, c, math.cos(math.radians(lattice.north - (r + 0.5) * edge)))
                for r, c in np.argwhere(located == tile)
            ]
        else:
            parts = overlaps(lattice, GRID, int(tile))
        there = [(values[r, c], w) for r, c, w in parts if np.isfinite(values[r, c]) and values[r, c] != -999]
        if not there:
            assert np.isnan(found["height_mean"][tile])
            continue
        sample, weight = np.array(there, np.float64).T
        mean = np.average(sample, weights=weight)
        known += 1
        assert found["height_mean"][tile] == pytest.approx(mean, rel=1e-6)
        spread = math.sqrt(np.average((sample - mean) ** 2, weights=weight))
        assert found["height_std"][tile] == pytest.approx(spread, rel=1e-5, abs=1e-5)
        if edge == COARSE:
            assert found["height_valid"][tile] == pytest.approx(weight.sum(), rel=1e-6)
    assert known > 10
    off = np.setdiff1d(EVERY_TILE, GRID.in_box(20, 30, 0, 20))
    assert np.isnan(found["height_mean"][off]).all()
    assert np.isnan(found["height_std"][off]).all()
    assert (found["height_valid"][off] == 0).all()


@pytest.mark.parametrize("edge", [FINE, COARSE])
def test_files_that_overlap_by_part_of_a_pixel(tmp_path, edge):
    """No tile is more than full."""
    shape = (round(9 / edge), round(13 / edge))
    for k in range(2):
        west = 12.0 + k * (shape[1] - 0.45) * edge
        write_raster(tmp_path / f"{k}.tif", np.full(shape, 40, np.uint8), west, 48.0, edge)
    shares = shares_of(tmp_path).describe(GRID, EVERY_TILE)
    moments = Moments(name="m", raster=open_source(tmp_path)).describe(GRID, EVERY_TILE)
    for valid in (shares["cover_valid"], moments["m_valid"]):
        assert valid.max() == 1
    assert shares["cover_cropland"].max() == 1
    assert (moments["m_mean"][moments["m_valid"] > 0] == 40).all()


def test_no_data_is_compared_as_the_pixels_have_it(tmp_path):
    values = np.full((90, 130), 5, np.float32)
    values[::2] = -9999.9
    vrt = declare_nodata(write_raster(tmp_path / "v.tif", values, 12.0, 48.0, FINE), "Float32", -9999.9)
    found = Moments(name="v", raster=open_source(vrt)).describe(GRID, EVERY_TILE)
    assert np.nanmin(found["v_mean"]) == 5


def test_moments_of_integers_without_no_data(tmp_path):
    values = np.arange(60 * 90, dtype=np.int16).reshape(60, 90)
    found = Moments(name="h", raster=open_source(write_raster(tmp_path / "v.tif", values, 4.0, 61.0, FINE)))
    columns = found.describe(GRID, EVERY_TILE)
    assert (columns["h_valid"] == 1).any()
    assert 0 <= np.nanmin(columns["h_mean"]) < np.nanmax(columns["h_mean"]) < 5400


# ---- what does not matter -------------------------------------------------------------------------------------------


def descriptors(folder, edge):
    """Two files side by side over the antimeridian, as classes and as numbers."""
    shape = (70, 110) if edge == FINE else (8, 12)
    for k in range(2):
        west = -180.0 - (1 - k) * shape[1] * edge
        west += 360 * (west < -180 - 1e-9)
        write_raster(folder / f"c{k}.tif", cover(shape, k), west, 43.21, edge, tiled=True, blockxsize=32, blockysize=16)
        write_raster(folder / f"v{k}.tif", values_of(shape, k), west, 43.21, edge)
    yield shares_of(str(folder / "c*.tif"))
    yield Moments(name="v", raster=open_source(str(folder / "v*.tif")))


@pytest.mark.parametrize("edge", [FINE, COARSE])
def test_results_do_not_depend_on_how_tiles_are_cut(tmp_path, edge):
    tiles = GRID.in_box(10, 22, 160, -160)
    assert len(tiles) > 80
    for descriptor in descriptors(tmp_path, edge):
        whole = descriptor.describe(GRID, tiles)
        assert (next(column for key, column in whole.items() if key.endswith("_valid")) > 0).sum() > 15
        for parts in (np.array_split(tiles, 7), [tiles[::2], tiles[1::2]], [np.array([t]) for t in tiles]):
            pieces = [descriptor.describe(GRID, part) for part in parts]
            order = np.argsort(np.concatenate(parts))
            same(whole, {key: np.concatenate([piece[key] for piece in pieces])[order] for key in whole})


@pytest.mark.parametrize("edge", [FINE, COARSE])
def test_results_do_not_depend_on_windows_and_blocks(tmp_path, edge, monkeypatch):
    tiles = GRID.in_box(10, 22, 160, -160)
    before = [descriptor.describe(GRID, tiles) for descriptor in descriptors(tmp_path, edge)]
    for size in (1, 500, 3000):
        monkeypatch.setattr(reading, "_LOCAL_WINDOW_BYTES", size)
        for descriptor, expected in zip(descriptors(tmp_path, edge), before, strict=True):
            same(expected, descriptor.describe(GRID, tiles))
    for path in tmp_path.glob("*.tif"):
        with rasterio.open(path) as dataset:
            pixels, profile = dataset.read(1), dataset.profile
        profile.update(tiled=True, blockxsize=16, blockysize=48)
        with rasterio.open(path, "w", **profile) as dataset:
            dataset.write(pixels, 1)
    again = [shares_of(str(tmp_path / "c*.tif")), Moments(name="v", raster=open_source(str(tmp_path / "v*.tif")))]
    for descriptor, expected in zip(again, before, strict=True):
        same(expected, descriptor.describe(GRID, tiles))


def test_a_mosaic_counts_as_one_raster(tmp_path):
    pixels = cover((120, 200))
    write_raster(tmp_path / "one" / "c.tif", pixels, 8.0, 50.0, 0.125)
    for k, (rows, cols) in enumerate([((0, 50), (0, 77)), ((0, 50), (77, 200)), ((50, 120), (0, 200))]):
        part = pixels[slice(*rows), slice(*cols)]
        write_raster(tmp_path / "three" / f"{k}.tif", part, 8.0 + cols[0] / 8, 50.0 - rows[0] / 8, 0.125)
    one, three = (shares_of(tmp_path / name).describe(GRID, EVERY_TILE) for name in ("one", "three"))
    same(one, three)


@pytest.mark.parametrize("edge", [0.125, 1.0])
def test_a_raster_from_greenwich_is_one_from_the_antimeridian(tmp_path, edge):
    num_rows, num_cols = round(18 / edge), round(360 / edge)
    pixels = cover((num_rows, num_cols))
    rolled = np.roll(pixels, num_cols // 2, axis=1)
    tiles = GRID.in_box(0, 9, -180, 180)
    straddlers = GRID.bounds(tiles)[2] > 180
    assert straddlers.sum() > 1
    one = shares_of(write_raster(tmp_path / "a.tif", pixels, -180.0, 18.0, edge)).describe(GRID, tiles)
    two = shares_of(write_raster(tmp_path / "b.tif", rolled, 0.0, 18.0, edge)).describe(GRID, tiles)
    for key in one:
        np.testing.assert_allclose(one[key], two[key], rtol=1e-6, atol=1e-7)
    if edge < 1:
        assert np.array_equal(one["cover_pixels"], two["cover_pixels"])
    assert (one["cover_valid"][straddlers] > 0).all()


def test_descriptors_travel(tmp_path):
    for descriptor in descriptors(tmp_path, COARSE):
        travelled = pickle.loads(pickle.dumps(descriptor))
        assert travelled == descriptor
        same(descriptor.describe(GRID, EVERY_TILE), travelled.describe(GRID, EVERY_TILE))


def test_no_tiles(tmp_path):
    for edge in (FINE, COARSE):
        for descriptor in descriptors(tmp_path / str(edge), edge):
            found = descriptor.describe(GRID, EVERY_TILE[:0])
            assert {key: (column.dtype.name, column.size) for key, column in found.items()} == {
                key: (dtype, 0) for key, dtype in descriptor.columns.items()
            }


def test_provenance_and_cost(tmp_path):
    shares, moments = descriptors(tmp_path, FINE)
    assert json.loads(json.dumps(shares.provenance()))["legend"]["name"] == "worldcover"
    assert str(tmp_path) not in json.dumps([shares.provenance(), moments.provenance()])
    assert shares.provenance()["raster"]["digest"] != moments.provenance()["raster"]["digest"]
    for descriptor in (shares, moments):
        cost = descriptor.cost(GRID, EVERY_TILE)
        assert cost.files == 2
        assert 2 * 70 * 110 <= cost.pixels < 3 * 70 * 110
        assert cost.bytes > 1000


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edge", [FINE, COARSE])
@pytest.mark.parametrize("dtype", ["uint8", "int16"])
def test_all_unknown_codes_of_all_files_come_in_one_message(tmp_path, edge, dtype):
    west = 12.0
    for k in range(2):
        pixels = np.full((40, 50), 10, dtype)
        pixels[30, 30 + k] = 11
        if not k:
            pixels[5, 5:8] = -7 if dtype == "int16" else 7
        write_raster(tmp_path / f"{k}.tif", pixels, west + k * 50 * edge, 60.0, edge)
    with pytest.raises(LegendError) as error:
        shares_of(tmp_path).describe(GRID, EVERY_TILE)
    odd = -7 if dtype == "int16" else 7
    assert str(error.value).startswith("legend 'worldcover': does not know the codes ")
    for part in ("11 (1 pixels of 0.tif)", f"{odd} (3 pixels of 0.tif)", "11 (1 pixels of 1.tif)"):
        assert part in str(error.value)


def test_unknown_codes_outside_the_tiles_do_not_matter(tmp_path):
    pixels = np.full((90, 130), 10, np.uint8)
    pixels[:, 100:] = 11
    shares = shares_of(write_raster(tmp_path / "c.tif", pixels, 12.0, 48.0, FINE))
    tile = GRID.locate_index([15.0], [44.0])
    assert shares.describe(GRID, tile)["cover_tree_cover"] == [1]


def test_unknown_codes_between_tiles_are_not_counted(tmp_path):
    """Two tiles that touch at a corner: what they leave free of their common window has unknown codes, too."""
    pixels = np.full((90, 130), 11, np.uint8)
    shares = shares_of(write_raster(tmp_path / "c.tif", pixels, 12.0, 48.0, FINE))
    tiles = GRID.locate_index([15.0, 18.0], [43.0, 45.0])
    expected = np.isin(locate_centres(shares.raster.lattice, GRID), tiles).sum()
    with pytest.raises(LegendError, match=rf"11 \({expected:,} pixels of c\.tif\)"):
        shares.describe(GRID, tiles)


def test_many_unknown_codes_are_summed_up(tmp_path):
    pixels = np.arange(90 * 130).reshape(90, 130).astype(np.uint8)
    with pytest.raises(LegendError, match=r"and \d+ more: use the legend of the raster"):
        shares_of(write_raster(tmp_path / "c.tif", pixels, 12.0, 48.0, FINE)).describe(GRID, EVERY_TILE)


def test_no_data_of_the_file_counts_beside_that_of_the_legend(tmp_path):
    pixels = np.full((90, 130), 10, np.uint8)
    pixels[:45], pixels[45:60] = 0, 99
    shares = shares_of(write_raster(tmp_path / "c.tif", pixels, 12.0, 48.0, FINE, nodata=99))
    assert shares.tally(GRID, EVERY_TILE).pixels.sum() == 30 * 130


@pytest.mark.parametrize("nodata", [-9999, 1e30, float("nan"), 2.5])
def test_no_data_that_no_code_can_be(tmp_path, nodata):
    path = write_raster(tmp_path / "c.tif", cover((90, 130)), 12.0, 48.0, FINE)
    vrt = declare_nodata(path, "Byte", nodata)
    same(shares_of(path).describe(GRID, EVERY_TILE), shares_of(vrt).describe(GRID, EVERY_TILE))


def test_no_data_that_is_a_class_is_refused(tmp_path):
    shares = shares_of(write_raster(tmp_path / "c.tif", cover((90, 130)), 12.0, 48.0, FINE, nodata=10))
    with pytest.raises(LegendError, match=r"'worldcover': calls code 10 'tree_cover', and raster c\.tif declares it"):
        shares.describe(GRID, EVERY_TILE)


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_classes_are_small_integers(tmp_path, dtype):
    shares = shares_of(write_raster(tmp_path / "c.tif", cover((90, 130), dtype=dtype), 12.0, 48.0, FINE))
    with pytest.raises(RasterError, match=rf"raster c\.tif: its pixels are {dtype}, .*gdal_translate -ot Byte"):
        shares.describe(GRID, EVERY_TILE)


def test_moments_are_of_real_numbers(tmp_path):
    values = np.ones((90, 130), np.complex64)
    moments = Moments(name="v", raster=open_source(write_raster(tmp_path / "v.tif", values, 12.0, 48.0, FINE)))
    with pytest.raises(RasterError, match=r"raster v\.tif: its pixels are complex64"):
        moments.describe(GRID, EVERY_TILE)


# ---- real rasters ---------------------------------------------------------------------------------------------------


def test_worldcover_whole_file(shared_data):
    """All 1.3 billion pixels; the counts are those that come with the file."""
    grid = TileGrid()
    shares = shares_of(shared_data / "worldcover" / "ESA_WorldCover_10m_2021_v200_N00E006_Map.tif")
    tiles = grid.in_box(-1, 35, 5.9, 9.1)
    tally = shares.tally(grid, tiles)
    counts = dict(zip(WORLDCOVER.labels, tally.pixels.sum(axis=0).tolist(), strict=True))
    assert counts == {
        "tree_cover": 10_819_361,
        "shrubland": 778,
        "grassland": 392_489,
        "cropland": 4_672,
        "built_up": 181_604,
        "bare_sparse_vegetation": 124_660,
        "snow_and_ice": 0,
        "permanent_water_bodies": 153_136_048,
        "herbaceous_wetland": 4_390,
        "mangroves": 4_637,
        "moss_and_lichen": 0,
    }


def test_worldcover_tiles_are_those_of_a_plain_count(shared_data):
    """Every tile of the island of São Tomé."""
    grid = TileGrid()
    shares = shares_of(shared_data / "worldcover" / "ESA_WorldCover_10m_2021_v200_N00E006_Map.tif")
    tiles = grid.in_box(0, 6, 6.35, 6.85)
    west, south, east, north = (edge for edge in grid.bounds(tiles))
    lattice = shares.raster.lattice
    top, bottom = round((lattice.north - north.max()) * 12000) - 2, round((lattice.north - south.min()) * 12000)
    left, right = round((west.min() - 6) * 12000) - 2, round((east.max() - 6) * 12000) + 2
    with rasterio.open(shares.raster.files[0].href) as dataset:
        pixels = dataset.read(1, window=((top, bottom), (left, right)))
    lon = lattice.lon(np.arange(left, right))
    tally = shares.tally(grid, tiles)
    number, weight = np.zeros(tally.pixels.shape, np.int64), np.zeros(tally.pixels.shape)
    column = np.zeros(256, np.int64)
    column[[code for (code,) in WORLDCOVER.codes]] = np.arange(11)
    for row, codes in zip(range(top, bottom), pixels, strict=True):
        lat = lattice.lat(np.array([row]))
        position = np.searchsorted(tiles, located := grid.locate_index(lon, lat))
        inside = (tiles[np.minimum(position, len(tiles) - 1)] == located) & (codes > 0)
        cells = position[inside] * 11 + column[codes[inside]]
        counts = np.bincount(cells, minlength=number.size).reshape(number.shape)
        number += counts
        weight += counts * math.cos(math.radians(lat[0]))
    assert number.sum() > 3_000_000
    assert np.array_equal(tally.pixels, number)
    valid = tally.weight.sum(axis=1) > 0
    share = tally.weight[valid] / tally.weight[valid].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(share, weight[valid] / weight[valid].sum(axis=1, keepdims=True), rtol=1e-12)


@pytest.mark.parametrize(
    ("path", "legend", "bands"),
    [
        ("landcover/MCD12C1.A2019001.006.2020220162300.tif", "igbp", [(-946, -940), (-3, 3), (900, 905)]),
        ("koppen/koppen_geiger_0p1.tif", "koppen", [(-600, -597), (-1, 1), (543, 545), (800, 802)]),
    ],
)
def test_coarse_maps_of_the_globe(shared_data, path, legend, bands):
    grid = TileGrid()
    shares = ClassShares(name="m", raster=open_source(shared_data / path), legend=load_legend(legend))
    tiles = np.concatenate([grid.in_box(*rows, -180, 180) for rows in bands])
    tally = shares.tally(grid, tiles)
    lattice = shares.raster.lattice
    with rasterio.open(shared_data / path) as dataset:
        pixels = dataset.read(1)
    random = np.random.default_rng(0)
    straddlers = np.flatnonzero(grid.bounds(tiles)[2] > 180)
    edge = lattice.width_deg
    for k in np.concatenate([random.choice(len(tiles), 150), straddlers]):
        west, south, east, north = (float(bound[0]) for bound in grid.bounds(tiles[k : k + 1]))
        expected = np.zeros(shares.legend.num_classes)
        for row in range(math.floor((90 - north) / edge), math.ceil((90 - south) / edge)):
            top, bottom = min(north, 90 - row * edge), max(south, 90 - (row + 1) * edge)
            height = math.sin(math.radians(top)) - math.sin(math.radians(bottom))
            for col in range(math.floor((west + 180) / edge), math.ceil((east + 180) / edge)):
                width = min(east, -180 + (col + 1) * edge) - max(west, -180 + col * edge)
                code = pixels[row, col % lattice.num_cols]
                hit = [code in codes for codes in shares.legend.codes]
                expected[hit] += height * width
        area = (math.sin(math.radians(north)) - math.sin(math.radians(south))) * (east - west)
        np.testing.assert_allclose(tally.weight[k] / tally.whole[k], expected / area, rtol=1e-9, atol=1e-10)
