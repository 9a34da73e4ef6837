"""What every objective promises, and what each of them promises beyond."""

import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csmoe_sampler.chance import derive_seed, tile_keys
from csmoe_sampler.errors import ConfigError
from csmoe_sampler.features import Features
from csmoe_sampler.objectives import OBJECTIVES, get_objective

NAMES = sorted(OBJECTIVES)


def features_of(values, seed=0):
    return Features(
        values=np.ascontiguousarray(values, np.int16), keys=tile_keys(seed, np.arange(len(values))), scale=1.0
    )


def scattered(seed, n, d, extent=2000):
    return np.random.default_rng(seed).integers(-extent, extent + 1, (n, d)).astype(np.int16)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 260),
    d=st.integers(1, 6),
    extent=st.sampled_from([0, 1, 30, 5000]),
    share=st.floats(0, 1),
)
def test_quota_is_met_by_different_tiles_whatever_the_order_of_rows(name, seed, n, d, extent, share):
    objective = get_objective(name)
    features = features_of(scattered(seed, n, d, extent), seed)
    quota = max(1, round(share * n))
    rows = objective.order(features, quota, seed)
    assert rows.size == np.unique(rows).size == quota
    assert rows.min() >= 0 and rows.max() < n
    shuffled = np.random.default_rng(seed).permutation(n)
    again = objective.order(features.take(shuffled), quota, seed)
    np.testing.assert_array_equal(shuffled[again], rows)


@pytest.mark.parametrize("name", NAMES)
def test_chance_comes_from_the_seed(name):
    values = scattered(1, 400, 3)
    objective = get_objective(name)
    one, again, other = (objective.order(features_of(values, s), 60, derive_seed(s, "a")) for s in (5, 5, 6))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("name", ["random", "proportional"])
def test_random_draws_by_key(name):
    features = features_of(scattered(2, 50, 2))
    rows = get_objective(name).order(features, 20, 0)
    np.testing.assert_array_equal(features.keys[rows], np.sort(features.keys)[:20])


def test_facts_about_the_designs():
    designs = {name: (get_objective(name).probability_design, get_objective(name).alpha) for name in NAMES}
    assert designs == {
        "diverse": (False, None),
        "kmeans": (False, None),
        "proportional": (True, 1.0),
        "random": (True, None),
        "spread": (True, None),
    }
    assert all(get_objective(name).name == name for name in NAMES)


def test_unknown_objective():
    with pytest.raises(ConfigError, match="'best': no such objective; known are diverse, spread"):
        get_objective("best")


def test_kmeans_without_scikit_learn(monkeypatch):
    monkeypatch.delitem(sys.modules, "csmoe_sampler.objectives.kmeans", raising=False)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.delitem(sys.modules, "sklearn.cluster", raising=False)
    with pytest.raises(ConfigError, match=r"csmoe-sampler\[kmeans\]"):
        get_objective("kmeans")


# --- spread


