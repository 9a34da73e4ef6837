import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csmoe_sampler.errors import GridError
from csmoe_sampler.grid import TileGrid

GRID = TileGrid(10)
SPACINGS = st.sampled_from([10.0, 5.0, 20.0, 33.3, 100.0, 333.0, 1000.0])
FLIPPED = ["502U_1415R", "518U_1379R", "521U_1372R", "581U_1229R", "794U_642R", "800U_624R"]


def reference_row(spacing_km, lat):
    """Names and longitudes of a row as the reference's chain of float operations gives them, west to east."""
    count = math.ceil(2 * math.pi * (6378.137 * math.cos(lat * math.pi / 180)) / spacing_km)
    lon = np.sort(np.mod(np.linspace(-180, 180, count + 1)[:-1], 360) - 180)
    zero = int(np.flatnonzero(lon == 0)[0])
    return [f"{i - zero}R" if i >= zero else f"{zero - i}L" for i in range(count)], lon


def reference_rows(spacing_km, lat_max):
    number = math.ceil(math.pi * 6378.137 / spacing_km)
    lat = np.sort(np.mod(np.linspace(-90, 90, number + 1)[:-1], 180) - 90)
    zero = int(np.searchsorted(lat, 0))
    names = [f"{i - zero}U" if i >= zero else f"{zero - i}D" for i in range(number)]
    return [(name, p) for name, p in zip(names, lat, strict=True) if -lat_max <= p <= lat_max]


@pytest.mark.parametrize(
    ("lat", "lon", "tile_id", "anchor_lat", "anchor_lon", "epsg"),
    [
        (48.8566, 2.3522, "543U_17R", 48.772455090, 2.316426949, 32631),
        (-33.8688, 151.2093, "378D_1396R", -33.952095808, 151.145864662, 32756),
        (-3.119, -60.0217, "35D_668L", -3.143712575, -60.089955022, 32720),
        (69.6492, 18.9553, "775U_73R", 69.610778443, 18.811739442, 32634),
        (64.1466, -21.9426, "714U_107L", 64.131736527, -22.024013722, 32627),
        (-17.7134, 178.065, "198D_1887R", -17.784431138, 178.018867925, 32760),
        (-16.8, -179.99, "188D_1917R", -16.886227545, 179.953063885, 32760),
        (-82.8, 178.7, "922D_249R", -82.814371257, 178.565737052, 32760),
        (44.95, 12.7, "500U_100R", 44.910179641, 12.680521310, 32633),
    ],
)
def test_worked_points(lat, lon, tile_id, anchor_lat, anchor_lon, epsg):
    assert GRID.locate([lon], [lat]).tolist() == [tile_id]
    assert GRID.locate(lon % 360, lat) == tile_id
    np.testing.assert_allclose(GRID.anchor([tile_id]), [[anchor_lon], [anchor_lat]], atol=6e-10)
    assert GRID.epsg(GRID.parse([tile_id])).tolist() == [epsg]


@pytest.mark.parametrize(
    ("spacing_km", "lat_max", "num_rows", "rows", "size", "odd_rows"),
    [
        (100, 85, 201, 189, 51_145, None),
        (100, 90, 201, 201, 51_377, 101),
        (10, 85, 2004, 1893, 5_094_350, None),
        (10, 90, 2004, 2004, 5_113_745, 981),
        (5, 85, 4008, 3785, 20_374_696, None),
        (5, 90, 4008, 4008, 20_452_861, 2057),
        (2.5, 85, 8016, None, 81_496_433, None),
        (2.5, 90, 8016, 8016, 81_807_476, 3978),
    ],
)
def test_counts(spacing_km, lat_max, num_rows, rows, size, odd_rows):
    grid = TileGrid(spacing_km, lat_max)
    assert (grid.num_rows, grid.size) == (num_rows, size)
    assert grid.step_deg == 180 / num_rows
    assert rows in (None, grid.row_last - grid.row_first + 1)
    if odd_rows is not None:
        assert int((grid.num_cols(np.arange(grid.row_first, grid.row_last + 1)) % 2).sum()) == odd_rows


