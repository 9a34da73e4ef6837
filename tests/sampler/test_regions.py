import itertools
from functools import cache

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.affinity import translate

from csmoe_sampler.errors import RegionError
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.regions import CONTINENTS, describe_region, outlines, parse_region, share_out, tiles_of
from csmoe_sampler.scanlines import polygon_edges
from csmoe_sampler.storage import file_digest

GRID = TileGrid(10)
COARSE = TileGrid(100)
# A slanted, concave shape with a hole, wider than high.
SHAPE = shapely.Polygon(
    [(4.0, 41.0), (17.3, 44.2), (15.1, 52.7), (9.9, 46.1), (2.2, 50.4)], [[(7, 44), (9, 45), (10, 44)]]
)


@cache
def centres(grid):
    return grid.centre(np.arange(grid.size))


def centres_inside(shape, grid):
    lon, lat = centres(grid)
    shapely.prepare(shape)
    west, south, east, north = shape.bounds
    turns = [turn for turn in (0, 360, -360) if west < 180 + turn and east > turn - 180]
    near = np.flatnonzero((south < lat) & (lat < north))
    return near[np.any([shapely.contains_xy(shape, lon[near] + turn, lat[near]) for turn in turns], axis=0)]


def meetings(grid):
    """Pairs of a tile and a country whose outline its cell meets, by plain geometry."""
    cells = shapely.box(*grid.bounds(np.arange(grid.size)))
    tree = shapely.STRtree(cells)
    shapes = shapely.make_valid(outlines().geometry.to_numpy())
    country, tile = np.hstack([tree.query(moved(shapes, turn), predicate="intersects") for turn in (0, 360)])
    return tile, country


def moved(shapes, turn):
    return shapely.transform(shapes, lambda lon_lat: lon_lat + np.array([turn, 0]))


@pytest.fixture(scope="module")
def continents():
    return {name: tiles_of(name, GRID) for name in CONTINENTS}


def write(shapes, path, crs="EPSG:4326", to=None):
    frame = gpd.GeoDataFrame({"name": [f"shape {k}" for k in range(len(shapes))]}, geometry=shapes, crs=crs)
    frame = frame if to is None else frame.to_crs(to)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path)
    return str(path)


@pytest.mark.parametrize(
    ("region", "kind", "text"),
    [
        ("global", "global", "global"),
        (" Global ", "global", "global"),
        ("europe", "continent", "europe"),
        ("South America", "continent", "south-america"),
        ("SOUTH_america", "continent", "south-america"),
        ("north-america", "continent", "north-america"),
        ("FR", "country", "FR"),
        ("fra", "country", "FRA"),
        ("NO", "country", "NO"),
        ("XK", "country", "XK"),
        ("-10,35.5,30,60", "box", "-10,35.5,30,60"),
        ("170, -20, -170, -10", "box", "170,-20,-170,-10"),
    ],
)
def test_what_a_text_means(region, kind, text):
    meant = parse_region(region)
    assert (meant.kind, meant.text) == (kind, text)


def test_a_text_that_names_a_file_means_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("area.gpkg", "1,2,3,4.geojson", "outline"):
        (tmp_path / name).write_text("")
        assert (parse_region(name).kind, parse_region(name).text) == ("file", name)
    (tmp_path / "FR").write_text("")
    assert parse_region("FR").kind == "country"


def test_a_box_over_the_antimeridian_runs_on_beyond_180():
    assert parse_region("170,-20,-170,-10").box == (170, -20, 190, -10)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ("France", r"'France' is unknown: give 'global', a continent \(africa.*did you mean FRA \(France\)"),
        ("eurpoe", r"did you mean europe"),
        ("QQ", r"'QQ' is unknown"),
        ("-99", r"'-99' is unknown"),
        ("", r"'' is unknown"),
        ("1,2,3", r"'1,2,3': a box is four numbers"),
        ("1,2,3,x", r"a box is four numbers"),
        ("1,2,3,4,5", r"a box is four numbers"),
        ("-181,0,0,1", r"longitudes of a box"),
        ("0,0,361,1", r"longitudes of a box"),
        ("nan,0,1,1", r"longitudes of a box"),
        ("0,10,1,10", r"latitudes of a box"),
        ("0,20,1,10", r"latitudes of a box"),
        ("0,0,1,91", r"latitudes of a box"),
        ("0,nan,1,2", r"latitudes of a box"),
        ("5,0,5,1", r"360 degrees wide"),
        ("-180,0,360,1", r"360 degrees wide"),
        ("180,0,-180,1", r"360 degrees wide"),
        ("0,86,10,90", r"holds no tile: the grid of 10 km reaches from latitude -84.970 to 85.060"),
        ("missing.geojson", r"missing.geojson: no such file"),
        ("places/missing", r"places/missing: no such file"),
        ("x" * 4000, r"is unknown"),
    ],
)
def test_what_cannot_be_understood_is_said(region, message):
    with pytest.raises(RegionError, match=message):
        tiles_of(region, GRID)


