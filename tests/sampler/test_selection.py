"""The global order: quotas, prefixes, weights; the same for any number of workers."""

import hashlib

import numpy as np
import pytest

from csmoe_sampler.allocation import allocate
from csmoe_sampler.chance import tile_keys
from csmoe_sampler.features import Features
from csmoe_sampler.objectives import OBJECTIVES, get_objective
from csmoe_sampler.selection import select
from csmoe_sampler.strata import Strata

SIZE = np.array([900, 400, 150, 33, 20, 4, 1])


@pytest.fixture(scope="module")
def strata():
    of_tile = np.repeat(np.arange(SIZE.size, dtype=np.int32), SIZE)[np.argsort(tile_keys(0, np.arange(SIZE.sum())))]
    return Strata(
        labels=tuple(f"c{h}|v" for h in range(SIZE.size)), of_tile=of_tile, size=SIZE, level=np.zeros_like(SIZE)
    )


@pytest.fixture(scope="module")
def features():
    values = (tile_keys(1, np.arange(SIZE.sum() * 3)) % 6000).astype(np.int16).reshape(-1, 3) - np.int16(3000)
    return Features(values=values, keys=tile_keys(7, np.arange(SIZE.sum())), scale=1.0)


def quotas(n=300, floor=1):
    return allocate(SIZE, n, alpha=0.5, floor=floor, cap=None)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_every_prefix_holds_each_stratum_in_proportion(strata, features, name):
    allocation = quotas()
    selection = select(strata, allocation, features, get_objective(name), seed=3)
    n = selection.rows.size
    assert n == np.unique(selection.rows).size == 300
    np.testing.assert_array_equal(strata.of_tile[selection.rows], selection.stratum)
    seen = np.cumsum(selection.stratum[:, None] == np.arange(SIZE.size), axis=0)
    np.testing.assert_array_equal(seen[-1], allocation.quota)
    assert (np.abs(seen - np.arange(1, n + 1)[:, None] * allocation.quota / n) < 1).all()


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_workers_do_not_matter(strata, features, name):
    one, four = (
        select(strata, quotas(), features, get_objective(name), seed=3, workers=w).rows.tobytes() for w in (1, 4)
    )
    assert one == four


def test_within_a_stratum_the_order_is_the_objectives(strata, features):
    selection = select(strata, quotas(), features, get_objective("random"), seed=3)
    for h in range(SIZE.size):
        members = np.flatnonzero(strata.of_tile == h)
        expected = members[np.argsort(features.keys[members])][: quotas().quota[h]]
        np.testing.assert_array_equal(selection.rows[selection.stratum == h], expected)


def test_seed_reaches_objective_and_rank(strata, features):
    one, two = (select(strata, quotas(), features, get_objective("spread"), seed=s) for s in (3, 4))
    assert not np.array_equal(one.stratum, two.stratum)
    assert not np.array_equal(np.sort(one.rows), np.sort(two.rows))


def test_weights_restore_the_population(strata, features):
    allocation = quotas()
    selection = select(strata, allocation, features, get_objective("spread"), seed=3)
    np.testing.assert_allclose(np.bincount(selection.stratum, selection.weight), SIZE)
    np.testing.assert_allclose(selection.inclusion_probability, (allocation.quota / SIZE)[selection.stratum])
    purposive = select(strata, allocation, features, get_objective("kmeans"), seed=3)
    np.testing.assert_array_equal(purposive.weight, selection.weight)
    assert np.isnan(purposive.inclusion_probability).all()


@pytest.mark.parametrize(("name", "digest"), [("random", "2456ec5dee2b9d7b"), ("spread", "0a6d3c1a8a95fbbb")])
def test_golden(strata, features, name, digest):
    """Frozen: a seed means the same sample on any machine and in any later version."""
    rows = select(strata, quotas(), features, get_objective(name), seed=3).rows
    assert hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()[:16] == digest


def test_strata_without_quota_give_nothing(strata, features):
    selection = select(strata, quotas(3, floor=0), features, get_objective("spread"), seed=3)
    assert selection.rows.size == 3
    assert (np.bincount(selection.stratum, minlength=SIZE.size) == quotas(3, floor=0).quota).all()


def test_no_tiles():
    nothing = np.empty(0, np.int64)
    strata = Strata(labels=(), of_tile=nothing.astype(np.int32), size=nothing, level=nothing)
    features = Features(values=np.empty((0, 1), np.int16), keys=np.empty(0, np.uint64), scale=1.0)
    allocation = allocate(nothing, 5, alpha=0.5, floor=1, cap=None)
    selection = select(strata, allocation, features, get_objective("spread"), seed=3)
    assert selection.rows.size == selection.stratum.size == selection.weight.size == 0


def test_progress_counts_every_tile(strata, features):
    class Recorder:
        def __init__(self):
            self.calls = []

        def start(self, name, total, unit):
            self.calls.append((name, total, unit))

        def advance(self, count):
            self.calls.append(count)

        def finish(self):
            self.calls.append("finish")

        def note(self, text):
            raise AssertionError(text)

    recorder = Recorder()
    select(strata, quotas(), features, get_objective("random"), seed=0, progress=recorder)
    assert recorder.calls[0] == ("select", 300, "tiles") and recorder.calls[-1] == "finish"
    assert sum(recorder.calls[1:-1]) == 300


def test_an_error_of_the_objective_reaches_the_caller(strata, features):
    class Broken:
        name, probability_design, alpha = "broken", False, None

        def order(self, features, quota, rng_seed):
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        select(strata, quotas(), features, Broken(), seed=0)
