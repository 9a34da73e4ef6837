"""The linear probe against scikit-learn by hand, and classification of whole sets: views, floors, what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, balanced_accuracy_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from csmoe_model.errors import ConfigError, DataError
from csmoe_model.evaluation.classification import ClassifyConfig, classify, prior_floor
from csmoe_model.evaluation.dataset import Bands, EvaluationSet
from csmoe_model.evaluation.extract import Features
from csmoe_model.evaluation.linear_probe import Labelled, ProbeConfig, linear_probe
from csmoe_model.evaluation.metrics.classification import single_label

CLASSES = ("forest", "water", "ice", "crops")
SMALL = ProbeConfig(tolerance=1e-5, max_iter=2000, strengths=(0.001, 0.1, 10.0))


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def drawn(num, seed, *, several=False, classes=4, dim=6):
    """Features of unlike scales, one constant, that tell the classes in part."""
    chance = np.random.default_rng(seed)
    if several:
        labels = chance.random((num, classes)) < np.linspace(0.6, 0.2, classes)
        signal = labels.astype(float)
    else:
        labels = chance.choice(classes, num, p=np.arange(classes, 0, -1) / sum(range(classes + 1)))
        signal = np.eye(classes)[labels]
    mixed = signal @ np.random.default_rng(99).normal(size=(classes, dim - 1)) + chance.normal(size=(num, dim - 1))
    columns = np.c_[mixed * 10.0 ** np.arange(-2, dim - 3) + 5, np.full(num, 7.3)]
    return Labelled(torch.from_numpy(columns).float(), labels)


def by_hand(train, validation, test, strengths, several):
    """A pipeline of scikit-learn for each C, and for the best one on both splits, scaled by training."""
    curve = {}
    fits = {}
    for strength in strengths:
        model = LogisticRegression(C=strength, max_iter=5000, tol=1e-7)
        fits[strength] = make_pipeline(StandardScaler(), OneVsRestClassifier(model) if several else model)
        fits[strength].fit(train.features.double(), train.labels)
        if several:
            scores = fits[strength].predict_proba(validation.features.double())
            curve[strength] = average_precision_score(validation.labels, scores, average="macro")
        else:
            said = fits[strength].predict(validation.features.double())
            curve[strength] = balanced_accuracy_score(validation.labels, said)
    best = max(curve, key=curve.get)
    scaler = StandardScaler().fit(train.features.double())
    model = LogisticRegression(C=best, max_iter=5000, tol=1e-7)
    final = OneVsRestClassifier(model) if several else model
    both = torch.cat([train.features, validation.features]).double()
    final.fit(scaler.transform(both), np.concatenate([train.labels, validation.labels]))
    scores = final.predict_proba(scaler.transform(test.double()))
    return best, curve, fits[best].predict_proba(validation.features.double()), scores


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_probe_equals_scikit_learn_by_hand(several, seed):
    train, validation = drawn(150, seed, several=several), drawn(90, seed + 10, several=several)
    test = drawn(40, seed + 20).features
    config = ProbeConfig(strengths=(10.0, 0.001, 0.1), tolerance=1e-7)
    found = linear_probe(train, validation, test, 4, config)
    best, curve, held_out, scores = by_hand(train, validation, test, (0.001, 0.1, 10.0), several)
    assert found.curve == pytest.approx(curve)
    assert found.strength == best
    np.testing.assert_allclose(found.validation, held_out, atol=5e-5)
    np.testing.assert_allclose(found.test, scores, atol=5e-5)


def test_two_classes_are_a_case_like_others():
    train, validation = (Labelled(x, (y > 0).astype(np.int64)) for x, y in (drawn(80, 0), drawn(50, 1)))
    test = drawn(20, 2).features
    found = linear_probe(train, validation, test, 2, SMALL)
    best, _, _, scores = by_hand(train, validation, test, SMALL.strengths, several=False)
    assert found.strength == best
    np.testing.assert_allclose(found.test, scores, atol=1e-3)


def test_of_equally_good_strengths_the_smallest_is_taken_and_an_edge_is_told():
    x = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]])
    own = Labelled(x, np.array([0, 0, 1, 1]))
    found = linear_probe(own, own, x, 2, ProbeConfig(strengths=(1.0, 0.1, 10.0)))
    assert found.strength == 0.1
    assert found.notes == ("the best C, 0.1, is at the edge of those tried",)


@pytest.mark.parametrize("several", [False, True])
def test_test_samples_change_nothing_but_their_own_scores(several):
    train, validation = drawn(80, 0, several=several), drawn(50, 1, several=several)
    test = drawn(20, 2).features
    whole = linear_probe(train, validation, test, 4, SMALL)
    part = linear_probe(train, validation, test[3:5], 4, SMALL)
    assert part.strength == whole.strength
    np.testing.assert_allclose(part.test, whole.test[3:5], rtol=1e-6)


def test_classes_that_training_does_not_have():
    train, validation = drawn(80, 0), drawn(50, 1)
    train.labels[train.labels == 2] = 0
    validation.labels[validation.labels == 2] = 1
    found = linear_probe(train, validation, drawn(20, 2).features, 4, SMALL)
    assert (found.test[:, 2] == 0).all()
    np.testing.assert_allclose(found.test.sum(1), 1, rtol=1e-5)
    only = linear_probe(Labelled(train.features, np.full(80, 3)), validation, train.features, 4, SMALL)
    assert (only.validation.argmax(1) == 3).all()
    assert only.test.shape == (80, 4)


def test_labels_that_all_or_no_training_samples_have():
    train, validation = drawn(80, 0, several=True), drawn(50, 1, several=True)
    for split in (train, validation):
        split.labels[:, 0], split.labels[:, 2] = False, True
    found = linear_probe(train, validation, drawn(20, 2).features, 4, SMALL)
    assert (found.test[:, 0] == 0).all()
    assert (found.test[:, 2] == 1).all()
    assert np.ptp(found.test[:, 1]) > 0.1


@pytest.mark.parametrize("several", [False, True])
def test_a_fit_that_did_not_converge_is_told(several):
    train, validation = drawn(80, 0, several=several), drawn(50, 1, several=several)
    found = linear_probe(train, validation, train.features, 4, ProbeConfig(strengths=(10.0,), max_iter=2))
    count = "4 of 4" if several else "1 of 1"
    assert found.notes == (f"{count} fits with C 10 did not converge",) * 2


@pytest.mark.parametrize("several", [False, True])
def test_without_validation_there_is_no_probe(several):
    train = drawn(30, 0, several=several)
    with pytest.raises(DataError, match="no labelled validation samples to choose C on, which is never done on test"):
        linear_probe(train, Labelled(train.features[:0], train.labels[:0]), train.features, 4, SMALL)
    with pytest.raises(DataError, match="no training samples"):
        linear_probe(Labelled(train.features[:0], train.labels[:0]), train, train.features, 4, SMALL)


def scene(*, several=False, splits=("train", "validation", "test"), num=60, groups=False):
    """A data set of two sensors, whose second the third sample of each split lacks, and its features."""
    parts = {split: drawn(num + 7 * k, k, several=several) for k, split in enumerate(splits)}
    split = np.concatenate([[name] * len(part.labels) for name, part in parts.items()])
    labels = np.concatenate([part.labels for part in parts.values()])
    count = len(split)
    order = np.random.default_rng(0).permutation(count)
    data = EvaluationSet(
        name="demo",
        task="multi_label" if several else "single_label",
        sensors={"s1": Bands(names=("VV",), unit="dB", gsd_m=10)},
        classes=CLASSES,
        ids=np.array([f"sample {k}" for k in range(count)]),
        split=split[order],
        labels=labels[order],
        reader=None,
        group=np.array([f"place {k // 5}" for k in range(count)]) if groups else None,
    )
    pooled = torch.cat([part.features for part in parts.values()])[torch.from_numpy(order)]
    features = {}
    for name in splits:
        samples = data.of_split(name)
        has = np.ones(len(samples), bool)
        has[2] = False
        own = {"s1": pooled[samples] * 0.1, "s2": pooled[samples][:, :4] * torch.from_numpy(has)[:, None]}
        features[name] = Features(samples=samples, pooled=own, has={"s1": np.ones(len(samples), bool), "s2": has})
    return data, features


QUICK = ClassifyConfig(neighbours=(1, 5, 200), probe=SMALL, resamples=60)


def test_every_method_stands_for_every_view_with_its_convention():
    data, features = scene()
    found = classify(features, data, QUICK)
    keys = {name.split("/accuracy/micro")[0] for name in found.figures if name.endswith("/accuracy/micro")}
    methods = ["knn1-cosine", "knn5-cosine", "knn1-l2", "knn5-l2", "linear"]
    assert keys == {f"{method}/{view}" for method in methods for view in ("s1", "s2", "joint")} == set(found.confusion)
    assert found.confusion["linear/s1"].sum() == len(features["test"].samples)
    assert (
        found.confusion["linear/s2"].sum() == found.confusion["linear/joint"].sum() == len(features["test"].samples) - 1
    )
    figure = found.figures["linear/s2/accuracy/macro"]
    assert figure.low < figure.value < figure.high
    matrix = found.confusion["linear/s2"]
    assert figure.value == pytest.approx((matrix.diagonal() / matrix.sum(1)).mean())
    assert "linear/s1/accuracy/class/water" in found.figures
    assert set(found.curves["linear/joint"]) == set(SMALL.strengths)
    assert "s1: no k-NN of 200 neighbours among 60 training samples" in found.notes


def test_figures_of_the_probe_are_those_of_the_probe_alone():
    data, features = scene()
    found = classify(features, data, replace_methods("linear"))
    own = {name: Labelled(part.pooled["s1"], data.labels[part.samples]) for name, part in features.items()}
    probed = linear_probe(own["train"], own["validation"], own["test"].features, 4, SMALL)
    wanted = single_label(own["test"].labels, probed.test.argmax(1), CLASSES)
    for name, figure in wanted.items():
        assert found.figures[f"linear/s1/{name}"].value == figure.value


def replace_methods(*methods):
    return QUICK.model_copy(update={"methods": methods})


def test_several_labels_have_a_threshold_from_validation():
    data, features = scene(several=True)
    found = classify(features, data, QUICK)
    assert not found.confusion
    assert set(found.thresholds) == {
        name.split("/f1@tuned/micro")[0] for name in found.figures if "tuned/micro" in name
    }
    truth = data.labels[features["test"].samples]
    own = {name: Labelled(part.pooled["s1"], data.labels[part.samples]) for name, part in features.items()}
    probed = linear_probe(own["train"], own["validation"], own["test"].features, 4, SMALL)
    oracle = average_precision_score(truth, probed.test, average="macro")
    assert found.figures["linear/s1/average_precision/macro"].value == pytest.approx(oracle)
    alone = classify({k: v for k, v in features.items() if k != "validation"}, data, replace_methods("knn"))
    assert not alone.thresholds
    assert "s1: no validation samples, hence no tuned threshold" in alone.notes


def test_without_a_validation_split_only_neighbours_are_measured():
    data, features = scene(splits=("train", "test"))
    with pytest.raises(DataError, match=r"data set demo: has no validation samples .* never done on test"):
        classify(features, data, QUICK)
    found = classify(features, data, replace_methods("knn"))
    assert {name.split("-")[0] for name in found.figures} == {"knn1", "knn5"}


def test_the_floor_is_the_commonest_class_of_training():
    data, _ = scene()
    found = prior_floor(data, QUICK)
    train, test = (data.labels[data.split == name] for name in ("train", "test"))
    commonest = np.bincount(train).argmax()
    assert found["prior/accuracy/micro"].value == pytest.approx((test == commonest).mean())
    assert found["prior/accuracy/macro"].value == pytest.approx(1 / len(np.unique(test)))


def test_the_floor_of_several_labels_is_their_share_in_training():
    data, _ = scene(several=True)
    found = prior_floor(data, QUICK)
    train, test = (data.labels[data.split == name] for name in ("train", "test"))
    assert found["prior/average_precision/class/ice"].value == pytest.approx(test[:, 2].mean())
    scores = np.tile(train.mean(0), (len(test), 1))
    assert found["prior/average_precision/micro"].value == pytest.approx(
        average_precision_score(test, scores, average="micro")
    )
    assert found["prior/f1@tuned/micro"].value >= found["prior/f1@0.5/micro"].value


def test_intervals_over_groups_need_groups():
    data, features = scene()
    config = replace_methods("knn").model_copy(update={"by_group": True})
    with pytest.raises(ConfigError, match="data set demo: has no groups"):
        classify(features, data, config)
    data, features = scene(groups=True)
    grouped = classify(features, data, config).figures["knn5-cosine/s1/accuracy/micro"]
    loose = classify(features, data, replace_methods("knn")).figures["knn5-cosine/s1/accuracy/micro"]
    assert grouped.value == loose.value
    assert grouped[1:] != loose[1:]
    none = classify(features, data, config.model_copy(update={"resamples": 0}))
    assert math.isnan(none.figures["knn5-cosine/s1/accuracy/micro"].low)


def test_what_is_missing_is_told():
    data, features = scene()
    features["test"].has["s2"][:] = False
    features["validation"].has["s1"][:] = False
    data.labels[features["test"].samples] = np.minimum(data.labels[features["test"].samples], 2)
    train = data.labels[features["train"].samples]
    data.labels[features["train"].samples] = np.where(train == 1, 0, train)
    found = classify(features, data, QUICK)
    assert "s2: left out, no test samples have it" in found.notes
    assert "s1: no linear probe, no validation samples have it" in found.notes
    assert "s1: no test sample is crops: left out of macro figures" in found.notes
    assert "s1: no training sample is water, but test samples are" in found.notes
    assert {name.split("/")[1] for name in found.figures} == {"s1"}


def test_a_set_without_labels_is_refused():
    data, features = scene()
    with pytest.raises(DataError, match="data set demo: has no labels of whole samples"):
        classify(features, replace(data, labels=None), QUICK)