def test_global_is_every_tile():
    assert np.array_equal(tiles_of("global", COARSE), np.arange(COARSE.size))
    assert np.array_equal(tiles_of("-180,-90,180,90", COARSE), np.arange(COARSE.size))
    assert np.array_equal(tiles_of("0,-90,360,90", COARSE), np.arange(COARSE.size))


@given(
    st.tuples(st.integers(-720, 1440), st.integers(-359, 359), st.integers(-720, 1440), st.integers(-359, 359)).filter(
        lambda box: box[2] - box[0] < 1440 and (box[2] - box[0]) % 1440 and abs(box[1] - box[3]) > 30
    )
)
@settings(max_examples=100, deadline=None)
def test_a_box_is_a_half_open_filter_of_centres(quarters):
    lon_min, lat_min, lon_max, lat_max = (number / 4 for number in quarters)
    lat_min, lat_max = sorted([lat_min, lat_max])
    lon, lat = centres(COARSE)
    width = (lon_max - lon_min) % 360
    expected = np.flatnonzero((lat_min <= lat) & (lat < lat_max) & ((lon - lon_min) % 360 < width))
    region = f"{lon_min},{lat_min},{lon_max},{lat_max}"
    if len(expected):
        assert np.array_equal(tiles_of(region, COARSE), expected)


def test_neighbouring_boxes_share_no_tile_and_lose_none():
    cuts = [-180.0, -33.3, 0.045, 17.25, 120.0, 180.0]
    parts = [tiles_of(f"{west},-30,{east},40.5", GRID) for west, east in itertools.pairwise(cuts)]
    assert np.array_equal(np.sort(np.concatenate(parts)), tiles_of("-180,-30,180,40.5", GRID))


def test_a_box_without_a_centre_has_the_tile_it_lies_in():
    assert GRID.ids(tiles_of("2.3521,48.8565,2.3523,48.8567", GRID)).tolist() == ["543U_17R"]
    assert GRID.ids(tiles_of("179.999,-16.8001,-179.999,-16.8", GRID)).tolist() == ["188D_1917R"]


@pytest.mark.parametrize(
    ("lon", "lat", "code", "continent"),
    [
        (2.3522, 48.8566, "FR", "europe"),
        (-3.7038, 40.4168, "ESP", "europe"),
        (151.0, -33.8688, "AU", "oceania"),
        (-60.0217, -3.119, "BRA", "south-america"),
        (37.6, 55.75, "RU", "europe"),
        (-99.13, 19.43, "MX", "north-america"),
        (36.82, -1.29, "KE", "africa"),
        (139.7, 35.7, "JP", "asia"),
        (100.0, -80.0, "AQ", "antarctica"),
        (21.16, 42.66, "XK", "europe"),
        (10.75, 59.91, "NOR", "europe"),
    ],
)
def test_cities_lie_in_their_country_and_continent(continents, lon, lat, code, continent):
    tile = GRID.locate_index(lon, lat)
    assert tile in tiles_of(code, GRID)
    assert [name for name, tiles in continents.items() if tile in tiles] == [continent]


def test_countries_and_continents_share_no_tile(continents):
    for names in (["FR", "ES", "PT", "AD", "IT", "CH", "GB"], CONTINENTS, ["ZA", "LS", "MZ"]):
        tiles = np.concatenate([continents[name] if name in continents else tiles_of(name, GRID) for name in names])
        assert len(np.unique(tiles)) == len(tiles)


