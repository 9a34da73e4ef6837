"""Pixels go to tiles as the grid's own look-up says, and areas add up."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csmoe_sampler.grid import TileGrid
from csmoe_sampler.placement import (
    AREA_UNIT_BITS,
    Lattice,
    TileBoxes,
    full_weight,
    place,
    sin_deg,
)
from sampler.raster_files import COARSE_GRID, locate_centres, overlaps


def all_boxes(grid, lattice):
    return TileBoxes.of(grid, np.arange(grid.size), lattice)


def labels_of(placed, lattice):
    """(rows, cols) Tile of every pixel, from bands and segments; -1 where none."""
    labels = np.full((lattice.num_rows, lattice.num_cols), -1)
    for band in range(len(placed.row_start)):
        rows = slice(placed.row_start[band], placed.row_stop[band])
        for k in range(placed.first_segment[band], placed.first_segment[band + 1]):
            part = labels[rows, placed.col_start[k] : placed.col_stop[k]]
            assert part.size
            assert (part == -1).all()
            part[:] = placed.tile[k]
    return labels


def weight_of(placed, num_tiles):
    """Weight of the pixels that are placed by centres, per tile."""
    total = np.zeros(num_tiles, np.int64)
    for band in range(len(placed.row_start)):
        start = placed.first_weight[band]
        rows = placed.row_weight[start : start + placed.row_stop[band] - placed.row_start[band]].sum()
        for k in range(placed.first_segment[band], placed.first_segment[band + 1]):
            total[placed.tile[k]] += rows * (placed.col_stop[k] - placed.col_start[k])
    return total


@st.composite
def fine_lattices(draw):
    """Rasters fine enough for centres; often with centres on the edges of tiles, up to rounding."""
    grid = draw(st.sampled_from([COARSE_GRID, TileGrid(400.0, 90.0), TileGrid(100.0, 80.0)]))
    row = draw(st.integers(grid.row_first, grid.row_last))
    step, width = grid.step_deg, 360 / int(grid.num_cols(row))
    if draw(st.booleans()):
        pixel_width = min(width, step) / draw(st.integers(16, 21))
        pixel_height = step / draw(st.integers(16, 21))
        half = draw(st.sampled_from([0.5, 0.0, 0.25]))
        tile = draw(st.integers(-int(grid.num_cols(row)), int(grid.num_cols(row))))
        west = tile * width - half * pixel_width
        north = (row + 1) * step + half * pixel_height
    else:
        pixel_width = step / draw(st.floats(16.01, 25))
        pixel_height = step / draw(st.floats(16.01, 25))
        west = draw(st.floats(-360, 300))
        north = draw(st.floats(-80, 90))
    lattice = Lattice(
        west, min(north, 90.0), pixel_width, pixel_height, draw(st.integers(3, 60)), draw(st.integers(5, 130))
    )
    return grid, lattice


@settings(deadline=None, max_examples=150)
@given(fine_lattices())
def test_centres_belong_to_the_tiles_of_the_look_up(case):
    grid, lattice = case
    assert lattice.by_centres(grid)
    placed = place(lattice, all_boxes(grid, lattice), by_centres=True)
    assert np.array_equal(labels_of(placed, lattice), locate_centres(lattice, grid))


@pytest.mark.parametrize("seed", range(12))
def test_centres_on_edges_of_tiles(seed):
    """Strips along a meridian and a parallel, with rounding alone deciding at nearly every tile."""
    random = np.random.default_rng(seed)
    grid = [COARSE_GRID, TileGrid(100.0, 80.0)][seed % 2]
    row = int(random.integers(grid.row_first + 2, grid.row_last - 2))
    high, wide = grid.step_deg / random.integers(16, 22), 360 / grid.num_cols(row) / random.integers(22, 40)
    north = float((row + 1) * grid.step_deg + high / 2)
    west = float(random.integers(-20, 20) * 360 / grid.num_cols(row) - wide / 2)
    for lattice in (
        Lattice(west, north + high * round((88 - north) / high), wide, high, round(176 / high), 3),
        Lattice(west - 180 * (seed % 3 == 0), north, wide, high, 3, round(350 / wide)),
    ):
        placed = place(lattice, all_boxes(grid, lattice), by_centres=True)
        assert np.array_equal(labels_of(placed, lattice), locate_centres(lattice, grid))


@pytest.mark.parametrize("west", [-180.0, 0.0, -180.05, -200.0])
@pytest.mark.parametrize("num_cols", [3600, 3601, 3650])
def test_a_global_raster_is_cut_inside_tiles(west, num_cols):
    grid, lattice = COARSE_GRID, Lattice(west, 6.0, 0.1, 0.1, 120, num_cols)
    boxes = all_boxes(grid, lattice)
    placed = place(lattice, boxes, by_centres=True)
    labels = labels_of(placed, lattice)
    assert (labels[:, lattice.num_cols_once :] == -1).all()
    located = locate_centres(lattice, grid)[:, :3600]
    assert np.array_equal(labels[:, :3600], located)
    inner = np.arange(*np.searchsorted(boxes.south, [-4.0, 3.0]))
    assert inner.size > 300
    assert np.array_equal(weight_of(placed, len(boxes))[inner], full_weight(lattice, boxes)[inner])


def test_a_pixel_on_the_pole_belongs_to_the_last_row():
    grid = TileGrid(400.0, 90.0)
    lattice = Lattice(10.0, 90.05, 0.1, 0.1, 5, 7)
    located = grid.locate_index(lattice.lon(np.arange(7)), np.full(7, 90.0))
    assert np.array_equal(labels_of(place(lattice, all_boxes(grid, lattice), True), lattice)[0], located)


def test_weights_are_cosines():
    grid, lattice = COARSE_GRID, Lattice(3.0, 61.0, 0.1, 0.05, 90, 77)
    boxes = all_boxes(grid, lattice)
    placed = place(lattice, boxes, by_centres=True)
    cosine = np.cos(np.radians(lattice.lat(np.arange(90))))
    expected = np.bincount(locate_centres(lattice, grid).ravel(), np.repeat(cosine, 77), minlength=grid.size)
    found = weight_of(placed, len(boxes)) / 2.0**boxes.centre_unit_bits
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("spacing_km", [0.5, 10.0, 1000.0])
@pytest.mark.parametrize("pixels", [16, 1080, 60000])
def test_weights_of_a_tile_fit(spacing_km, pixels):
    """The heaviest tile lies beside the South Pole."""
    grid = TileGrid(spacing_km, 90.0)
    edge = grid.step_deg / pixels
    lattice = Lattice(-180.0, 90.0, edge, edge, round(180 / edge), round(360 / edge))
    rows = np.unique(np.linspace(grid.row_first, grid.row_last, 60).astype(int))
    tiles = np.unique(np.concatenate([grid.row_start(rows), np.arange(min(grid.size, 500))]))
    boxes = TileBoxes.of(grid, tiles, lattice)
    weight = full_weight(lattice, boxes).astype(float)
    assert weight.min() > 0
    pixels_of_area = weight / 2.0**boxes.centre_unit_bits
    _, south, east, north = grid.bounds(tiles)
    west = grid.bounds(tiles)[0]
    area = np.degrees(np.sin(np.radians(north)) - np.sin(np.radians(south))) * (east - west) / edge**2
    np.testing.assert_allclose(pixels_of_area, area, rtol=0.15)
    assert pixels_of_area.max() * 2.0**boxes.centre_unit_bits < 2**62


@settings(deadline=None, max_examples=25)
@given(
    st.floats(-190, 170),
    st.floats(-60, 88),
    st.floats(0.4, 5),
    st.floats(0.4, 5),
    st.integers(1, 9),
    st.integers(1, 7),
)
def test_areas_are_those_of_a_plain_loop(west, north, width, height, num_rows, num_cols):
    grid, lattice = COARSE_GRID, Lattice(west, north, width, height, num_rows, num_cols)
    placed = place(lattice, all_boxes(grid, lattice), by_centres=False)
    found = {}
    for band in range(len(placed.row_start)):
        for k in range(placed.first_segment[band], placed.first_segment[band + 1]):
            for row in range(placed.row_start[band], placed.row_stop[band]):
                share = placed.row_weight[placed.first_weight[band] + row - placed.row_start[band]]
                for col in range(placed.col_start[k], placed.col_stop[k]):
                    left, right = max(placed.west_px[k], col), min(placed.east_px[k], col + 1)
                    part = share * max(right - left, 0) / (placed.east_px[k] - placed.west_px[k])
                    key = (int(placed.tile[k]), row, col)
                    found[key] = found.get(key, 0) + part
    tiles = np.unique(np.concatenate([placed.tile, np.arange(0, grid.size, 97)]))
    expected = {}
    for tile in tiles:
        for row, col, share in overlaps(lattice, grid, int(tile)):
            key = (int(tile), row, col)
            expected[key] = expected.get(key, 0) + share
    for key in found.keys() | expected.keys():
        assert math.isclose(found.get(key, 0), expected.get(key, 0), rel_tol=1e-9, abs_tol=1e-12)


@pytest.mark.parametrize(("west", "edge"), [(-180.0, 0.5), (0.0, 0.5), (-180.0, 7.5), (-180.25, 0.5)])
def test_a_global_raster_covers_every_tile(west, edge):
    grid = COARSE_GRID
    lattice = Lattice(west, 90.0, edge, edge, round(180 / edge), round(360 / edge))
    boxes = all_boxes(grid, lattice)
    placed = place(lattice, boxes, by_centres=False)
    total = np.zeros(len(boxes))
    for band in range(len(placed.row_start)):
        start = placed.first_weight[band]
        height = placed.row_weight[start : start + placed.row_stop[band] - placed.row_start[band]].sum()
        for k in range(placed.first_segment[band], placed.first_segment[band + 1]):
            west_px, east_px = placed.west_px[k], placed.east_px[k]
            width = min(east_px, placed.col_stop[k]) - max(west_px, placed.col_start[k])
            total[placed.tile[k]] += height * width / (east_px - west_px)
    np.testing.assert_allclose(total, 1, rtol=1e-12)
    assert AREA_UNIT_BITS < 62


def test_sine_is_within_a_few_ulp():
    angle = np.concatenate([np.linspace(-90, 90, 100_001), [1e-9, 1e-4, 89.999999, 0.0]])
    sine = sin_deg(angle)
    expected = np.array([math.sin(math.radians(a)) for a in angle])
    np.testing.assert_allclose(sine, expected, rtol=6e-16, atol=1e-300)
    assert np.array_equal(sin_deg(-angle), -sine)
    assert np.abs(sine).max() <= 1 + 3e-16


@pytest.mark.parametrize("tiles", [[], [5]])
def test_tiles_off_the_raster(tiles):
    lattice = Lattice(50.0, 60.0, 0.1, 0.1, 40, 30)
    for by_centres in (True, False):
        boxes = TileBoxes.of(COARSE_GRID, np.array(tiles, np.int64), lattice)
        placed = place(lattice, boxes, by_centres)
        assert len(placed.tile) == len(placed.row_start) == len(placed.row_weight) == 0
        assert weight_of(placed, len(boxes)).tolist() == [0] * len(tiles)
        assert len(full_weight(lattice, boxes)) == len(tiles)
