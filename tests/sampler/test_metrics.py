"""Every metric against scikit-learn, scipy or a plain loop."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon, pdist
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import pairwise_distances_argmin_min
from sklearn.metrics.pairwise import cosine_similarity

from csmoe_sampler import metrics
from csmoe_sampler.chance import tile_keys
from csmoe_sampler.features import Features

counts = st.lists(st.integers(0, 50), min_size=1, max_size=12).filter(any)


def population(seed, n=300, d=5, scale=40.0):
    values = np.random.default_rng(seed).integers(-3000, 3000, (n, d)).astype(np.int16)
    return Features(values=values, keys=tile_keys(seed, np.arange(n)), scale=scale)


def test_covering_is_that_of_scikit_learn():
    features = population(0)
    rows = np.random.default_rng(1).permutation(300)[:37]
    found = metrics.covering(features, rows)
    distance = pairwise_distances_argmin_min(features.values.astype(float), features.values[rows].astype(float))[1] / 40
    assert found.num_probes == 300
    assert found.radius == pytest.approx(distance.max(), rel=1e-12)
    assert found.mean == pytest.approx(distance.mean(), rel=1e-12)
    assert metrics.covering(features, rows, workers=2) == found


def test_probes_are_a_random_part_of_the_population_not_those_drawn_first():
    features = population(0, n=2000)
    whole = metrics.covering(features, np.argsort(features.keys)[:100])
    part = metrics.covering(features, np.argsort(features.keys)[:100], max_probes=400)
    assert part.num_probes == 400 and part.radius <= whole.radius
    assert part.mean == pytest.approx(whole.mean, rel=0.1)
    shuffled = np.random.default_rng(5).permutation(2000)
    place = np.argsort(shuffled)
    again = metrics.covering(features.take(shuffled), place[np.argsort(features.keys)[:100]], max_probes=400)
    assert again == part


def test_a_census_covers_itself():
    features = population(2)
    assert metrics.covering(features, np.arange(300)) == metrics.Covering(radius=0.0, mean=0.0, num_probes=300)


def test_pairwise_distance_is_the_root_mean_square():
    features = population(3, n=70_000, d=2)
    rows = np.random.default_rng(0).permutation(70_000)[:200]
    squared = pdist(features.values[rows].astype(float), "sqeuclidean")
    assert metrics.pairwise_distance(features, rows) == pytest.approx(math.sqrt(squared.mean()) / 40, rel=1e-12)
    everything = features.values.astype(float)
    variance = everything.var(axis=0, ddof=1).sum()
    assert metrics.pairwise_distance(features, np.arange(70_000)) == pytest.approx(
        math.sqrt(2 * variance) / 40, rel=1e-9
    )
    assert metrics.pairwise_distance(features, rows[:1]) == 0.0


@settings(deadline=None)
@given(counts)
def test_entropy_is_that_of_scipy(values):
    assert metrics.entropy(values) == pytest.approx(scipy_entropy(values, base=2), abs=1e-12)
    if len(values) > 1:
        assert metrics.evenness(values) == pytest.approx(
            scipy_entropy(values, base=2) / np.log2(len(values)), abs=1e-12
        )


def test_entropy_at_the_edges():
    assert metrics.entropy([]) == metrics.entropy([0, 0]) == metrics.entropy([7]) == 0
    assert metrics.entropy([1, 1, 1, 1]) == 2
    assert metrics.evenness([3, 3, 3]) == pytest.approx(1)
    assert metrics.evenness([9, 0, 0]) == 0
    assert metrics.evenness([5]) == 1


@pytest.mark.parametrize(("n", "d"), [(40, 7), (6, 11)])
def test_vendi_score_is_that_of_the_kernel(n, d):
    vectors = np.random.default_rng(0).normal(size=(n, d))
    vectors[3] = vectors[1] * 2
    eigenvalues = np.linalg.eigvalsh(cosine_similarity(vectors) / n)
    eigenvalues = eigenvalues[eigenvalues > 1e-12]
    expected = np.exp(-(eigenvalues * np.log(eigenvalues)).sum())
    assert metrics.vendi_score(vectors) == pytest.approx(expected, rel=1e-9)


def test_vendi_score_counts_what_differs():
    assert metrics.vendi_score(np.eye(6)) == pytest.approx(6)
    assert metrics.vendi_score(np.ones((9, 4))) == pytest.approx(1)
    assert metrics.vendi_score(np.repeat(np.eye(3), 5, axis=0).astype(np.int16)) == pytest.approx(3)
    assert metrics.vendi_score([[1, 0], [0, 1], [0, 0], [0, 0]]) == pytest.approx(4 / 2**0.5)  # shares 1/4, 1/4, 1/2
    assert metrics.vendi_score(np.zeros((4, 3))) == pytest.approx(1)


def test_mean_shares_weigh_by_area():
    shares = np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 0, 0]], np.float32)
    np.testing.assert_allclose(metrics.mean_shares(shares, [1, 3, 9]), [2.5 / 4, 1.5 / 4, 0])
    assert metrics.mean_shares(shares[2:], [4.0]).tolist() == [0, 0, 0]


@settings(deadline=None)
@given(
    st.integers(1, 9).flatmap(
        lambda k: st.tuples(*[st.lists(st.integers(0, 9), min_size=k, max_size=k).filter(any)] * 2)
    )
)
def test_divergences(pair):
    p, q = (np.array(v) / sum(v) for v in pair)
    assert metrics.total_variation(p, q) == pytest.approx(sum(max(a - b, 0) for a, b in zip(p, q, strict=True)))
    expected = jensenshannon(p, q, base=2) ** 2 if not np.allclose(p, q) else 0.0
    assert metrics.jensen_shannon(p, q) == pytest.approx(expected, abs=1e-9)
    assert 0 <= metrics.jensen_shannon(p, q) <= 1 + 1e-12


def test_divergences_of_strangers_are_one():
    assert metrics.total_variation([1, 0], [0, 1]) == metrics.jensen_shannon([1, 0], [0, 1]) == 1


def test_effective_sample_size():
    assert metrics.effective_sample_size(np.full(50, 3.5)) == pytest.approx(50)
    assert metrics.effective_sample_size([1, 1, 1, 0]) == pytest.approx(3)
    assert metrics.effective_sample_size([4, 1]) == pytest.approx(25 / 17)
    assert metrics.effective_sample_size([]) == 0


def test_share_covered():
    population = ["Af", "Cfb", "ET", "Cfb"]
    for k in range(4):
        for sample in combinations(["Af", "Cfb", "ET"], k):
            assert metrics.share_covered(population, list(sample)) == pytest.approx(k / 3)
    assert metrics.share_covered(np.array([2, 2, 5]), np.array([5, 7])) == 0.5
    assert metrics.share_covered([], []) == 1