def test_tiles_go_to_the_country_of_their_centre_then_to_one_that_their_cell_meets():
    grid = TileGrid(50)
    tile, country = meetings(grid)
    shapes = shapely.make_valid(outlines().geometry.to_numpy())
    points = shapely.STRtree(shapely.points(*centres(grid)))
    holder, held = points.query(shapes, predicate="contains")
    owner = np.full(grid.size, -1)
    owner[held] = holder
    codes = outlines()["ADM0_A3"].to_numpy()
    for code in ["FRA", "LSO", "FJI", "RUS", "IDN", "ATA"]:
        position = int(np.flatnonzero(codes == code)[0])
        rivals = tile[country != position]
        sure = np.union1d(np.flatnonzero(owner == position), np.setdiff1d(tile[country == position], rivals))
        possible = tile[(country == position) & np.isin(owner[tile], [-1, position])]
        found = tiles_of(outlines()["ISO_A2_EH"].iloc[position], grid)
        assert np.isin(sure, found).all()
        assert np.isin(found, possible).all() or code == "FRA"  # with Clipperton, an outline of its own
        assert len(np.setdiff1d(found, np.flatnonzero(owner == position))) > 0 or code == "LSO"


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_of_two_countries_in_a_cell_the_nearer_has_it(order):
    tile = int(GRID.locate_index(2.35, 70.05))
    (x,), (y,) = GRID.centre([tile])
    # 0.03 degrees of longitude are a third of 0.03 degrees of latitude here.
    shapes = np.array([shapely.box(x - 1, y + 0.02, x + 1, y + 1), shapely.box(x - 1, y - 0.04, x - 0.03, y + 0.01)])
    land = share_out(polygon_edges(shapes[order]), np.arange(2), GRID)
    holders = land.polygon[(land.start <= tile) & (tile < land.stop)]
    assert holders.tolist() == [order.index(1)]


def test_where_two_countries_are_equally_near_the_first_has_the_tile():
    tile = int(GRID.locate_index(2.35, 48.05))
    (x,), (y,) = GRID.centre([tile])
    border = (x + 0.01, y - 0.02)  # both outlines come nearest at the point they share
    corners = [[border, (x + 1, y - 0.015), (x + 1, y - 1)], [border, (x - 0.5, y - 1), (x - 1, y - 0.3)]]
    shapes = [shapely.Polygon(ring) for ring in corners]
    for pair in (shapes, shapes[::-1]):
        land = share_out(polygon_edges(np.array(pair)), np.arange(2), GRID)
        assert land.polygon[(land.start <= tile) & (tile < land.stop)].tolist() == [0]


def test_every_cell_that_meets_land_has_one_country():
    frame = outlines()
    codes = frame["ISO_A3_EH"].where(frame["ISO_A3_EH"] != "-99", frame["ADM0_A3"]).unique()
    tiles = np.concatenate([tiles_of(code, COARSE) for code in codes])
    assert np.array_equal(np.unique(tiles), np.unique(meetings(COARSE)[0]))


def test_fiji_lies_on_both_sides_of_the_antimeridian():
    lon, _ = GRID.centre(tiles_of("FJ", GRID))
    assert (lon > 177).any()
    assert (lon < -178).any()
    assert (np.abs(lon) > 174).all()
    assert np.isin(GRID.locate_index([-179.99], [-16.8]), tiles_of("FJ", GRID)).all()


@pytest.mark.parametrize("code", ["VA", "MC", "NR", "SM"])
def test_tiny_countries_have_tiles(code):
    frame = outlines()
    point = frame.geometry[frame["ISO_A2_EH"] == code].iloc[0].representative_point()
    for grid in (GRID, COARSE):
        assert np.isin(grid.locate_index([point.x], [point.y]), tiles_of(code, grid)).all()


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".shp", ".parquet"])
def test_vector_files(tmp_path, suffix):
    region = write([SHAPE], tmp_path / f"area{suffix}")
    assert np.array_equal(tiles_of(region, GRID), centres_inside(SHAPE, GRID))


@pytest.mark.parametrize("to", ["EPSG:3035", "EPSG:4258", "EPSG:2154", "ESRI:54009"])
def test_vector_files_in_another_crs(tmp_path, to):
    fine = shapely.segmentize(SHAPE, 0.02)
    found = tiles_of(write([fine], tmp_path / "area.gpkg", to=to), GRID)
    assert np.setxor1d(found, centres_inside(SHAPE, GRID)).size <= 2  # centres within metres of the outline


def test_long_lines_of_a_projected_file_are_bent(tmp_path):
    square = shapely.box(2_500_000, 1_500_000, 6_500_000, 5_000_000)
    bent = gpd.GeoSeries([shapely.segmentize(square, 1000)], crs="EPSG:3035").to_crs("EPSG:4326")[0]
    found = tiles_of(write([square], tmp_path / "square.gpkg", crs="EPSG:3035"), GRID)
    expected = centres_inside(bent, GRID)
    assert np.setxor1d(found, expected).size <= len(expected) // 2000


def test_features_add_up_even_where_they_overlap(tmp_path):
    shapes = [SHAPE, translate(SHAPE, 3.1, 1.7), shapely.MultiPolygon([translate(SHAPE, 40), translate(SHAPE, 41)])]
    expected = [centres_inside(part, GRID) for shape in shapes for part in shapely.get_parts(shape)]
    found = tiles_of(write(shapes, tmp_path / "areas.gpkg"), GRID)
    assert np.array_equal(found, np.unique(np.concatenate(expected)))


