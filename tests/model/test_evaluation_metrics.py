"""Metrics and intervals against scikit-learn, torchmetrics and plain loops: absent classes, ties, ignored pixels."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index

from csmoe_model.errors import DataError
from csmoe_model.evaluation.figures import Figure
from csmoe_model.evaluation.metrics.classification import (
    _Ranking,
    best_threshold,
    confusion,
    multi_label,
    single_label,
)
from csmoe_model.evaluation.metrics.intervals import Resampling, means, over_seeds, with_intervals
from csmoe_model.evaluation.metrics.segmentation import PixelCounts

NAMES = ("forest", "water", "ice", "crops", "city")
SEEDS = st.integers(0, 10_000)
FEW = settings(max_examples=40, deadline=None)


def codes(chance, num, classes=5):
    """Truth of unequal classes, the third absent, and predictions that are mostly right."""
    truth = chance.choice([0, 1, 3, 4], num, p=[0.5, 0.3, 0.15, 0.05])
    return truth, np.where(chance.random(num) < 0.6, truth, chance.integers(0, classes, num))


def sets(chance, num, classes=5, decimals=1):
    """Truth with an absent class, and coarse scores, so that many are equal."""
    truth = chance.random((num, classes)) < [0.5, 0.3, 0.0, 0.1, 0.8]
    return truth, np.clip(chance.random((num, classes)) * 0.7 + 0.3 * truth, 0, 1).round(decimals)


@FEW
@given(num=st.integers(1, 60), seed=SEEDS)
def test_single_labels_equal_the_libraries(num, seed):
    truth, predicted = codes(np.random.default_rng(seed), num)
    found = single_label(truth, predicted, NAMES)
    occurring = np.unique(truth)
    assert found["accuracy/micro"].value == pytest.approx(sk.accuracy_score(truth, predicted))
    recalls = sk.recall_score(truth, predicted, labels=occurring, average=None, zero_division=0)
    assert found["accuracy/macro"].value == pytest.approx(recalls.mean())
    f1 = sk.f1_score(truth, predicted, labels=occurring, average=None, zero_division=0)
    assert found["f1/macro"].value == pytest.approx(f1.mean())
    for place, code in enumerate(occurring):
        assert found[f"accuracy/class/{NAMES[code]}"].value == pytest.approx(recalls[place])
        assert found[f"f1/class/{NAMES[code]}"].value == pytest.approx(f1[place])
    assert not any(name.endswith("/ice") for name in found)
    pair = torch.from_numpy(predicted), torch.from_numpy(truth)
    assert found["accuracy/micro"].value == pytest.approx(
        float(multiclass_accuracy(*pair, num_classes=5, average="micro"))
    )


def test_the_confusion_matrix_has_the_truth_in_its_rows_and_all_classes():
    matrix = confusion(np.array([0, 0, 0, 1]), np.array([3, 3, 0, 1]), 5)
    assert matrix.shape == (5, 5)
    assert (matrix[0, 3], matrix[0, 0], matrix[1, 1], matrix.sum()) == (2, 1, 1, 4)


@FEW
@given(num=st.integers(3, 60), seed=SEEDS, tuned=st.sampled_from([0.35, 0.7]))
def test_multi_labels_equal_scikit_learn(num, seed, tuned):
    truth, scores = sets(np.random.default_rng(seed), num)
    found = multi_label(truth, scores, NAMES, tuned=tuned)
    occurring = np.flatnonzero(truth.any(0))
    each = [sk.average_precision_score(truth[:, k], scores[:, k]) for k in occurring]
    assert found["average_precision/macro"].value == pytest.approx(np.mean(each))
    micro = sk.average_precision_score(truth, scores, average="micro")
    assert found["average_precision/micro"].value == pytest.approx(micro)
    for label, threshold in (("0.5", 0.5), ("tuned", tuned)):
        said = scores > threshold
        f1 = sk.f1_score(truth, said, labels=occurring, average=None, zero_division=0)
        assert found[f"f1@{label}/macro"].value == pytest.approx(f1.mean())
        whole = sk.f1_score(truth, said, average="micro", zero_division=0)
        assert found[f"f1@{label}/micro"].value == pytest.approx(whole)
        assert {name for name in found if name.startswith(f"f1@{label}/class/")} == {
            f"f1@{label}/class/{NAMES[k]}" for k in occurring
        }
    for k, value in zip(occurring, each, strict=True):
        assert found[f"average_precision/class/{NAMES[k]}"].value == pytest.approx(value)


@FEW
@given(num=st.integers(2, 40), seed=SEEDS, decimals=st.sampled_from([1, 6]))
def test_average_precision_of_resamples_is_that_of_weights(num, seed, decimals):
    chance = np.random.default_rng(seed)
    truth, scores = sets(chance, num, decimals=decimals)
    weights = np.maximum(chance.integers(0, 4, (3, num)), [[0], [0], [1]]).astype(float)
    if not truth[:, 1].any():
        return
    found = _Ranking(truth[:, 1:2], scores[:, 1:2]).average_precision(weights)
    together = _Ranking(truth, scores).average_precision(weights)
    for row, weight in enumerate(weights):
        if weight[truth[:, 1]].sum():
            oracle = sk.average_precision_score(truth[:, 1], scores[:, 1], sample_weight=weight)
            assert found[row] == pytest.approx(oracle)
        else:
            assert math.isnan(found[row])
        if (truth * weight[:, None]).any():
            oracle = sk.average_precision_score(truth.ravel(), scores.ravel(), sample_weight=np.repeat(weight, 5))
            assert together[row] == pytest.approx(oracle)


@FEW
@given(num=st.integers(2, 40), seed=SEEDS)
def test_no_threshold_does_better_than_the_tuned_one(num, seed):
    truth, scores = sets(np.random.default_rng(seed), num)
    own = best_threshold(truth, scores)
    tried = np.concatenate([[-1.0], np.unique(scores) + 0.01])
    best = max(sk.f1_score(truth, scores > one, average="micro", zero_division=0) for one in tried)
    assert sk.f1_score(truth, scores > own, average="micro", zero_division=0) == pytest.approx(best)


def test_a_threshold_where_nothing_is_true_is_one_half():
    assert best_threshold(np.zeros((3, 2), bool), np.ones((3, 2))) == 0.5


def masks(chance, num=4, shape=(5, 7), ignore=255):
    """Class 2 never in the reference, class 4 in one image only, some pixels ignored."""
    reference = chance.choice([0, 1, 3], (num, *shape), p=[0.6, 0.3, 0.1])
    reference[0, 0, :2] = 4
    predicted = np.where(chance.random(reference.shape) < 0.7, reference, chance.integers(0, 5, reference.shape))
    reference[chance.random(reference.shape) < 0.1] = ignore
    return torch.from_numpy(predicted), torch.from_numpy(reference)


def plain_iou(predicted, reference):
    """By class that the reference has, in a plain loop over pixels."""
    found = {}
    pixels = [(p, r) for p, r in zip(predicted.flatten().tolist(), reference.flatten().tolist(), strict=True)]
    pixels = [(p, r) for p, r in pixels if r != 255]
    for k in sorted({r for _, r in pixels}):
        both = sum(p == k and r == k for p, r in pixels)
        found[k] = both / sum(p == k or r == k for p, r in pixels)
    return found


@FEW
@given(seed=SEEDS, parts=st.sampled_from([(4,), (1, 3), (2, 2)]))
def test_segmentation_equals_plain_loops_and_torchmetrics(seed, parts):
    predicted, reference = masks(np.random.default_rng(seed))
    counts = PixelCounts(NAMES, ignore_index=255)
    for own, truth in zip(predicted.split(parts), reference.split(parts), strict=True):
        counts.add(own, truth)
    found = {name: figure.value for name, figure in counts.figures().items()}
    each = plain_iou(predicted, reference)
    assert found["miou/dataset"] == pytest.approx(np.mean(list(each.values())))
    assert {name: found[f"iou/class/{name}"] for name in NAMES if f"iou/class/{name}" in found} == pytest.approx(
        {NAMES[k]: value for k, value in each.items()}
    )
    images = [np.mean(list(plain_iou(*pair).values())) for pair in zip(predicted, reference, strict=True)]
    assert found["miou/image"] == pytest.approx(np.mean(images))
    assert counts.image_miou == pytest.approx(np.array(images))
    known = reference != 255
    settings = {"num_classes": 5, "ignore_index": 255}
    for name, average in (("iou/micro", "micro"), ("miou/dataset-predicted", "macro")):
        oracle = multiclass_jaccard_index(predicted, reference, average=average, **settings)
        assert found[name] == pytest.approx(float(oracle), abs=1e-6)
    truth, said = reference[known].numpy(), predicted[known].numpy()
    assert found["accuracy/pixel"] == pytest.approx((truth == said).mean())
    f1 = sk.f1_score(truth, said, labels=np.unique(truth), average="macro", zero_division=0)
    assert found["f1/macro"] == pytest.approx(f1)
    assert (counts.confusion == sk.confusion_matrix(truth, said, labels=range(5))).all()


def test_an_absent_class_counts_neither_as_0_nor_as_1():
    reference = torch.tensor([[[0, 0, 0, 1]]])
    for predicted, wanted, with_predicted in (
        ([[[0, 0, 0, 1]]], 1.0, 1.0),
        ([[[0, 0, 1, 1]]], (2 / 3 + 1 / 2) / 2, (2 / 3 + 1 / 2) / 2),
        ([[[0, 0, 2, 1]]], (2 / 3 + 1) / 2, (2 / 3 + 1 + 0) / 3),
    ):
        counts = PixelCounts(("land", "water", "ice"))
        counts.add(torch.tensor(predicted), reference)
        found = counts.figures()
        assert found["miou/dataset"].value == pytest.approx(wanted)
        assert found["miou/dataset-predicted"].value == pytest.approx(with_predicted)
        assert "iou/class/ice" not in found


def test_images_that_are_ignored_whole_count_for_nothing():
    counts = PixelCounts(("land", "water"), ignore_index=-1)
    counts.add(torch.tensor([[[0, 1]], [[1, 1]]]), torch.tensor([[[0, 0]], [[-1, -1]]]))
    assert counts.figures()["miou/image"].value == 0.5
    assert counts.confusion.tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize(
    ("predicted", "reference", "which"), [([[[0]]], [[[7]]], "reference"), ([[[2]]], [[[0]]], "pred")]
)
def test_a_code_that_is_no_class_is_refused(predicted, reference, which):
    with pytest.raises(DataError, match=f"{which}.* mask: has codes . to . for 2 classes"):
        PixelCounts(("land", "water"), ignore_index=255).add(torch.tensor(predicted), torch.tensor(reference))


@FEW
@given(seed=SEEDS)
def test_figures_do_not_depend_on_the_order_of_the_samples(seed):
    chance = np.random.default_rng(seed)
    order = chance.permutation(30)
    truth, predicted = codes(chance, 30)
    one, other = single_label(truth, predicted, NAMES), single_label(truth[order], predicted[order], NAMES)
    assert {k: v.value for k, v in one.items()} == pytest.approx({k: v.value for k, v in other.items()})
    labels, scores = sets(chance, 30)
    one, other = multi_label(labels, scores, NAMES), multi_label(labels[order], scores[order], NAMES)
    assert {k: v.value for k, v in one.items()} == pytest.approx({k: v.value for k, v in other.items()})


def test_every_interval_holds_its_value():
    chance = np.random.default_rng(1)
    truth, predicted = codes(chance, 400)
    labels, scores = sets(chance, 400, decimals=4)
    counts = PixelCounts(NAMES, ignore_index=255)
    counts.add(*masks(chance, num=40))
    for figures in (
        single_label(truth, predicted, NAMES, Resampling()),
        multi_label(labels, scores, NAMES, tuned=0.4, resampling=Resampling(resamples=300)),
        counts.figures(Resampling()),
    ):
        for name, (value, low, high) in figures.items():
            assert low < value < high or (name == "iou/class/city"), name


def test_the_bootstrap_is_that_of_a_plain_loop():
    values = np.random.default_rng(3).exponential(size=50)
    found = means({"mean": values}, Resampling(resamples=2000, seed=4))["mean"]
    chance = np.random.default_rng(5)
    drawn = [values[chance.integers(50, size=50)].mean() for _ in range(4000)]
    assert found.value == pytest.approx(values.mean())
    assert found[1:] == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.02)


def test_intervals_hold_the_mean_of_the_distribution_as_often_as_they_say():
    chance = np.random.default_rng(0)
    held = 0
    for seed in range(400):
        figure = means({"mean": chance.normal(2.0, 3.0, 80)}, Resampling(resamples=300, seed=seed))["mean"]
        held += figure.low <= 2.0 <= figure.high
    assert 0.91 <= held / 400 <= 0.98


def test_groups_are_drawn_whole():
    """Ten places of eight equal samples each: as uncertain as ten samples, not as eighty."""
    of_place = np.random.default_rng(0).normal(size=10)
    values, groups = np.repeat(of_place, 8), np.repeat([f"place {k}" for k in range(10)], 8)
    alone = means({"mean": of_place}, Resampling(seed=1))["mean"]
    whole = means({"mean": values}, Resampling(seed=1, groups=groups))["mean"]
    loose = means({"mean": values}, Resampling(seed=1))["mean"]
    assert whole == pytest.approx(alone)
    assert loose.high - loose.low < 0.6 * (whole.high - whole.low)


def test_undefined_values_are_left_out_and_seeds_repeat():
    values = {"a": np.array([1.0, np.nan, 3.0, 2.4, 7.1]), "b": np.full(5, np.nan)}
    one, again, other = (means(values, Resampling(resamples=50, seed=seed)) for seed in (0, 0, 1))
    assert one["a"].value == pytest.approx(13.5 / 4)
    assert all(math.isnan(part) for part in one["b"])
    assert one["a"] == again["a"] != other["a"]
    assert math.isnan(means(values, None)["a"].low)


def test_blocks_of_resamples_change_nothing(monkeypatch):
    measure = {"mean": np.random.default_rng(0).normal(size=30)}
    whole = means(measure, Resampling(resamples=100))
    monkeypatch.setattr("csmoe_model.evaluation.metrics.intervals._CELLS", 30 * 7)
    assert means(measure, Resampling(resamples=100)) == whole


def test_a_measure_sees_as_many_draws_as_samples():
    seen = []
    with_intervals(lambda w: seen.append(w) or {"n": w.sum(1)}, 6, Resampling(resamples=9))
    assert seen[0].tolist() == [[1.0] * 6]
    assert seen[1].shape == (9, 6)
    assert (seen[1].sum(1) == 6).all()


def test_seeds_are_combined_by_their_mean_and_t_interval():
    runs = [{"a": Figure(value), "b": Figure(0.5)} for value in (0.70, 0.74, 0.75)] + [{"a": Figure(0.73)}]
    found = over_seeds(runs)
    values = np.array([0.70, 0.74, 0.75, 0.73])
    half = 3.182446 * values.std(ddof=1) / 2
    assert found == {"a": pytest.approx(Figure(values.mean(), values.mean() - half, values.mean() + half))}
    assert over_seeds(runs[:1])["a"].value == 0.70
    assert math.isnan(over_seeds(runs[:1])["a"].low)
