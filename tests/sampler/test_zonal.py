"""The kernels against plain loops: whatever the pixel type, the windows, and the mixture of codes."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csmoe_sampler import zonal
from csmoe_sampler.placement import AREA_UNIT_BITS, SLIVER, Lattice, TileBoxes, Window, place
from sampler.raster_files import COARSE_GRID, locate_centres, overlaps, patches

GRID = COARSE_GRID
CODES = [10, 20, 30, 200]
NODATA, UNKNOWN = 4, 5
CORNER = st.tuples(st.floats(-190, 170), st.floats(-70, 89))
VALUES = st.sampled_from(["uint8", "int16", "int32", "float32", "float64"])


def code_table(dtype, known=(*CODES, 0)):
    bits = np.dtype(dtype).itemsize * 8
    column = np.full(2**bits, UNKNOWN, np.uint8)
    column[[*CODES, 0]] = [0, 1, 2, 3, NODATA]
    return zonal.CodeTable(np.array(known, dtype), column)


def cut(pixels, window):
    flat = pixels[window.row_start : window.row_stop, window.col_start : window.col_stop].ravel()
    return np.concatenate([flat, np.full(-flat.size % zonal.LANES, 10, flat.dtype)])


def tilings(shape, heights, widths):
    """Windows that cover `shape`, of rows and columns cut at the given sizes in turn."""
    rows, cols = (
        np.unique(np.clip(np.cumsum([0, *sizes, *[max(sizes)] * (length // max(sizes) + 1)]), 0, length))
        for sizes, length in ((heights, shape[0]), (widths, shape[1]))
    )
    return [Window(int(a), int(b), int(c), int(d)) for a, b in pairwise(rows) for c, d in pairwise(cols)]


def placed_on(lattice, by_centres):
    boxes = TileBoxes.of(GRID, np.arange(GRID.size), lattice)
    return boxes, place(lattice, boxes, by_centres)


def count(pixels, lattice, windows, table):
    boxes, placed = placed_on(lattice, True)
    num, weight = np.zeros((2, GRID.size, 6), np.int64)
    unknown = sum(zonal.count_by_centres(cut(pixels, window), window, placed, table, num, weight) for window in windows)
    return num, weight / 2.0**boxes.centre_unit_bits, unknown


def plain_count(pixels, lattice, table):
    num, weight = np.zeros((GRID.size, 6), np.int64), np.zeros((GRID.size, 6))
    located = locate_centres(lattice, GRID)
    for row in range(lattice.num_rows):
        cosine = math.cos(math.radians(lattice.north - (row + 0.5) * lattice.height_deg))
        for col in range(lattice.num_cols):
            if located[row, col] >= 0:
                column = table.column[pixels[row, col]]
                num[located[row, col], column] += 1
                weight[located[row, col], column] += cosine
    return num, weight


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["uint8", "uint16"]),
    st.lists(st.sampled_from([*CODES, 0, 7, 211]), min_size=1, max_size=7),
    st.tuples(st.integers(1, 45), st.integers(1, 230)),
    CORNER,
    st.lists(st.integers(1, 40), min_size=1, max_size=3),
    st.lists(st.integers(1, 230), min_size=1, max_size=3),
    st.integers(0, 9),
)
def test_classes_by_centres(dtype, codes, shape, corner, heights, widths, seed):
    lattice = Lattice(*corner, 0.09, 0.13, *shape)
    pixels = patches(shape, codes, seed, dtype)
    num, weight, unknown = count(pixels, lattice, tilings(shape, heights, widths), code_table(dtype))
    expected_num, expected_weight = plain_count(pixels, lattice, code_table(dtype))
    assert np.array_equal(num, expected_num)
    np.testing.assert_allclose(weight, expected_weight, rtol=1e-12, atol=1e-11)
    assert unknown == expected_num[:, UNKNOWN].sum()


@pytest.mark.parametrize("width", [1, 2, 31, 63, 64, 65, 127, 128, 129, 1023])
@pytest.mark.parametrize("kind", ["uniform", "last", "first", "alternating", "noise"])
def test_every_length_of_a_segment(width, kind):
    row = np.full(width, 10, np.uint8)
    if kind == "last":
        row[-1] = 20
    elif kind == "first":
        row[0] = 20
    elif kind == "alternating":
        row[::2] = 30
    elif kind == "noise":
        row = np.random.default_rng(width).choice(np.array([*CODES, 0, 9], np.uint8), width)
    pixels = np.stack([row, row[::-1]])
    lattice = Lattice(0.3, 50.4, 0.001, 0.001, 2, width)
    num, _, _ = count(pixels, lattice, [Window(0, 2, 0, width)], code_table("uint8"))
    expected = np.bincount(code_table("uint8").column[row], minlength=6)
    assert np.array_equal(num.sum(axis=0), 2 * expected)


def test_the_order_of_the_known_codes_does_not_matter():
    pixels = patches((50, 200), [*CODES, 0, 7], seed=3)
    lattice = Lattice(-20.0, 31.0, 0.1, 0.1, 50, 200)
    windows = tilings(pixels.shape, [13], [70])
    first = count(pixels, lattice, windows, code_table("uint8"))
    for known in ([0, *reversed(CODES)], [30, 0, 200, 10, 20]):
        other = count(pixels, lattice, windows, code_table("uint8", known))
        assert all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_codes_are_kept_when_they_are_reordered():
    table = code_table("uint8")
    count(
        patches((40, 200), [*CODES, 0], seed=1), Lattice(-20.0, 31.0, 0.1, 0.1, 40, 200), [Window(0, 40, 0, 200)], table
    )
    assert sorted(table.known) == sorted([*CODES, 0])


@settings(deadline=None, max_examples=20)
@given(
    st.tuples(st.integers(1, 12), st.integers(1, 14)),
    CORNER,
    st.floats(0.3, 4),
    st.lists(st.integers(1, 12), min_size=1, max_size=3),
    st.lists(st.integers(1, 14), min_size=1, max_size=3),
)
def test_classes_by_areas(shape, corner, edge, heights, widths):
    lattice = Lattice(*corner, edge, edge * 0.8, *shape)
    pixels = patches(shape, [*CODES, 0, 7], 5)
    table = code_table("uint8")
    _, placed = placed_on(lattice, False)
    weight = np.zeros((GRID.size, 6), np.int64)
    unknown = sum(
        zonal.count_by_areas(cut(pixels, window), window, placed, table, weight)
        for window in tilings(shape, heights, widths)
    )
    assert (unknown > 0) == (weight[:, UNKNOWN] > 0).any()
    for tile in np.unique(placed.tile)[::5]:
        expected = np.zeros(6)
        for row, col, share in overlaps(lattice, GRID, int(tile)):
            expected[table.column[pixels[row, col]]] += share
        np.testing.assert_allclose(weight[tile] / 2.0**AREA_UNIT_BITS, expected, rtol=1e-11, atol=1e-12)


def test_marked_pixels_are_those_of_tiles():
    lattice = Lattice(-181.0, 89.7, 0.1, 0.1, 60, 90)
    _, placed = placed_on(lattice, True)
    expected = locate_centres(lattice, GRID) >= 0
    assert expected.any()
    assert not expected.all()
    for window in tilings((60, 90), [17], [40]):
        mark = np.zeros(window.shape, bool).ravel()
        zonal.mark_placed(window, placed, mark)
        part = expected[window.row_start : window.row_stop, window.col_start : window.col_stop]
        assert np.array_equal(mark, part.ravel())


def test_shares_entropy_and_number_of_classes():
    weight = np.array([[1, 1, 2, 0], [0, 0, 7, 0], [0, 0, 0, 0], [2**60, 2**60, 2**60, 2**60]])
    shares, entropy = np.empty((4, 4), np.float32), np.empty(4, np.float32)
    present = np.empty(4, np.int16)
    zonal.share_classes(weight, shares, entropy, present)
    assert shares.T.tolist() == [[0.25, 0.25, 0.5, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0.25] * 4]
    assert entropy.tolist() == [1.5, 0, 0, 2]
    assert not np.signbit(entropy).any()
    assert present.tolist() == [3, 1, 0, 4]


def moments(join, pixels, lattice, by_centres, rows, nodata):
    _, placed = placed_on(lattice, by_centres)
    segments = zonal.RunningMoments.zeros(len(placed.tile))
    for window in tilings(pixels.shape, rows, [pixels.shape[1]]):
        join(cut(pixels, window), window, placed, nodata, segments)
    tiles = zonal.RunningMoments.zeros(GRID.size)
    zonal.join_segments(placed, segments, tiles)
    return tiles


def values_of(shape, dtype, seed):
    random = np.random.default_rng(seed)
    values = (random.normal(120, 30, shape)).astype(dtype)
    if dtype.startswith("float"):
        values = values * np.dtype(dtype).type(1e-3) + np.dtype(dtype).type(5e5)  # a spread far below the mean
        values[random.random(shape) < 0.1] = np.nan
        values[random.random(shape) < 0.02] = np.inf
    values[random.random(shape) < 0.1] = 99
    return values


def check_moments(found, tile, values, weights):
    valid = np.isfinite(values) & (values != 99)
    values, weights = values[valid].astype(np.float64), weights[valid]
    if not valid.any():
        assert found.weight[tile] == 0
        return
    mean = np.average(values, weights=weights)
    assert math.isclose(found.mean[tile], mean, rel_tol=1e-12)
    variance = np.average((values - mean) ** 2, weights=weights)
    assert math.isclose(found.scatter[tile] / found.weight[tile], variance, rel_tol=1e-7, abs_tol=1e-12)


@settings(deadline=None, max_examples=25)
@given(
    VALUES, st.tuples(st.floats(-190, 170), st.floats(-70, 89)), st.lists(st.integers(1, 20), min_size=1, max_size=3)
)
def test_moments_by_centres(dtype, corner, rows):
    lattice = Lattice(*corner, 0.11, 0.13, 33, 71)
    values = values_of((33, 71), dtype, 3)
    found = moments(zonal.moments_by_centres, values, lattice, True, rows, 99.0)
    located = locate_centres(lattice, GRID)
    cosine = np.cos(np.radians(lattice.lat(np.arange(33))))[:, None] * np.ones(71)
    for tile in np.unique(located[located >= 0]):
        inside = located == tile
        check_moments(found, tile, values[inside], cosine[inside])
    assert set(np.flatnonzero(found.weight)) <= set(located.ravel())
    whole = moments(zonal.moments_by_centres, values, lattice, True, [33], 99.0)
    assert all(np.array_equal(a, b) for a, b in zip(found, whole, strict=True))


@settings(deadline=None, max_examples=10)
@given(VALUES, CORNER, st.lists(st.integers(1, 6), min_size=1, max_size=3))
def test_moments_by_areas(dtype, corner, rows):
    lattice = Lattice(*corner, 1.7, 1.1, 9, 8)
    values = values_of((9, 8), dtype, 4)
    found = moments(zonal.moments_by_areas, values, lattice, False, rows, 99.0)
    _, placed = placed_on(lattice, False)
    for tile in np.unique(placed.tile)[::7]:
        parts = [part for part in overlaps(lattice, GRID, int(tile)) if part[2] > SLIVER]
        there = np.array([values[row, col] for row, col, _ in parts], values.dtype)
        check_moments(found, tile, there, np.array([share for _, _, share in parts]))
    whole = moments(zonal.moments_by_areas, values, lattice, False, [9], 99.0)
    assert all(np.array_equal(a, b) for a, b in zip(found, whole, strict=True))
