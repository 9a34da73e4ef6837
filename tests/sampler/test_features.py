"""The integer feature space: distances mean what the docstring says, to the quantisation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csmoe_sampler.features import Features, Moments, Position, Shares, build_features


def random_shares(rng, n, k):
    shares = rng.gamma(0.3, size=(n, k))
    return (shares / shares.sum(1, keepdims=True)).astype(np.float32)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), weights=st.tuples(*[st.floats(0.05, 3)] * 3))
def test_squared_distance_is_the_weighted_sum_of_the_documented_terms(seed, weights):
    rng = np.random.default_rng(seed)
    shares, elevation = random_shares(rng, 9, 5), rng.normal(1000, 700, 9).astype(np.float32)
    lon, lat = rng.uniform(-180, 180, 9), rng.uniform(-85, 85, 9)
    features = build_features(
        [
            Shares(columns=list(shares.T), weight=weights[0]),
            Moments(columns=[elevation], weight=weights[1], scale=500),
            Position(lon=lon, lat=lat, weight=weights[2]),
        ],
        keys=np.arange(9, dtype=np.uint64),
    )
    unit = np.stack(
        [
            np.cos(np.radians(lat)) * np.cos(np.radians(lon)),
            np.cos(np.radians(lat)) * np.sin(np.radians(lon)),
            np.sin(np.radians(lat)),
        ]
    )
    for i, j in [(0, 1), (2, 7), (8, 3)]:
        hellinger = 0.5 * ((np.sqrt(shares[i].astype(float)) - np.sqrt(shares[j].astype(float))) ** 2).sum()
        chord = np.linalg.norm(unit[:, i] - unit[:, j]) / 2
        moment = (float(elevation[i]) - float(elevation[j])) / 500
        expected = weights[0] * hellinger + weights[1] * moment**2 + weights[2] * chord**2
        difference = features.values[i].astype(np.int64) - features.values[j]
        found = (difference**2).sum()
        assert found < 2**31 - 1
        assert np.sqrt(found) / features.scale == pytest.approx(np.sqrt(expected), abs=4 / features.scale)


def test_extreme_values_stay_inside_int32():
    shares = np.eye(4, dtype=np.float32)
    lon, lat = np.array([0.0, 180, 0, 90]), np.array([0.0, 0, 85, -85])
    height = np.array([-400, 8800, np.nan, 0], np.float32)
    features = build_features(
        [
            Shares(columns=list(shares.T), weight=1),
            Moments(columns=[height, height], weight=7, scale=10),
            Position(lon=lon, lat=lat, weight=0.5),
        ],
        keys=np.arange(4, dtype=np.uint64),
    )
    wide = features.values.astype(np.int64)
    squared = ((wide[:, None] - wide[None]) ** 2).sum(-1)
    assert 2**29 < squared.max() < 2**31 - 1


def test_constant_columns_and_zero_weights_fall_away():
    shares = np.array([[1, 0, 0.5], [0, 1, 0.5]], np.float32)
    blocks = [Shares(columns=list(shares.T), weight=1), Position(lon=np.zeros(2), lat=np.zeros(2), weight=0)]
    assert build_features(blocks, np.arange(2, dtype=np.uint64)).values.shape == (2, 2)


def test_nothing_but_constants_gives_one_constant_column():
    features = build_features([], np.arange(3, dtype=np.uint64))
    assert features.values.shape == (3, 1)
    assert not features.values.any()


def test_take_keeps_scale():
    features = Features(
        values=np.arange(6, dtype=np.int16).reshape(3, 2), keys=np.arange(3, dtype=np.uint64), scale=7.0
    )
    part = features.take(np.array([2, 0]))
    assert part.scale == 7
    assert part.values.tolist() == [[4, 5], [0, 1]]
    assert part.keys.tolist() == [2, 0]
