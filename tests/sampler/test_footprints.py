import numpy as np
import pyproj
import pytest
import shapely

from csmoe_sampler.footprints import utm_epsg
from csmoe_sampler.grid import TileGrid

GRID = TileGrid(10)
GEOD = pyproj.Geod(ellps="WGS84")


@pytest.mark.parametrize(
    ("tile_id", "epsg", "lat", "lon", "tolerance_m"),
    [  # published with the Major TOM Core data sets, to six decimals; then a worked example
        ("301U_1184R", 32650, 27.080163, 119.446303, 0.1),
        ("394U_493R", 32640, 35.435471, 54.361973, 0.1),
        ("922D_249L", 32701, -82.770666, -178.200331, 0.1),
        ("543U_17R", 32631, 48.81782, 2.38392, 1.0),
    ],
)
def test_published_centres(tile_id, epsg, lat, lon, tolerance_m):
    found = GRID.footprints(GRID.parse([tile_id]))
    assert found.epsg.tolist() == [epsg]
    assert GEOD.inv(lon, lat, found.lon[0], found.lat[0])[2] < tolerance_m


def test_the_box_is_not_snapped():
    found = GRID.footprints(GRID.parse(["543U_17R"]))
    box = [found.x_min[0], found.y_min[0], found.x_max[0], found.y_max[0]]
    np.testing.assert_allclose(box, [449434.53, 5402046.54, 460114.53, 5412726.54], atol=0.006)


@pytest.mark.parametrize("spacing_km", [10, 2.5, 50])
def test_agrees_with_the_zones_of_the_epsg_register(spacing_km):
    grid = TileGrid(spacing_km)
    tiles = np.linspace(0, grid.size - 1, 3001).astype(np.int64)
    tiles = np.concatenate([tiles, grid.row_start(np.arange(grid.row_first, grid.row_last, 40))])
    found, (lon, lat) = grid.footprints(tiles), grid.anchor(tiles)
    margin_m = 34 * spacing_km
    for epsg in np.unique(found.epsg):
        k = found.epsg == epsg
        zone = pyproj.Transformer.from_crs("EPSG:4326", f"EPSG:{epsg}", always_xy=True)
        x, y = zone.transform(lon[k], lat[k])
        np.testing.assert_allclose([found.x_min[k], found.y_min[k]], [x - margin_m, y - margin_m], rtol=0, atol=6e-4)
        middle = (found.x_min[k] + found.x_max[k]) / 2, (found.y_min[k] + found.y_max[k]) / 2
        centre_lon, centre_lat = zone.transform(*middle, direction="INVERSE")
        np.testing.assert_allclose(found.lat[k], centre_lat, rtol=0, atol=1e-8)
        assert np.abs((found.lon[k] - centre_lon + 180) % 360 - 180).max() < 1e-7 / np.cos(np.radians(85))
        corner_lon, corner_lat = zone.transform(found.x_max[k], found.y_min[k], direction="INVERSE")
        shape_lon = shapely.get_coordinates(shapely.get_point(shapely.get_exterior_ring(found.geometry[k]), 1))
        single = shapely.get_type_id(found.geometry[k]) == 3
        np.testing.assert_allclose(shape_lon, np.column_stack([corner_lon, corner_lat])[single], rtol=0, atol=1e-7)
    np.testing.assert_allclose(found.x_max - found.x_min, spacing_km * 1068, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.y_max - found.y_min, spacing_km * 1068, rtol=0, atol=1e-6)
    assert np.array_equal(found.x_min, found.x_min.round(3))


