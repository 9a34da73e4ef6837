"""Splits by blocks: the buffer on the whole globe, shares, purity, and regions that are too small."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csmoe_sampler.chance import key_uniform, tile_keys
from csmoe_sampler.config import SplitConfig
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.grid_rows import EARTH_RADIUS_KM
from csmoe_sampler.splits import TEST, VALIDATION, _distance_to_box, hold_out_blocks


def unit_vectors(lon, lat):
    x, y = np.radians(lon), np.radians(lat)
    return np.stack([np.cos(y) * np.cos(x), np.cos(y) * np.sin(x), np.sin(y)], axis=-1)


def km_between(a, b):
    chord = np.linalg.norm(a[:, None] - b[None], axis=2)
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.minimum(chord / 2, 1))


def uniform(rng, n, lat_min=-90, lat_max=90, lon_min=-180, lon_max=180):
    z = rng.uniform(math.sin(math.radians(lat_min)), math.sin(math.radians(lat_max)), n)
    return rng.uniform(lon_min, lon_max, n), np.degrees(np.arcsin(z))


def config(**values):
    return SplitConfig(**{"validation": 0.2, "test": 0.2, "block_km": 200.0, "buffer_km": 20.0} | values)


PLACES = {
    "antimeridian": (-10, 10, 170, 190),
    "north pole": (82, 90, -180, 180),
    "south pole": (-90, -80, -180, 180),
    "mid-latitude": (40, 52, -5, 13),
}


@pytest.mark.parametrize("place", PLACES)
@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**31),
    block_km=st.sampled_from([90.0, 200.0, 350.0]),
    buffer_km=st.sampled_from([0.0, 7.0, 40.0, 120.0]),
)
def test_places_of_different_splits_are_a_buffer_apart(place, seed, block_km, buffer_km):
    lon, lat = uniform(np.random.default_rng(seed), 900, *PLACES[place])
    lon = np.where(lon >= 180, lon - 360, lon)
    blocks = hold_out_blocks(lon, lat, config(block_km=block_km, buffer_km=buffer_km), seed)
    split = blocks.assign(lon, lat)
    points = {name: unit_vectors(lon, lat)[split == name] for name in ("train", "validation", "test")}
    for one, two in (("train", "validation"), ("train", "test"), ("validation", "test")):
        if len(points[one]) and len(points[two]):
            assert km_between(points[one], points[two]).min() >= buffer_km * (1 - 1e-9)
    if buffer_km == 0:
        assert "buffer" not in split


def test_only_places_near_another_split_are_buffer():
    """A dense sheet of places: whoever is in the buffer has a place of a later split within it."""
    lon, lat = (a.ravel() for a in np.meshgrid(np.arange(0, 9, 0.06), np.arange(44, 50, 0.06)))
    cfg = config(buffer_km=30.0)
    without = hold_out_blocks(lon, lat, config(buffer_km=0.0), 1).assign(lon, lat)
    split = hold_out_blocks(lon, lat, cfg, 1).assign(lon, lat)
    points, rank = unit_vectors(lon, lat), {"train": 0, "validation": 1, "test": 2}
    owner = np.array([rank[s] for s in without])
    for own in (0, 1):
        ours = np.flatnonzero((owner == own) & (split == "buffer"))
        assert ours.size > 100
        later = points[owner > own]
        nearest = np.array([km_between(points[[i]], later).min() for i in ours])
        assert nearest.max() < 30 + 8  # the sheet's own step
    assert (split[owner == 2] == "test").all()
    assert (split[split != "buffer"] == without[split != "buffer"]).all()


@settings(deadline=None, max_examples=150)
@given(
    lon=st.floats(-180, 180),
    lat=st.floats(-90, 90),
    west=st.floats(-180, 179),
    width=st.floats(0.1, 120),
    south=st.floats(-90, 80),
    height=st.floats(0.1, 30),
)
def test_distance_to_a_box_is_the_least_over_its_places(lon, lat, west, width, south, height):
    north = min(south + height, 90.0)
    x, y = np.meshgrid(np.linspace(west, west + width, 500), np.linspace(south, north, 400))
    chord = np.linalg.norm(unit_vectors(x.ravel(), y.ravel()) - unit_vectors(lon, lat), axis=1).min()
    dense = 2 * math.asin(min(chord / 2, 1))
    exact = _distance_to_box(lon, lat, np.array([west, south, width, north]))
    if dense < math.pi / 2:
        assert exact <= dense + 1e-9
        assert dense - exact < math.radians(max(width / 500, height / 400))


def test_splits_do_not_depend_on_what_was_drawn_nor_on_order():
    rng = np.random.default_rng(0)
    lon, lat = uniform(rng, 4000, 30, 60, -20, 40)
    shuffled = rng.permutation(lon.size)
    blocks = hold_out_blocks(lon, lat, config(), 9)
    again = hold_out_blocks(lon[shuffled], lat[shuffled], config(), 9)
    whole = blocks.assign(lon, lat)
    np.testing.assert_array_equal(again.assign(lon[:70], lat[:70]), whole[:70])
    np.testing.assert_array_equal(blocks.assign(lon[shuffled], lat[shuffled]), whole[shuffled])
    other = hold_out_blocks(lon, lat, config(), 10)
    assert not np.array_equal(blocks.block, other.block)


def test_blocks_are_whole_cells_and_shares_are_met():
    lon, lat = uniform(np.random.default_rng(1), 60_000, -40, 60, -120, 150)
    blocks = hold_out_blocks(lon, lat, config(validation=0.05, test=0.1, buffer_km=0.0), 2)
    split = blocks.assign(lon, lat)
    share = {name: (split == name).mean() for name in ("validation", "test")}
    assert abs(share["test"] - 0.1) < 5e-4 and abs(share["validation"] - 0.05) < 5e-4
    cell = TileGrid(200.0, 90).locate_index(lon, lat)
    for name, code in (("validation", VALIDATION), ("test", TEST)):
        np.testing.assert_array_equal(np.unique(cell[split == name]), blocks.block[blocks.split == code])
    assert not set(cell[split == "train"]) & set(blocks.block.tolist())
    assert blocks.notes == ()


def test_candidates_count_not_area():
    """Nine tenths of the candidates crowd in one block: test takes others until its share is reached."""
    rng = np.random.default_rng(3)
    crowd, rest = uniform(rng, 9000, 46.2, 46.4, 3.0, 3.2), uniform(rng, 1000, 30, 60, -30, 30)
    lon, lat = (np.concatenate(pair) for pair in zip(crowd, rest, strict=True))
    split = hold_out_blocks(lon, lat, config(validation=0.0, test=0.04, buffer_km=0.0), 0).assign(lon, lat)
    assert abs((split == "test").mean() - 0.04) < 5e-4
    assert "validation" not in split


def in_blocks(*counts):
    """Candidates in blocks far apart from each other."""
    lon = np.concatenate([np.full(n, 10.0 * k) for k, n in enumerate(counts)])
    return lon, np.full(lon.size, 0.5)


def test_a_block_is_taken_when_it_brings_the_share_closer():
    """24 tiles are wanted: two blocks of 15 are closer than one; of 17, one is closer than two."""
    for size, expected in ((15, 30), (17, 17)):
        lon, lat = in_blocks(*[size] * 20)
        split = hold_out_blocks(lon, lat, config(validation=0.0, test=24 / lon.size), 0).assign(lon, lat)
        assert (split == "test").sum() == expected


def test_three_blocks_give_one_to_each_split_and_say_what_it_costs():
    lon, lat = in_blocks(500, 30, 450)
    blocks = hold_out_blocks(lon, lat, config(validation=0.05, test=0.05), 0)
    split = blocks.assign(lon, lat)
    assert set(split) == {"train", "validation", "test"}
    assert len(blocks.notes) == 2
    assert all("3 blocks of 200 km; choose a smaller split.block_km" in note for note in blocks.notes)
    assert sum("instead of 5.0%" in note for note in blocks.notes) == 2


def test_large_shares_leave_a_block_to_train():
    for seed in range(20):
        lon, lat = in_blocks(100, 100, 100)
        split = hold_out_blocks(lon, lat, config(validation=0.6, test=0.35), seed).assign(lon, lat)
        assert set(split) == {"train", "validation", "test"}


@pytest.mark.parametrize(("counts", "shares"), [((10, 20), (0.1, 0.1)), ((10,), (0.0, 0.1)), ((), (0.1, 0.1))])
def test_too_few_blocks_are_all_train(counts, shares):
    lon, lat = in_blocks(*counts) if counts else (np.empty(0), np.empty(0))
    blocks = hold_out_blocks(lon, lat, config(validation=shares[0], test=shares[1]), 0)
    assert set(blocks.assign(lon, lat)) == ({"train"} if counts else set())
    assert len(blocks.notes) == 1 and f"{len(counts)} blocks of 200 km" in blocks.notes[0]


def test_no_shares_no_blocks_no_notes():
    lon, lat = in_blocks(10, 10, 10)
    blocks = hold_out_blocks(lon, lat, config(validation=0.0, test=0.0), 0)
    assert blocks.block.size == 0 and blocks.notes == ()
    assert set(blocks.assign(lon, lat)) == {"train"}


def test_a_split_is_golden():
    """Frozen: the assignment of a seed is part of the contract."""
    x, y = key_uniform(tile_keys(4, np.arange(6000))).reshape(2, -1)
    lon, lat = 50 * x - 10, 35 * y + 35
    split = hold_out_blocks(lon, lat, config(), 42).assign(lon, lat)
    names, count = np.unique(split, return_counts=True)
    assert dict(zip(names.tolist(), count.tolist(), strict=True)) == {
        "buffer": 342,
        "test": 600,
        "train": 1517,
        "validation": 541,
    }