@pytest.mark.parametrize(("n", "d", "quota"), [(211, 2, 30), (97, 4, 60), (150, 1, 75)])
def test_spread_has_exact_inclusion_probabilities_in_every_prefix(n, d, quota):
    """Frequencies over many seeds, for the whole sample and for prefixes that no halving ends at."""
    values = scattered(3, n, d)
    spread, num_seeds = get_objective("spread"), 3000
    prefixes = (quota, quota // 2 + 1, quota // 5)
    count = np.zeros((3, n))
    for seed in range(num_seeds):
        rows = spread.order(features_of(values, seed), quota, derive_seed(seed, "s"))
        for k, length in enumerate(prefixes):
            count[k, rows[:length]] += 1
    for k, length in enumerate(prefixes):
        p = length / n
        z = (count[k] / num_seeds - p) / np.sqrt(p * (1 - p) / num_seeds)
        assert np.abs(z).max() < 4.2
        assert 0.8 < z.std() < 1.15


def voronoi_balance(values, rows, n):
    """Variance of the probability mass nearest to each sampled tile (Stevens & Olsen 2004, JASA 99); 0 is perfect."""
    squared = ((values[:, None].astype(np.int64) - values[rows].astype(np.int64)) ** 2).sum(axis=2)
    nearest = squared == squared.min(axis=1, keepdims=True)
    mass = (nearest / nearest.sum(axis=1, keepdims=True)).sum(axis=0) * rows.size / n
    return ((mass - 1) ** 2).mean()


@pytest.mark.parametrize(("d", "at_most"), [(2, 0.55), (5, 0.8)])
def test_spread_is_more_balanced_than_random_in_whole_and_in_prefixes(d, at_most):
    n, quota = 700, 90
    values = scattered(4, n, d)
    balance = {"spread": [], "random": []}
    for seed in range(25):
        features = features_of(values, seed)
        for name, found in balance.items():
            rows = get_objective(name).order(features, quota, derive_seed(seed, "s"))
            found.append([voronoi_balance(values, rows[:m], n) for m in (quota, 60, 22)])
    ratio = np.mean(balance["spread"], axis=0) / np.mean(balance["random"], axis=0)
    assert (ratio < at_most).all(), ratio


def test_spread_estimates_a_smooth_total_with_less_variance():
    values = scattered(5, 600, 2)
    smooth = np.sin(values[:, 0] / 800) + values[:, 1] / 2000
    totals = {"spread": [], "random": []}
    for seed in range(120):
        features = features_of(values, seed)
        for name, found in totals.items():
            rows = get_objective(name).order(features, 60, derive_seed(seed, "s"))
            found.append(smooth[rows].sum() * 10)
    assert np.var(totals["spread"]) < 0.2 * np.var(totals["random"])
    standard_error = np.std(totals["spread"]) / np.sqrt(120)
    assert abs(np.mean(totals["spread"]) - smooth.sum()) < 4 * standard_error


def test_spread_takes_one_of_each_pair_of_twins():
    """Far pairs: half the tiles means exactly one of each pair, for any seed."""
    centres = np.array([(x, y) for x in range(-8, 8) for y in range(-8, 8)]) * 1000
    values = np.concatenate([centres, centres + np.array([3, 1])])
    for seed in range(5):
        rows = get_objective("spread").order(features_of(values, seed), len(centres), seed)
        assert (np.bincount(rows % len(centres)) == 1).mean() > 0.85


def test_spread_splits_along_the_widest_dimension():
    """Tree nodes that are due a whole number of tiles get exactly that."""
    rng = np.random.default_rng(6)
    values = np.column_stack([rng.integers(-9, 9, 640), np.arange(640) * 40 - 12_800, rng.integers(-9, 9, 640)])
    for seed in range(5):
        rows = get_objective("spread").order(features_of(values, seed), 20, seed)
        assert np.bincount(rows // 160, minlength=4).tolist() == [5, 5, 5, 5]


# --- kmeans


def test_kmeans_takes_evenly_from_clusters_and_takes_turns():
    rng = np.random.default_rng(0)
    sizes = [400, 90, 60, 30, 5]
    corners = np.array([[0, 0], [9000, 0], [0, 9000], [-9000, 0], [0, -9000]])
    cluster = np.repeat(np.arange(5), sizes)
    values = corners[cluster] + rng.integers(-200, 200, (cluster.size, 2))
    rows = get_objective("kmeans").order(features_of(values), 5, 1)
    assert sorted(cluster[rows]) == [0, 1, 2, 3, 4]
    rows = get_objective("kmeans").order(features_of(np.repeat(corners, sizes, axis=0)), 125, 1)
    assert np.bincount(cluster[rows]).tolist() == [30, 30, 30, 30, 5]
    for m in (25, 60, 100):
        seen = np.bincount(cluster[rows[:m]], minlength=5)
        assert (np.abs(seen - m * np.array([30, 30, 30, 30, 5]) / 125) < 1).all()


def test_kmeans_is_silent_with_many_equal_rows():
    values = np.repeat(scattered(0, 70, 2, 50), [1, 200] * 35, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = get_objective("kmeans").order(features_of(values), 300, 0)
    assert np.unique(rows).size == 300
