"""Nearest neighbours against plain loops and scikit-learn: votes, ties, two distances, features far from 0."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from csmoe_model.errors import ConfigError, DataError
from csmoe_model.evaluation.knn import Neighbours, knn, neighbours, votes

SEEDS = st.integers(0, 10_000)
FEW = settings(max_examples=30, deadline=None)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def features(num, dim, seed):
    return torch.randn(num, dim, generator=torch.Generator().manual_seed(seed)) + torch.linspace(0, 2, dim)


def far(one, other, distance):
    """(N, M) In float64, smaller where nearer."""
    one, other = one.double().numpy(), other.double().numpy()
    if distance == "cosine":
        one, other = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (one, other))
    return np.linalg.norm(one[:, None] - other, axis=2)


@FEW
@given(
    train=st.integers(4, 30),
    queries=st.integers(1, 9),
    k=st.integers(1, 4),
    distance=st.sampled_from(["cosine", "l2"]),
    seed=SEEDS,
)
def test_winners_and_scores_equal_a_plain_loop(train, queries, k, distance, seed):
    one, other = features(train, 5, seed), features(queries, 5, seed + 1)
    labels = np.random.default_rng(seed).integers(0, 3, train) * 2  # classes 1 and 3 have nobody
    scores = knn(one, labels, other, k, num_classes=5, distance=distance)
    distances = far(other, one, distance)
    for row in range(queries):
        nearest = sorted(range(train), key=lambda n: distances[row, n])[:k]
        if distance == "cosine":
            near = {n: 1 - distances[row, n] ** 2 / 2 for n in nearest}
        else:
            near = {n: -distances[row, n] for n in nearest}
        about = {c: [near[n] for n in nearest if labels[n] == c] for c in range(5)}
        winner = max(range(5), key=lambda c: (len(about[c]), sum(about[c])))
        assert scores[row].argmax() == winner
        assert (np.argsort(-scores[row], kind="stable")[: len(set(labels[nearest]))] % 2 == 0).all()
    assert ((scores >= 0) & (scores <= 1)).all()


@FEW
@given(k=st.integers(1, 6), seed=SEEDS)
def test_several_labels_score_their_share_among_the_neighbours(k, seed):
    one, other = features(20, 4, seed), features(5, 4, seed + 1)
    labels = np.random.default_rng(seed).random((20, 3)) < [0.2, 0.5, 0.9]
    scores = knn(one, labels, other, k, num_classes=3, distance="cosine")
    distances = far(other, one, "cosine")
    for row in range(5):
        nearest = sorted(range(20), key=lambda n: distances[row, n])[:k]
        assert scores[row] == pytest.approx(labels[nearest].mean(0))


def test_one_neighbour_equals_scikit_learn():
    one, other = features(60, 6, 0), features(40, 6, 1)
    labels = np.random.default_rng(2).integers(0, 4, 60)
    for distance, metric in (("cosine", "cosine"), ("l2", "euclidean")):
        oracle = KNeighborsClassifier(1, metric=metric).fit(one, labels).predict(other)
        assert (knn(one, labels, other, 1, num_classes=4, distance=distance).argmax(1) == oracle).all()


@pytest.mark.parametrize(
    ("labels", "nearness", "winner"),
    [
        ([2, 0, 0], [1.0, 0.1, 0.1], 0),  # votes before nearness
        ([0, 2, 2, 0], [0.9, 0.8, 0.7, 0.2], 2),  # as many votes: the nearer in sum
        ([0, 2, 2, 0], [0.9, 0.6, 0.6, 0.4], 0),
        ([2, 0], [0.5, 0.5], 0),  # equally near: the first class
        ([3, 3, 1, 1, 0], [1.0, 1.0, 1.0, 1.0, 1.0], 1),
    ],
)
def test_ties_of_votes(labels, nearness, winner):
    found = Neighbours(np.arange(len(labels))[None], np.array([nearness]))
    scores = votes(found, np.array(labels), 4)
    assert scores.argmax() == winner
    assert scores.max() <= 1


def test_more_neighbours_are_found_once_for_all():
    one, other = features(50, 3, 0), features(7, 3, 1)
    labels = np.random.default_rng(0).integers(0, 3, 50)
    many = neighbours(one, other, 20, "cosine")
    for k in (1, 5, 20):
        own = votes(many.first(k), labels, 3)
        np.testing.assert_allclose(own, knn(one, labels, other, k, num_classes=3, distance="cosine"))


@pytest.mark.parametrize("distance", ["cosine", "l2"])
def test_features_that_lie_close_together_are_told_apart(distance):
    """As those of untrained models: one long mean, small differences."""
    one, other = (1000.0 + features(num, 8, seed) for num, seed in ((200, 0), (20, 1)))
    found = neighbours(one, other, 3, distance).numbers
    assert (found == far(other, one, distance).argsort(1)[:, :3]).mean() > 0.95


@pytest.mark.parametrize("distance", ["cosine", "l2"])
def test_the_order_of_training_samples_and_of_queries_changes_nothing(distance):
    one, other = features(40, 6, 3), features(15, 6, 4)
    labels = np.random.default_rng(0).integers(0, 3, 40)
    chance = np.random.default_rng(1)
    rows, asks = chance.permutation(40), chance.permutation(15)
    scores = knn(one, labels, other, 7, num_classes=3, distance=distance)
    again = knn(one[rows], labels[rows], other[asks], 7, num_classes=3, distance=distance)
    np.testing.assert_allclose(again, scores[asks], atol=1e-5)


def test_what_cannot_be_asked():
    one = features(3, 2, 0)
    with pytest.raises(ConfigError, match="4 neighbours of 3 training samples"):
        neighbours(one, one, 4, "l2")
    with pytest.raises(DataError, match="not finite"):
        neighbours(one, one * torch.inf, 2, "cosine")


@pytest.mark.parametrize("distance", ["cosine", "l2"])
def test_equal_features_are_no_trouble(distance):
    labels = np.array([1, 1, 0])
    scores = knn(torch.ones(3, 4), labels, torch.ones(2, 4), 3, num_classes=2, distance=distance)
    assert scores.argmax(1).tolist() == [1, 1]