def check_outlines(grid, tiles):
    """Valid, anticlockwise, on the map, of the right size, and around the centre."""
    found = grid.footprints(tiles)
    shapes, parts = found.geometry, shapely.get_parts(found.geometry)
    assert shapely.is_valid(shapes).all()
    assert shapely.is_ccw(shapely.get_exterior_ring(parts)).all()
    bounds = shapely.bounds(shapes)
    assert (bounds >= [-180, -90, -180, -90]).all()
    assert (bounds <= [180, 90, 180, 90]).all()
    assert shapely.covers(shapes, shapely.points(found.lon, found.lat)).all()
    assert (found.lon >= -180).all()
    assert (found.lon < 180).all()
    lon, lat = grid.anchor(tiles)
    assert shapely.covers(shapes, shapely.points(np.where(lon == 180, -180, lon), lat)).all()
    dense = shapely.segmentize(shapes, 0.5)
    area = np.array([GEOD.geometry_area_perimeter(shape)[0] for shape in dense])
    np.testing.assert_allclose(area, (grid.spacing_km * 1068) ** 2, rtol=0.015)
    return found


def test_outlines_are_cut_at_the_antimeridian():
    rows = np.arange(GRID.row_first, GRID.row_last + 1, 9)
    starts, ends = GRID.row_start(rows), GRID.row_start(rows) + GRID.num_cols(rows) - 1
    tiles = np.concatenate([GRID.parse(["188D_1917R", "502U_1415R"]), starts, ends])
    found = check_outlines(GRID, tiles)
    cut = shapely.get_type_id(found.geometry) == 6
    assert cut[: 2 + len(rows)][GRID.num_cols(GRID.row_col(tiles[: 2 + len(rows)])[0]) % 2 == 0].all()
    assert cut[0]
    assert (shapely.get_num_geometries(found.geometry[cut]) == 2).all()
    for shape in found.geometry[cut]:
        west, east = sorted(shapely.bounds(shapely.get_parts(shape)).tolist())
        assert west[0] == -180
        assert east[2] == 180
        assert west[2] < -150
        assert east[0] > 150
    far = check_outlines(GRID, GRID.parse(["0U_0R", "543U_17R", "946U_100L", "946D_5R"]))
    assert (shapely.get_type_id(far.geometry) == 3).all()
    assert (shapely.get_num_coordinates(far.geometry) == 5).all()


@pytest.mark.parametrize(("spacing_km", "lat_max"), [(10, 90), (100, 90), (600, 85), (1000, 85)])
def test_outlines_beside_and_around_the_poles(spacing_km, lat_max):
    grid = TileGrid(spacing_km, lat_max)
    tiles = np.concatenate(
        [np.arange(grid.row_start(grid.row_first + 3)), np.arange(grid.row_start(grid.row_last - 2), grid.size)]
    )
    found = check_outlines(grid, tiles)
    around = shapely.intersects(found.geometry, shapely.linestrings([[-180, 90], [180, 90]]))
    zone = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32631", always_xy=True)
    pole_x, pole_y = zone.transform(3, 90)
    holds = (found.epsg < 32700) & (found.x_min < pole_x) & (pole_x < found.x_max)
    holds &= (found.y_min < pole_y) & (pole_y < found.y_max)
    assert np.array_equal(around, holds)
    assert holds.any() == (spacing_km < 1000)


def test_no_tiles_no_footprints():
    found = GRID.footprints(np.array([], np.int64))
    assert len(found.geometry) == len(found.x_min) == len(found.lon) == len(found.epsg) == 0


@pytest.mark.parametrize(
    ("lon", "lat", "epsg"),
    [
        (-180, 0, 32601),
        (180, 0, 32601),
        (179.99, -1, 32760),
        (-174, 10, 32602),
        (0, 0, 32631),
        (0, -1e-9, 32731),
        (2.999, 60, 32631),
        (3, 60, 32632),
        (11.999, 56, 32632),
        (12, 56, 32633),
        (3, 64, 32631),
        (3, 55.999, 32631),
        (0, 72, 32631),
        (8.999, 72, 32631),
        (9, 83.999, 32633),
        (20.999, 78, 32633),
        (21, 78, 32635),
        (32.999, 78, 32635),
        (33, 78, 32637),
        (41.999, 78, 32637),
        (42, 78, 32638),
        (21, 84, 32634),
        (21, 71.999, 32634),
        (-0.001, 78, 32630),
        (21, -78, 32734),
    ],
)
def test_utm_zones(lon, lat, epsg):
    assert utm_epsg(np.array([lon], float), np.array([lat], float)).tolist() == [epsg]
