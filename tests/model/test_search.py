"""Exact search against a full sort in float64, and against FAISS."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from csmoe_model.errors import DataError
from csmoe_model.evaluation import search as module
from csmoe_model.evaluation.search import Exclusion, place_of, search


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=[(torch.bfloat16, torch.float32), (torch.float32,), ()], ids=["bfloat16", "float32", "float64"])
def kinds(request, monkeypatch):
    """What is screened in; results must not tell."""
    monkeypatch.setattr(module, "quick_kinds", lambda: request.param)
    return request.param


def sorted_whole(queries, archive, k, forbidden=None):
    """The k best by cosine to nine decimals, then by number; -1 where there are no more."""
    one, other = (x.double() / x.double().norm(dim=1, keepdim=True).clamp(min=1e-12) for x in (queries, archive))
    cosines = (one @ other.T * 1e9).round().div(1e9).numpy()
    if forbidden is not None:
        cosines[forbidden] = -np.inf
    numbers = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(cosines, numbers, 1)
    pad = ((0, 0), (0, k - numbers.shape[1]))
    return (
        np.pad(np.where(np.isfinite(found), numbers, -1), pad, constant_values=-1),
        np.pad(found, pad, constant_values=-np.inf),
    )


def features(num, dim, seed, *, spread=1.0):
    """Around a common direction; the smaller the spread, the closer together."""
    chance = torch.Generator().manual_seed(seed)
    return torch.randn(dim, generator=torch.Generator().manual_seed(99)) + spread * torch.randn(
        num, dim, generator=chance
    )


@pytest.mark.parametrize("spread", [10.0, 1e-1, 1e-4])
def test_finds_what_a_full_sort_finds(kinds, spread, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 96)
    monkeypatch.setattr(module, "_QUERIES", 5)
    queries, archive = features(17, 24, 0, spread=spread), features(1000, 24, 1, spread=spread)
    archive[700:] = archive[:300]  # ties, in other blocks
    archive[5] = 0
    numbers, cosines = search(queries, archive, 7)
    wanted, values = sorted_whole(queries, archive, 7)
    np.testing.assert_array_equal(numbers, wanted)
    np.testing.assert_allclose(cosines, values, atol=2e-9)


def test_equal_features_are_found_in_their_order(kinds):
    archive = torch.ones(300, 12)
    numbers, _ = search(torch.ones(3, 12), archive, 50)
    np.testing.assert_array_equal(numbers, np.tile(np.arange(50), (3, 1)))


def test_groups_of_maxima_lose_nothing(kinds, monkeypatch):
    """Large blocks look at maxima of groups first; all of the best lie in one group here."""
    monkeypatch.setattr(module, "_GROUP", 4)
    monkeypatch.setattr(module, "_BLOCK", 512)
    chance = torch.Generator().manual_seed(3)
    archive = torch.randn(1024, 16, generator=chance)
    queries = torch.randn(6, 16, generator=chance)
    archive[1:512:128] = queries[0] + 0.01 * torch.randn(4, 16, generator=chance)
    numbers, _ = search(queries, archive, 5)
    np.testing.assert_array_equal(numbers, sorted_whole(queries, archive, 5)[0])


@given(
    num=st.integers(1, 40),
    asked=st.integers(1, 9),
    k=st.integers(1, 50),
    codes=st.integers(1, 6),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_never_finds_what_is_excluded_and_always_what_is_left(num, asked, k, codes, seed):
    chance = np.random.default_rng(seed)
    queries, archive = features(asked, 5, seed), features(num, 5, seed + 1)
    own, other = chance.integers(-1, codes, asked), chance.integers(-1, codes, num)
    forbidden = (own[:, None] == other) & (own >= 0)[:, None]
    found = search(queries, archive, k, Exclusion(codes=((own, other),)))
    for one, wanted in zip(found, sorted_whole(queries, archive, k, forbidden), strict=True):
        np.testing.assert_allclose(one, wanted, atol=2e-9)


def test_excludes_by_distance_over_the_antimeridian_and_pole():
    queries = np.array([[179.99, 0.0], [0.0, 89.99], [np.nan, np.nan]])
    items = np.array([[-179.99, 0.0], [179.0, 0.0], [180.0, 89.99], [np.nan, np.nan]])
    near = Exclusion(lon_lat=(queries, items), within_km=3.0).between(np.arange(3), slice(0, 4)).numpy()
    np.testing.assert_array_equal(near, [[True, False, False, False], [False, False, True, False], [False] * 4])


def test_several_exclusions_add_up():
    one, other = np.array([0, 1]), np.array([0, 1, 1])
    places = np.zeros((2, 2)), np.array([[0.0, 50.0], [0.0, 50.0], [0.0, 0.0]])
    both = Exclusion(codes=((one, other),), lon_lat=places, within_km=1.0)
    np.testing.assert_array_equal(both.between(np.arange(2), slice(0, 3)), [[1, 0, 1], [0, 1, 1]])
    np.testing.assert_array_equal(both.between(np.array([1]), slice(1, 3)), [[1, 1]])


def test_agrees_with_faiss():
    import faiss

    queries, archive = features(40, 64, 0, spread=3.0), features(5000, 64, 1, spread=3.0)
    unit = [torch.nn.functional.normalize(x, dim=1).numpy() for x in (queries, archive)]
    index = faiss.IndexFlatIP(64)
    index.add(unit[1])
    values, wanted = index.search(unit[0], 10)
    numbers, cosines = search(queries, archive, 10)
    assert (numbers == wanted).mean() > 0.99  # cosines that float32 cannot tell apart
    np.testing.assert_allclose(cosines, values, atol=1e-6)


def test_a_bound_that_is_too_small_would_be_noticed(monkeypatch):
    """Where bfloat16 orders wrongly, the bound sends the query on to float32."""
    monkeypatch.setattr(module, "quick_kinds", lambda: (torch.bfloat16, torch.float32))
    asked = []
    screened = module._screened

    def spy(queries, rows, archive, kind, *more):
        asked.append((kind, len(rows)))
        return screened(queries, rows, archive, kind, *more)

    monkeypatch.setattr(module, "_screened", spy)
    queries = features(20, 32, 0, spread=1.0)
    archive = queries[:1] + 1e-3 * features(2000, 32, 1, spread=1.0)
    numbers, _ = search(queries, archive, 10)
    np.testing.assert_array_equal(numbers, sorted_whole(queries, archive, 10)[0])
    assert asked[0] == (torch.bfloat16, 20)
    assert asked[1][0] == torch.float32


def test_bfloat16_is_left_out_where_it_will_not_do(monkeypatch):
    monkeypatch.setattr(module, "quick_kinds", lambda: (torch.bfloat16, torch.float32))
    monkeypatch.setattr(module, "_BLOCK", 64)
    archive, queries = features(640, 48, 1, spread=1e-4), features(9, 48, 0, spread=1e-4)
    assert not module._promising(queries, archive, 5)
    assert module._promising(*(features(num, 48, num, spread=30.0) for num in (9, 640)), 5)
    np.testing.assert_array_equal(search(queries, archive, 5)[0], sorted_whole(queries, archive, 5)[0])


def test_place_is_that_of_the_whole_ranking(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 16)
    queries, archive = features(9, 12, 0), features(50, 12, 1)
    archive[30:40] = archive[:10]
    items = np.array([0, 49, 31, 7, 8, 9, 30, 12, 2])
    ranking = search(queries, archive, 50)[0]
    np.testing.assert_array_equal(place_of(queries, archive, items), (ranking == items[:, None]).argmax(1) + 1)


@pytest.mark.parametrize("where", ["queries", "archive"])
def test_refuses_features_that_are_not_finite(where):
    queries, archive = features(3, 8, 0), features(20, 8, 1)
    (queries if where == "queries" else archive)[2, 3] = torch.nan
    with pytest.raises(DataError, match=f"the {where} are not finite"):
        search(queries, archive, 2)


def test_refuses_other_widths():
    with pytest.raises(DataError, match="queries of 8 features in an archive of 9"):
        search(features(2, 8, 0), features(2, 9, 0), 1)


def test_an_empty_archive_gives_nothing():
    numbers, cosines = search(features(2, 8, 0), torch.empty(0, 8), 3)
    assert (numbers == -1).all()
    assert (cosines == -np.inf).all()
