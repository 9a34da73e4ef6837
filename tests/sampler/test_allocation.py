"""Quotas: a table of cases, an independent water level, and what must hold for any input."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csmoe_sampler.allocation import ALL_TAKEN, CAP, FLOOR, FLOORS_EXCEED, SURPLUS, YIELDS, allocate
from csmoe_sampler.errors import SelectionError


def quotas(size, n, alpha=1.0, floor=0, cap=None):
    return allocate(np.array(size), n, alpha=alpha, floor=floor, cap=cap)


@pytest.mark.parametrize(
    ("size", "n", "options", "expected"),
    [
        ([100, 300, 600], 10, {}, [1, 3, 6]),
        ([100, 400, 900], 6, {"alpha": 0.5}, [1, 2, 3]),
        ([100, 400, 900], 6, {"alpha": 0.0}, [2, 2, 2]),
        ([5, 5, 5], 4, {"alpha": 0.0}, [2, 1, 1]),
        ([5, 6, 5], 4, {"alpha": 0.0}, [1, 2, 1]),
        ([10, 1000], 100, {"alpha": 0.0}, [10, 90]),
        ([10, 1000], 2000, {}, [10, 1000]),
        ([10, 1000], 505, {"cap": 300}, [10, 300]),
        ([50, 1000], 505, {"floor": 40}, [40, 465]),
        ([50, 1000, 30], 60, {"floor": 40}, [20, 20, 20]),
        ([50, 1000, 5], 60, {"floor": 40}, [27, 28, 5]),
        ([5, 6, 7, 8], 2, {"floor": 1}, [0, 0, 1, 1]),
        ([0, 4, 0], 3, {"floor": 2, "alpha": 0.0}, [0, 3, 0]),
        ([7, 7], 0, {"floor": 1}, [0, 0]),
        ([], 5, {}, []),
    ],
)
def test_table(size, n, options, expected):
    allocation = quotas(size, n, **options)
    assert allocation.quota.tolist() == expected
    assert allocation.shortfall == n - sum(expected)


def test_reasons():
    allocation = quotas([2, 100, 4900, 10_000, 10_000], 4000, alpha=0.5, floor=1, cap=1500)
    assert allocation.quota.tolist() == [2, 100, 1010, 1444, 1444]
    assert allocation.reason == (ALL_TAKEN, ALL_TAKEN, SURPLUS, SURPLUS, SURPLUS)
    assert quotas([10, 500, 500], 900, alpha=0.0, cap=100).reason == (ALL_TAKEN, CAP, CAP)
    assert quotas([100, 10_000], 500, floor=50).reason == (FLOOR, YIELDS)
    assert quotas([100, 10_000], 350, floor=300).reason == (FLOORS_EXCEED, FLOORS_EXCEED)
    assert not quotas([100, 10_000], 350, floor=300).floors_met
    assert quotas([100, 10_000], 400, floor=300).floors_met
    assert quotas([100, 1000], 50).reason == (None, None)
    assert quotas([2, 10], 6, floor=2).reason == (FLOOR, YIELDS)  # one tile more, one less


def test_target_is_the_ideal_without_bounds():
    allocation = quotas([4, 16, 100], 50, alpha=0.5, floor=30)
    np.testing.assert_allclose(allocation.target, 50 * np.array([2, 4, 10]) / 16, rtol=1e-15)


def test_rounding_may_cost_one_tile_when_the_sample_grows():
    """The Alabama paradox."""
    size = [6, 6, 2]
    assert quotas(size, 10).quota.tolist() == [4, 4, 2]
    assert quotas(size, 11).quota.tolist() == [5, 5, 1]


def test_large_equal_strata_tie_exactly():
    """Powers that are not representable as doubles still tie."""
    size = [1_234_567] * 7
    assert quotas(size, 1_000_003, alpha=0.3).quota.tolist() == [142_858] * 4 + [142_857] * 3


sizes = st.lists(st.integers(0, 400), min_size=1, max_size=12)
options = st.fixed_dictionaries(
    {
        "alpha": st.sampled_from([0.0, 0.3, 0.5, 1.0]),
        "floor": st.integers(0, 40),
        "cap": st.none() | st.integers(1, 300),
    }
)


def bounds(size, floor, cap):
    upper = np.minimum(size, 10**9 if cap is None else cap)
    return np.minimum(floor, upper), upper


@settings(deadline=None, max_examples=300)
@given(sizes, st.integers(0, 3000), options)
def test_exact_sum_bounds_and_fairness(size, n, option):
    size = np.array(size)
    lower, upper = bounds(size, option["floor"], option["cap"])
    allocation = allocate(size, n, **option)
    quota = allocation.quota
    assert quota.sum() == min(n, upper.sum())
    assert allocation.shortfall == n - quota.sum()
    assert (quota >= 0).all() and (quota <= upper).all()
    assert allocation.floors_met == (lower.sum() <= quota.sum())
    if allocation.floors_met:
        assert (quota >= lower).all()
    else:
        assert (quota <= lower).all()
        assert np.ptp(quota[quota < lower]) <= 1
    order = np.argsort(size, kind="stable")
    assert (np.diff(quota[order])[np.diff(size[order]) > 0] >= 0).all()  # never less for a larger stratum
    same = size[:, None] == size[None, :]
    assert (np.abs(quota[:, None] - quota[None, :])[same] <= 1).all()  # equals differ by rounding alone


@settings(deadline=None, max_examples=200)
@given(sizes, st.integers(0, 3000), options)
def test_quotas_are_a_rounded_water_level(size, n, option):
    """The level found by bisection in floating point."""
    size = np.array(size)
    lower, upper = bounds(size, option["floor"], option["cap"])
    quota = allocate(size, n, **option).quota
    weight = np.where(size > 0, size ** option["alpha"], 0.0)
    if lower.sum() > quota.sum():
        weight, lower, upper = np.ones(size.size), np.zeros(size.size), lower
    low, high = 0.0, 1e7
    for _ in range(200):
        middle = (low + high) / 2
        if np.clip(middle * weight, lower, upper).sum() < quota.sum():
            low = middle
        else:
            high = middle
    assert (np.abs(quota - np.clip(high * weight, lower, upper)) < 1 + 1e-6).all()


@settings(deadline=None, max_examples=200)
@given(sizes, st.integers(0, 3000), options)
def test_no_quota_falls_by_more_than_rounding_when_the_sample_grows(size, n, option):
    size = np.array(size)
    before, after = (allocate(size, m, **option).quota for m in (n, n + 1))
    assert (after >= before - 1).all()


@settings(deadline=None, max_examples=100)
@given(sizes, st.integers(0, 3000), options, st.integers(0, 2**31))
def test_strata_of_different_sizes_may_come_in_any_order(size, n, option, seed):
    size = np.unique(size)
    order = np.random.default_rng(seed).permutation(size.size)
    straight, shuffled = (allocate(s, n, **option).quota for s in (size, size[order]))
    np.testing.assert_array_equal(straight[order], shuffled)


@settings(deadline=None, max_examples=100)
@given(sizes, st.integers(0, 3000), options)
def test_a_reason_for_every_difference(size, n, option):
    size = np.array(size)
    lower, upper = bounds(size, option["floor"], option["cap"])
    allocation = allocate(size, n, **option)
    weights = [Fraction(1) if option["alpha"] == 0 else s for s in size.tolist()]
    for h, reason in enumerate(allocation.reason):
        difference = allocation.quota[h] - allocation.target[h]
        if option["alpha"] in (0, 1) and size.all():
            exact = Fraction(n) * weights[h] / sum(weights)
            assert (reason is None) == (abs(allocation.quota[h] - exact) < 1)
        if reason == ALL_TAKEN:
            assert allocation.quota[h] == size[h] and difference < 0
        elif reason == CAP:
            assert allocation.quota[h] == option["cap"] < size[h] and difference < 0
        elif reason == FLOOR:
            assert allocation.quota[h] == lower[h] and difference > 0
        elif reason == SURPLUS:
            assert difference > 0
        elif reason == YIELDS:
            assert allocation.quota[h] < upper[h] and difference < 0 and option["floor"] > 0


@pytest.mark.parametrize(
    ("n", "option", "message"),
    [
        (-1, {}, "n = -1"),
        (5, {"floor": -2}, "floor -2"),
        (5, {"cap": 0}, "cap 0"),
        (5, {"alpha": 1.5}, "alpha = 1.5"),
        (5, {"alpha": float("nan")}, "alpha = nan"),
    ],
)
def test_nonsense_is_refused(n, option, message):
    with pytest.raises(SelectionError, match=message):
        quotas([3, 4], n, **option)
