"""The order of samples and the views of them: functions of their arguments alone."""

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from csmoe_model.data.augment import View, centre_view, draw_view, resize, turned
from csmoe_model.data.order import Place, SampleOrder
from csmoe_model.errors import ConfigError, DataError

ALL = [View(turns=turns, flip=flip, top=0, left=0, size=6) for turns in range(4) for flip in (False, True)]


def stream(order, place, world, steps):
    """Epochs, positions and rows of all processes, step by step."""
    each = [islice(order.draws(place, rank, world), steps) for rank in range(world)]
    return [
        (draws.epoch, draws.first + k, int(row))
        for parts in zip(*each, strict=True)
        for draws in parts
        for k, row in enumerate(draws.rows)
    ]


@settings(max_examples=40, deadline=None)
@given(
    num=st.integers(8, 61),
    seed=st.integers(0, 2**63 - 1),
    weighted=st.booleans(),
    world=st.sampled_from([1, 2, 4]),
    skip=st.integers(0, 40),
)
def test_processes_together_are_one_and_go_on_where_they_were(num, seed, weighted, world, skip):
    weights = np.linspace(0.5, 4, num) if weighted else None
    order = SampleOrder(num_rows=num, batch=8, seed=seed, weights=weights)
    whole = stream(order, Place(), 1, skip + 6)
    place = order.after(Place(), skip)
    assert stream(order, place, world, 6) == whole[skip * 8 :]
    assert order.after(order.after(Place(), skip // 2), skip - skip // 2) == place
    assert 0 <= place.step < order.steps


def test_an_epoch_is_a_permutation_and_the_next_another():
    order = SampleOrder(num_rows=21, batch=4, seed=5)
    first, second = order.epoch(0), order.epoch(1)
    assert order.steps == 5 and first.shape == (5, 4)
    assert len(set(first.ravel().tolist())) == 20
    assert (first != second).any() and (first != SampleOrder(num_rows=21, batch=4, seed=6).epoch(0)).any()
    assert np.array_equal(first, order.epoch(0))


@pytest.mark.parametrize("world", [1, 3])
def test_positions_count_through_an_epoch(world):
    order = SampleOrder(num_rows=14, batch=3, seed=0)
    found = stream(order, Place(), world, 6)
    assert [position for _, position, _ in found] == [*range(12), *range(6)]
    assert [epoch for epoch, *_ in found] == [0] * 12 + [1] * 6


@settings(max_examples=40, deadline=None)
@given(
    weights=st.lists(st.floats(0, 50), min_size=5, max_size=40).filter(lambda w: sum(w) > 1e-6), seed=st.integers(0, 99)
)
def test_weighted_rows_come_as_often_as_their_share_says(weights, seed):
    weights = np.array(weights)
    order = SampleOrder(num_rows=len(weights), batch=1, seed=seed, weights=weights)
    counts = np.bincount(order.epoch(3).ravel(), minlength=len(weights))
    expected = weights / weights.sum() * len(weights)
    assert (counts >= np.floor(expected - 1e-6)).all() and (counts <= np.ceil(expected + 1e-6)).all()
    assert not counts[weights == 0].any()


def test_over_epochs_weighted_draws_are_in_proportion():
    weights = np.array([0.2, 1.0, 3.3, 0.0, 2.5])
    order = SampleOrder(num_rows=5, batch=1, seed=11, weights=weights)
    counts = np.bincount(np.concatenate([order.epoch(k).ravel() for k in range(2000)]), minlength=5)
    expected = weights / weights.sum() * 10_000
    seen = expected > 0
    # Systematic draws vary less than independent ones, whose quantile at 1 % this is, with 3 degrees of freedom.
    assert ((counts - expected)[seen] ** 2 / expected[seen]).sum() < 11.3 and counts[3] == 0


def test_the_order_of_weighted_draws_is_random():
    order = SampleOrder(num_rows=400, batch=400, seed=1, weights=np.ones(400))
    rows = order.epoch(0).ravel()
    assert sorted(rows.tolist()) == list(range(400))
    assert abs(np.corrcoef(rows, np.arange(400))[0, 1]) < 0.2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"num_rows": 7}, "7 rows do not fill a batch of 8"),
        ({"weights": np.zeros(20)}, "weights"),
        ({"weights": np.full(20, np.nan)}, "weights"),
        ({"weights": -np.ones(20)}, "weights"),
        ({"weights": np.ones(19)}, "weights"),
    ],
)
def test_what_is_no_order(wrong, said):
    with pytest.raises(DataError, match=said):
        SampleOrder(**{"num_rows": 20, "batch": 8, "seed": 0} | wrong)


def test_a_batch_divides_among_processes():
    with pytest.raises(ConfigError, match="batch of 8 does not divide among 3 processes"):
        next(SampleOrder(num_rows=20, batch=8, seed=0).draws(Place(), 0, 3))


