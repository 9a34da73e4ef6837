"""Every prefix of the merged order holds each queue in its proportion, rounded down or up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csmoe_sampler.interleave import interleave


def turns(*keys):
    return np.array(keys, np.uint64)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.integers(0, 60) | st.sampled_from([0, 1, 1000]), max_size=40), st.integers(0, 2**31))
def test_prefixes_are_proportional(quota, seed):
    quota = np.array(quota, np.int64)
    keys = np.random.default_rng(seed).integers(0, 5, quota.size).astype(np.uint64)
    merged = interleave(quota, keys)
    n = quota.sum()
    np.testing.assert_array_equal(np.bincount(merged, minlength=quota.size), quota)
    seen = np.cumsum(merged[:, None] == np.arange(quota.size), axis=0)
    ideal = np.arange(1, n + 1)[:, None] * quota
    assert (seen >= ideal // n).all()
    assert (seen <= -(-ideal // n)).all()


def test_many_small_queues_do_not_crowd_the_middle():
    quota = np.array([500] + [1] * 500)
    merged = interleave(quota, np.arange(quota.size).astype(np.uint64))
    assert ((merged == 0).reshape(-1, 2).sum(axis=1) == 1).all()


@pytest.mark.parametrize(
    ("keys", "expected"),
    [((0, 1, 2), [0, 1, 2, 0, 1, 2]), ((5, 9, 2), [2, 0, 1, 2, 0, 1]), ((1, 0, 1), [1, 0, 2, 1, 0, 2])],
)
def test_equal_deadlines_go_by_key_then_position(keys, expected):
    assert interleave(np.array([2, 2, 2]), turns(*keys)).tolist() == expected


def test_queues_may_be_renamed():
    """The order follows quota and key, not the position."""
    quota, keys = np.array([3, 7, 1, 5]), turns(8, 6, 4, 2)
    order = np.array([2, 0, 3, 1])
    np.testing.assert_array_equal(order[interleave(quota[order], keys[order])], interleave(quota, keys))


def test_nothing():
    assert interleave(np.empty(0, np.int64), turns()).size == 0
    assert interleave(np.array([0, 0]), turns(1, 2)).size == 0