@pytest.mark.parametrize("spacing_km", [10, 20, 37.3, 100, 1000])
def test_rows_names_and_coordinates_are_the_references_to_the_last_bit(spacing_km):
    grid = TileGrid(spacing_km)
    rows = reference_rows(spacing_km, 85.0)
    assert len(rows) == grid.row_last - grid.row_first + 1
    flipped = [502, -518, 521, 794, -800] if spacing_km == 10 else []
    sampled = {*range(0, len(rows), max(len(rows) // 60, 1)), *(row - grid.row_first for row in flipped)}
    for k in sorted(sampled):
        name, lat = rows[k]
        names, lon = reference_row(spacing_km, lat)
        row = grid.row_first + k
        if lon[-1] >= 180:  # sorted last by the reference, first by us
            names, lon = [names[-1], *names[:-1]], np.roll(lon, 1)
        tiles = grid.row_start(row) + np.arange(grid.num_cols(row))
        assert grid.ids(tiles).tolist() == [f"{name}_{col}" for col in names]
        got_lon, got_lat = grid.anchor(tiles)
        assert np.array_equal(got_lon, lon)
        assert np.array_equal(got_lat, np.full(len(tiles), lat))


def test_the_flipped_columns_of_10_km():
    rows = np.arange(GRID.row_first, GRID.row_last + 1)
    first = GRID.row_start(rows)
    row, col = GRID.row_col(first)
    assert sorted(GRID.ids(first[col > 0])) == sorted([*FLIPPED, *(name.replace("U", "D") for name in FLIPPED)])
    assert np.array_equal(row, rows)
    tiles = GRID.parse(FLIPPED)
    assert GRID.anchor(tiles)[0].tolist() == [180.0] * 6
    assert GRID.bounds(tiles)[0].tolist() == [-180.0] * 6
    assert GRID.epsg(tiles).tolist() == [32601] * 6
    assert GRID.locate_index([-180.0, 180.0, -179.99], [45.1] * 3).tolist() == [tiles[0]] * 3
    with pytest.raises(GridError, match=r"1 of 2 ids .* '502U_1415L'"):
        GRID.parse(["502U_1414L", "502U_1415L"])


def test_every_tile_is_found_again():
    all_tiles = np.arange(GRID.size)
    lon, lat = GRID.anchor(all_tiles)
    assert np.array_equal(GRID.locate_index(lon, lat), all_tiles)
    assert np.array_equal(GRID.parse(GRID.ids(all_tiles)), all_tiles)
    assert np.array_equal(GRID.locate_index(*GRID.centre(all_tiles)), all_tiles)
    row, col = GRID.row_col(all_tiles)
    assert (row.dtype, col.dtype) == (np.int32, np.int32)
    assert np.array_equal(row, np.sort(row))


def test_cells_pave_the_rows_without_gap_or_overlap():
    grid = TileGrid(20)  # with flipped columns too
    tiles = np.arange(grid.size)
    west, south, east, north = grid.bounds(tiles)
    row, _ = grid.row_col(tiles)
    count = grid.num_cols(row)
    last = tiles - grid.row_start(row) == count - 1
    assert west.min() == -180
    assert west.max() < 180
    assert np.array_equal(east[:-1][~last[:-1]], west[1:][~last[:-1]])
    assert np.array_equal(east[last] - 360, west[tiles == grid.row_start(row)])
    assert np.array_equal(east > 180, last & (count % 2 == 1))
    # The north-eastern neighbours own the northern and eastern edge, this tile everything just short of them.
    assert np.array_equal(grid.locate_index(west, south), tiles)
    assert np.array_equal(grid.locate_index(np.nextafter(east, -200), np.nextafter(north, -100)), tiles)
    assert np.array_equal(grid.locate_index(east[~last], south[~last]), tiles[~last] + 1)
    below_top = tiles < grid.row_start(grid.row_last)
    higher, _ = grid.row_col(grid.locate_index(west[below_top], north[below_top]))
    assert np.array_equal(higher, row[below_top] + 1)


def test_a_straddler_holds_both_sides_of_the_antimeridian():
    tile = GRID.parse(["188D_1917R"])
    west, _, east, _ = GRID.bounds(tile)
    assert west[0] == pytest.approx(179.953063885)
    assert east[0] == pytest.approx(180 + 180 - 179.953063885)
    assert GRID.locate([179.96, 180, -180, -179.96, 180.04], -16.8).tolist() == ["188D_1917R"] * 5
    assert GRID.locate([179.95, -179.95], -16.8).tolist() == ["188D_1916R", "188D_1917L"]
    assert GRID.centre(tile)[0].tolist() == [-180.0]


@given(spacing=SPACINGS, lon=st.floats(-180, 360), lat=st.floats(-75, 75))
@settings(max_examples=300, deadline=None)
def test_a_point_lies_in_the_bounds_of_its_tile(spacing, lon, lat):
    grid = TileGrid(spacing)
    tile = grid.locate_index(lon, lat)
    west, south, east, north = grid.bounds(tile)
    assert south <= lat < north
    wrapped = lon - 360 if lon >= 180 else lon
    assert west <= wrapped < east or west <= wrapped + 360 < east
    assert grid.locate(lon, lat) == grid.ids(tile)


@given(
    spacing=st.sampled_from([100.0, 333.0]),
    rows=st.tuples(st.integers(-120, 120), st.integers(-120, 120)),
    box=st.tuples(*[st.one_of(st.floats(-180, 360), st.integers(-12, 24).map(lambda k: k * 15.0))] * 2),
    snap=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_in_box_is_a_filter_of_centres(spacing, rows, box, snap):
    grid = TileGrid(spacing)
    tiles = np.arange(grid.size)
    lon, _ = grid.centre(tiles)
    if snap:  # edges exactly on centres
        box = tuple(float(lon[int(abs(edge) * 97) % grid.size]) for edge in box)
    row, _ = grid.row_col(tiles)
    west, east = (edge - 360 if edge >= 180 else edge for edge in box)
    within = (west <= lon) & (lon < east) if west <= east else (west <= lon) | (lon < east)
    if box[1] - box[0] >= 360:
        within[:] = True
    expected = tiles[(rows[0] <= row) & (row < rows[1]) & within]
    assert np.array_equal(grid.in_box(*rows, *box), expected)


def test_in_box_of_the_whole_grid():
    assert np.array_equal(GRID.in_box(-946, 947, -180, 180), np.arange(GRID.size))
    assert np.array_equal(GRID.in_box(-5000, 5000, 0, 360), np.arange(GRID.size))
    assert len(GRID.in_box(3, 3, -180, 180)) == 0


@given(spacing=SPACINGS, number=st.integers(-100, 100), lon=st.floats(-900, 900))
@settings(max_examples=200, deadline=None)
def test_column_from_is_the_first_centre_east(spacing, number, lon):
    grid = TileGrid(spacing)
    row = max(min(number, grid.row_last), grid.row_first)
    count = int(grid.num_cols(row))
    col = int(grid.column_from(row, lon))
    assert (2 * col + 1) * 180 / count >= lon - 1e-9
    assert (2 * col - 1) * 180 / count < lon + 1e-9


@pytest.mark.parametrize(
    ("lon", "lat", "message"),
    [
        ([0, 1, 2], [0, 85.2, 86], r"2 of 3 points .* point 1 \(lon 1.0, lat 85.2\).* from -84.970060 to 85.059880"),
        ([0], [-85], r"lat -85.0"),
        ([0, math.nan], [0, 0], r"1 of 2 points .* point 1 \(lon nan"),
        ([0], [math.nan], "lat nan"),
        ([-180.1], [0], "longitudes from -180 to 360"),
        ([360.1], [0], "lon 360.1"),
        ([0], [math.inf], "lat inf"),
    ],
)
def test_points_outside_are_named(lon, lat, message):
    with pytest.raises(GridError, match=message):
        GRID.locate_index(lon, lat)
    with pytest.raises(GridError, match=message):
        GRID.locate(lon, lat)


@pytest.mark.parametrize(
    "bad",
    [
        *[
            "",
            "543U",
            "543U_",
            "543U_17",
            "U_17R",
            "543X_17R",
            "543U_17X",
            "543U-17R",
            "0543U_17R",
            "543U_017R",
            "0D_17R",
        ],
        *[
            "543U_0L",
            "947U_0R",
            "947D_0R",
            "543U_1321R",
            "543U_1322L",
            "543U_17R ",
            "543U_17Rx",
            "-543U_17R",
            "543u_17r",
        ],
        *["543U_9999999999R", "é43U_17R", "188D_1918R", "188D_1918L", "00U_0R"],
    ],
)
def test_bad_ids_are_named(bad):
    with pytest.raises(GridError, match="543U_17R"):
        GRID.parse(["0U_0R", bad])


@pytest.mark.parametrize(
    "ids", [["0U_0R", "1D_1L"], np.array(["0U_0R", "1D_1L"], object), np.array(["0U_0R", "1D_1L"], "<U40")]
)
def test_ids_of_any_string_type(ids):
    tiles = GRID.parse(ids)
    assert GRID.ids(tiles).tolist() == ["0U_0R", "1D_1L"]
    assert GRID.anchor(ids)[0][0] == 0
    assert np.array_equal(GRID.anchor(ids), GRID.anchor(tiles))


def test_shapes_are_kept():
    lon, lat = np.array([[2.3522, -60.0217, 0], [151.2093, 18.9553, 0]]), np.array([[48.8566], [-33.8688]])
    tiles = GRID.locate_index(lon, lat)
    assert tiles.shape == GRID.ids(tiles).shape == GRID.bounds(tiles)[3].shape == (2, 3)
    assert GRID.locate_index(2.3522, 48.8566).shape == ()
    assert GRID.ids([]).shape == GRID.parse([]).shape == GRID.locate_index([], []).shape == (0,)


@pytest.mark.parametrize("tiles", [[-1], [0, GRID.size], [0.5]])
def test_indices_outside_are_refused(tiles):
    with pytest.raises(GridError, match="tile ind"):
        GRID.ids(tiles)


def test_rows_outside_are_refused():
    assert (GRID.row_first, GRID.row_last) == (-946, 946)
    with pytest.raises(GridError, match=r"row 947 .* -946 to 946"):
        GRID.num_cols([0, 947])


@pytest.mark.parametrize("parameters", [(0,), (-10,), (math.nan,), (0.1,), (2000,), (10, 0), (10, 91), (10, math.nan)])
def test_parameters_are_checked(parameters):
    with pytest.raises(GridError, match="grid"):
        TileGrid(*parameters)


def test_a_grid_is_a_light_value():
    grid = TileGrid(2.5)
    assert grid.size == 81_496_433
    assert len(pickle.dumps(grid)) < 200
    assert pickle.loads(pickle.dumps(grid)) == grid
    assert {grid: 1}[TileGrid(2.5, 85.0)] == 1
    assert grid != TileGrid(2.5, 84)


@pytest.mark.parametrize("spacing_km", [20, 100, 333])
def test_the_poles(spacing_km):
    grid = TileGrid(spacing_km, 90)
    tiles = np.arange(grid.size)
    _, south, _, north = grid.bounds(tiles)
    assert north.max() == 90
    count = int(grid.num_cols(grid.row_last))
    assert grid.locate_index(17.0, 90.0) == grid.row_start(grid.row_last) + (count // 2 + 17 * count // 360)
    assert np.array_equal(grid.locate_index(*grid.centre(tiles)), tiles)
    if grid.num_rows % 2 == 0:
        assert south.min() == -90
        assert grid.locate_index(0, -90) == 0
    else:  # rows count from the equator, so that half a row is left over at the southern pole
        assert south.min() == pytest.approx(-90 + grid.step_deg / 2)