def test_the_views_are_the_eight_symmetries_of_the_square():
    image = np.arange(36).reshape(1, 6, 6)
    found = {turned(image, view).tobytes() for view in ALL}
    assert len(found) == 8
    again = {turned(turned(image, one), other).tobytes() for one in ALL for other in ALL}
    assert again == found
    assert np.array_equal(turned(image, ALL[0]), image)
    assert np.array_equal(turned(image, ALL[1]), image[:, :, ::-1])
    assert np.shares_memory(turned(image, ALL[5]), image)


@settings(max_examples=60, deadline=None)
@given(
    chip=st.integers(5, 90),
    image=st.integers(4, 80),
    scale=st.sampled_from([(1.0, 1.0), (0.5, 0.9), (0.8, 1.2), (1.5, 3.0)]),
    seed=st.integers(0, 1000),
)
def test_windows_lie_in_the_chip_and_are_as_large_as_asked(chip, image, scale, seed):
    view = draw_view(chip, image, scale, torch.Generator().manual_seed(seed))
    assert view == draw_view(chip, image, scale, torch.Generator().manual_seed(seed))
    assert 0 <= view.top <= chip - view.size and 0 <= view.left <= chip - view.size
    edge = min(chip, image)
    assert min(chip, round(scale[0] * edge)) <= view.size <= min(chip, round(scale[1] * edge))
    rows, cols = view.window
    assert (rows.stop - rows.start, cols.stop - cols.start) == (view.size, view.size)


def test_views_reach_all_turns_places_and_sizes():
    chance = torch.Generator().manual_seed(0)
    views = [draw_view(10, 8, (0.75, 1.25), chance) for _ in range(600)]
    assert {(view.turns, view.flip) for view in views} == {(turns, flip) for turns in range(4) for flip in (0, 1)}
    assert {view.size for view in views} == {6, 7, 8, 9, 10}
    assert (
        {view.top for view in views if view.size == 6}
        == {view.left for view in views if view.size == 6}
        == set(range(5))
    )
    small = {draw_view(8, 20, (0.5, 1.2), chance).size for _ in range(200)}
    assert small == {4, 5, 6, 7, 8}  # of a chip that is enlarged anyway, in its own edges


@pytest.mark.parametrize(("chip", "image", "start", "size"), [(10, 6, 2, 6), (11, 6, 2, 6), (6, 6, 0, 6), (5, 8, 0, 5)])
def test_the_middle(chip, image, start, size):
    assert centre_view(chip, image) == View(turns=0, flip=False, top=start, left=start, size=size)


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(3, 40),
    edge=st.integers(3, 40),
    holes=st.integers(0, 60),
    value=st.floats(-3000, 3000, width=32),
    seed=st.integers(0, 99),
)
def test_a_constant_stays_and_missing_pixels_never_leak(size, edge, holes, value, seed):
    chance = np.random.default_rng(seed)
    pixels = np.full((3, size, size), value, np.float32)
    pixels[1].flat[chance.integers(0, size * size, holes)] = np.nan
    resized = resize(pixels, edge)
    assert resized.shape == (3, edge, edge)
    np.testing.assert_allclose(resized[[0, 2]], value, rtol=1e-5, atol=1e-30)
    np.testing.assert_allclose(resized[1][np.isfinite(resized[1])], value, rtol=1e-5, atol=1e-30)
    if not holes:
        assert np.isfinite(resized).all()


@pytest.mark.parametrize("edge", [7, 12, 24, 31])
def test_resize_is_bilinear_where_all_is_valid_and_near_holes_a_mean_of_the_valid(edge):
    rows, cols = np.mgrid[:12, :12].astype(np.float32)
    field = (3 * rows - 2 * cols + 5)[None]
    resized = resize(field, edge)
    centres = (np.arange(edge) + 0.5) * 12 / edge - 0.5
    inner = slice(2, -2)  # at the edge there is nothing beyond to interpolate with
    expected = 3 * centres[:, None] - 2 * centres + 5
    np.testing.assert_allclose(resized[0, inner, inner], expected[inner, inner], atol=0.5 if edge < 12 else 1e-4)
    holed = field.copy()
    holed[0, :, :6] = np.nan
    found = resize(holed, edge)[0]
    boundary = edge // 2
    assert np.isnan(found[:, : boundary - 2]).all() and np.isfinite(found[:, boundary + 2 :]).all()
    far = slice(boundary + 3, None)
    np.testing.assert_allclose(found[:, far], resized[0][:, far], rtol=1e-5)


def test_a_smaller_image_is_a_mean_not_a_pick():
    """Single bright pixels do not come and go with their place."""
    pixels = np.zeros((1, 40, 40), np.float32)
    pixels[0, ::4, ::4] = 16
    assert resize(pixels, 10)[0, 2:-2, 2:-2].std() < 0.5
    assert abs(resize(pixels, 10).mean() - 1) < 0.2


@pytest.mark.parametrize("view", ALL, ids=lambda view: f"{view.turns}{'f' if view.flip else ''}")
def test_resizing_and_turning_commute(view):
    pixels = np.random.default_rng(0).normal(size=(2, 9, 9)).astype(np.float32)
    one, other = turned(resize(pixels, 6), view), resize(np.ascontiguousarray(turned(pixels, view)), 6)
    np.testing.assert_allclose(one, other, atol=1e-5)
