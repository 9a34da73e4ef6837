"""Farthest-first in the tree equals the plain quadratic algorithm, point by point."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csmoe_sampler.chance import tile_keys
from csmoe_sampler.features import Features
from csmoe_sampler.objectives.diverse import FAR, Diverse, farthest_first


def plain_farthest_first(values, keys, quota):
    """Gonzalez 1985, one numpy pass per point; the smallest key wins ties."""
    wide = values.astype(np.int64)
    nearest = np.full(len(wide), int(FAR))
    taken, radius, order, distance = int(np.argmin(keys)), int(FAR), [], []
    for _ in range(quota):
        order.append(taken)
        distance.append(radius)
        nearest = np.minimum(nearest, ((wide - wide[taken]) ** 2).sum(1))
        nearest[taken] = -1
        radius = nearest.max()
        ties = np.flatnonzero(nearest == radius)
        taken = int(ties[np.argmin(keys[ties])])
    return order, distance


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_points=st.integers(1, 300),
    num_dims=st.integers(1, 9),
    extent=st.sampled_from([0, 1, 3, 40, 5000]),
    share=st.floats(0.01, 1),
)
def test_equals_the_plain_algorithm(seed, num_points, num_dims, extent, share):
    rng = np.random.default_rng(seed)
    values = rng.integers(-extent, extent + 1, (num_points, num_dims)).astype(np.int16)
    keys = tile_keys(seed, np.arange(num_points))
    quota = max(1, int(num_points * share))
    order, distance = farthest_first(values, keys, quota)
    expected_order, expected_distance = plain_farthest_first(values, keys, quota)
    assert order.tolist() == expected_order
    assert distance.tolist() == expected_distance


def test_equals_the_plain_algorithm_on_clustered_points_in_many_dimensions():
    rng = np.random.default_rng(5)
    centres = rng.integers(-2000, 2000, (25, 40))
    values = (centres[rng.integers(0, 25, 4000)] + rng.normal(0, 300, (4000, 40))).astype(np.int16)
    keys = tile_keys(1, np.arange(4000))
    order, distance = farthest_first(values, keys, 700)
    assert (order.tolist(), distance.tolist()) == plain_farthest_first(values, keys, 700)


def test_shorter_quota_is_a_prefix_and_row_order_does_not_matter():
    rng = np.random.default_rng(2)
    values = rng.integers(-3000, 3000, (900, 5)).astype(np.int16)
    keys = tile_keys(3, np.arange(900))
    whole = Diverse().order(Features(values=values, keys=keys), 400, 0)
    assert Diverse().order(Features(values=values, keys=keys), 55, 0).tolist() == whole[:55].tolist()
    shuffle = rng.permutation(900)
    shuffled = Diverse().order(Features(values=values[shuffle], keys=keys[shuffle]), 400, 0)
    assert shuffle[shuffled].tolist() == whole.tolist()


def test_covers_within_twice_the_best_radius_that_exhaustive_search_finds():
    from itertools import combinations

    rng = np.random.default_rng(4)
    values = rng.integers(-500, 500, (14, 3)).astype(np.int16)
    wide = values.astype(float)
    apart = np.linalg.norm(wide[:, None] - wide[None], axis=-1)
    best = min(apart[list(chosen)].min(0).max() for chosen in combinations(range(14), 4))
    order, _ = farthest_first(values, tile_keys(0, np.arange(14)), 4)
    assert apart[order].min(0).max() <= 2 * best


@pytest.mark.parametrize("num_points", [1, 2, 40])
def test_coinciding_points_come_in_key_order(num_points):
    keys = tile_keys(9, np.arange(num_points))
    order, distance = farthest_first(np.full((num_points, 3), 7, np.int16), keys, num_points)
    assert order.tolist() == np.argsort(keys).tolist()
    assert distance.tolist() == [int(FAR)] + [0] * (num_points - 1)