@pytest.mark.parametrize("shift", [0, 169, 360, -360, -191])
@pytest.mark.parametrize("crs", ["EPSG:4326", "OGC:CRS84", "EPSG:4269"])
def test_longitudes_beyond_180_are_wrapped(tmp_path, shift, crs):
    moved = translate(SHAPE, shift)
    found = tiles_of(write([moved], tmp_path / "area.parquet", crs=crs), GRID)
    assert np.array_equal(found, centres_inside(moved, GRID))
    assert len(found) > 4000


def test_a_projected_shape_over_the_antimeridian(tmp_path):
    moved = translate(SHAPE, 172)
    found = tiles_of(write([shapely.segmentize(moved, 0.02)], tmp_path / "area.gpkg", to="EPSG:3832"), GRID)
    assert np.setxor1d(found, centres_inside(moved, GRID)).size <= 2
    lon, _ = GRID.centre(found)
    assert (lon > 170).any()
    assert (lon < -171).any()


@pytest.mark.parametrize(("crs", "sign"), [("EPSG:3031", -1), ("EPSG:3413", 1)])
def test_a_projected_shape_around_a_pole(tmp_path, crs, sign):
    disc = shapely.Point(0, 0).buffer(1_500_000, quad_segs=64)
    ring = disc.difference(shapely.Point(10_000, 0).buffer(900_000))
    lon, lat = centres(GRID)
    near = np.flatnonzero(sign * lat > 70)
    x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(lon[near], lat[near])
    for shape in (disc, ring):
        found = tiles_of(write([shape], tmp_path / "cap.gpkg", crs=crs), GRID)
        expected = near[shapely.contains_xy(shape, x, y)]
        assert len(expected) > 40_000
        assert np.setxor1d(found, expected).size <= len(expected) // 1000


def test_a_small_shape_has_the_tile_it_lies_in(tmp_path):
    dot = shapely.Point(2.3522, 48.8566).buffer(0.001)
    assert GRID.ids(tiles_of(write([dot], tmp_path / "dot.geojson"), GRID)).tolist() == ["543U_17R"]


def test_files_that_cannot_be_used_are_named(tmp_path):
    text = tmp_path / "notes.geojson"
    text.write_text("not a vector file")
    folder = tmp_path / "folder.gdb"
    folder.mkdir()
    parquet = tmp_path / "table.parquet"
    parquet.write_bytes(b"PAR1")
    layers = tmp_path / "layers.gpkg"
    frame = gpd.GeoDataFrame(geometry=[SHAPE], crs="EPSG:4326")
    frame.to_file(layers, layer="north")
    frame.to_file(layers, layer="south")
    problems = {
        str(text): "not a readable vector file",
        str(folder): "no such file",
        str(parquet): "not a readable vector file",
        str(layers): "has layers north, south",
        write([SHAPE], tmp_path / "plain.parquet", crs=None): "no coordinate reference system",
        write([shapely.Point(1, 2), SHAPE], tmp_path / "points.gpkg"): "holds Point, Polygon",
        write([None], tmp_path / "empty.parquet"): "holds no shape",
        write([SHAPE], tmp_path / "far.gpkg", crs="EPSG:4326") + "x": "no such file",
        write([shapely.box(2e5, 1e5, 3e5, 2e5)], tmp_path / "metres.gpkg"): "do not fit its CRS EPSG:4326",
        write([shapely.box(0, 86, 10, 88)], tmp_path / "north.gpkg"): "holds no tile",
    }
    for region, message in problems.items():
        with pytest.raises(RegionError, match=message):
            tiles_of(region, GRID)


def test_provenance(tmp_path):
    assert describe_region("Global") == {"kind": "global", "text": "global"}
    assert describe_region("1,2,3,4") == {"kind": "box", "text": "1,2,3,4"}
    country = describe_region("fr")
    assert (country["kind"], country["text"], country["countries"][0]) == ("country", "FR", "France")
    assert country["source"].startswith("Natural Earth 1:10m admin 0 countries 5.")
    assert all(digest.startswith("sha256:") for digest in country["files"].values())
    assert set(describe_region("oceania")["countries"]) >= {"Fiji", "Australia", "New Zealand"}
    path = tmp_path / "area.shp"
    described = describe_region(write([SHAPE], path))
    assert described["files"] == {name.name: file_digest(name) for name in (path, path.with_suffix(".prj"))}
    assert str(tmp_path) not in str(described)
