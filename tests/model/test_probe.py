"""The probe: neighbours and retrieval against plain loops and scikit-learn, floors, places that lack a sensor."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from torch.nn import functional

from csmoe_model.config import EncoderConfig
from csmoe_model.data.samples import Batch
from csmoe_model.errors import DataError
from csmoe_model.nn.model import CSMoE
from csmoe_model.train.diagnose import effective_rank
from csmoe_model.train.probe import RIDGES, Probe, _block, image_statistics, knn_scores, linear_score, retrieval_scores
from model.small_models import model_config

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labels_of(count, names=("forest", "water", "ice"), seed=0):
    return np.random.default_rng(seed).choice(np.array(names), count, p=[0.6, 0.3, 0.1])


def vote(similarity, labels):
    """The plain loop: commonest label of the five nearest, then the label of the nearest among those."""
    order = sorted(range(len(labels)), key=lambda k: (-similarity[k], k))[:5]
    counts = Counter(labels[k] for k in order)
    return next(labels[k] for k in order if counts[labels[k]] == max(counts.values()))


@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_linear_score_is_that_of_ridge_regression_by_hand(num_classes):
    train, query = gaussian(60, 5, seed=1), gaussian(25, 5, seed=2)
    # The labels follow from a direction of small variance, which neighbours do not see.
    train[:, 0] *= 0.01
    query[:, 0] *= 0.01
    names = np.array(["forest", "ice", "bare"])
    bounds = [0.0] if num_classes == 2 else [-0.005, 0.005]
    labels, truth = (names[np.digitize(part[:, 0].numpy(), bounds)] for part in (train, query))
    found = linear_score(train, labels, query, truth)
    assert found > knn_scores(train, labels, query, truth)[0] + 0.1
    mean, std = train.double().mean(0), train.double().std(0, correction=0)
    own, asked = ((part.double() - mean) / std for part in (train, query))
    known = np.unique(labels)
    targets = torch.tensor([[1.0 if label == name else -1.0 for name in known] for label in labels]).double()
    centre = targets.mean(0)
    errors, predictions = [], []
    for ridge in RIDGES:
        solve = torch.linalg.inv(own.T @ own + ridge * torch.eye(5).double()) @ own.T
        hat = own @ solve + 1 / len(own)
        errors.append(float((((targets - hat @ targets) / (1 - hat.diagonal()[:, None])) ** 2).mean()))
        predictions.append(known[(asked @ solve @ (targets - centre) + centre).argmax(1)])
    assert found == np.mean(predictions[int(np.argmin(errors))] == truth)


def test_places_without_labels_are_only_searched():
    config = model_config()
    batches = (batch_of(config, labels_of(count), seed=count) for count in (12, 7))
    probe = Probe(*batches, np.array([""] * 12), np.array([""] * 7))
    figures = probe.figures(built(config), torch.device("cpu"))
    for found in (figures, probe.floor()):
        assert "retrieval/s1>s2" in found
        assert not any(key.startswith(("knn", "linear")) for key in found)
    assert probe.caveats() == []


@settings(max_examples=40, deadline=None)
@given(train=st.integers(1, 12), queries=st.integers(1, 9), dim=st.integers(1, 3), seed=st.integers(0, 10_000))
def test_neighbours_equal_a_plain_loop_ties_included(train, queries, dim, seed):
    """Small whole numbers: equal cosines and equal votes are common."""
    chance = np.random.default_rng(seed)
    one, other = (torch.from_numpy(chance.integers(-1, 2, (n, dim))).float() for n in (train, queries))
    labels, truth = labels_of(train, seed=seed), labels_of(queries, seed=seed + 1)
    cosines = (
        (functional.normalize(other.double(), dim=1) @ functional.normalize(one.double(), dim=1).T).numpy().round(9)
    )
    found = np.array([vote(row, labels) for row in cosines])
    accuracy, balanced = knn_scores(one, labels, other, truth)
    assert accuracy == pytest.approx(np.mean(found == truth))
    assert balanced == pytest.approx(np.mean([np.mean(found[truth == label] == label) for label in set(truth)]))


def test_neighbours_equal_scikit_learn():
    """Two labels and five votes: no ties."""
    train, queries = gaussian(60, 7), gaussian(41, 7, seed=1)
    labels, truth = (np.where(x[:, 0] + 0.5 * x[:, 1] > 0.3, "a", "b") for x in (train.numpy(), queries.numpy()))
    theirs = KNeighborsClassifier(5, metric="cosine", algorithm="brute").fit(train.numpy(), labels)
    found = theirs.predict(queries.numpy())
    expected = np.mean(found == truth), balanced_accuracy_score(truth, found)
    assert knn_scores(train, labels, queries, truth) == pytest.approx(expected)


def test_length_of_features_does_not_matter():
    train, queries, labels, truth = gaussian(20, 4), gaussian(9, 4, seed=1), labels_of(20), labels_of(9, seed=1)
    longer = train * torch.linspace(0.1, 90.0, 20)[:, None]
    assert knn_scores(longer, labels, queries, truth) == knn_scores(train, labels, queries, truth)


@settings(max_examples=40, deadline=None)
@given(places=st.integers(1, 10), dim=st.integers(1, 3), seed=st.integers(0, 10_000))
def test_retrieval_is_the_expectation_over_random_orders_of_ties(places, dim, seed):
    chance = np.random.default_rng(seed)
    one, other = (torch.from_numpy(chance.integers(-1, 2, (places, dim))).float() for _ in range(2))
    cosines = (
        (functional.normalize(one.double(), dim=1) @ functional.normalize(other.double(), dim=1).T).numpy().round(9)
    )
    firsts, inverses = [], []
    for k, row in enumerate(cosines):
        before, alike = int((row > row[k]).sum()), int((row == row[k]).sum())
        ranks = range(before + 1, before + alike + 1)  # each as likely
        firsts.append(np.mean([rank == 1 for rank in ranks]))
        inverses.append(np.mean([1 / rank for rank in ranks]))
    assert retrieval_scores(one, other) == pytest.approx((np.mean(firsts), np.mean(inverses)))


def test_retrieval_closed_forms():
    one = gaussian(37, 8)
    assert retrieval_scores(one, one * 3.0) == (1.0, 1.0)
    harmonic = sum(1 / k for k in range(1, 38))
    collapsed = gaussian(1, 8, seed=1).expand(37, -1)
    assert retrieval_scores(one, collapsed) == pytest.approx((1 / 37, harmonic / 37))
    assert retrieval_scores(collapsed, collapsed) == pytest.approx((1 / 37, harmonic / 37))
    basis = torch.eye(6)
    assert retrieval_scores(basis, basis.roll(1, 0) + 0.1 * basis)[1] == pytest.approx(1 / 2)  # the right one is second


def test_retrieval_has_a_direction():
    one = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    other = torch.tensor([[1.0, 0.0], [0.1, 0.9], [0.0, 1.0]])
    assert retrieval_scores(one, other)[0] == pytest.approx(2 / 3)
    assert retrieval_scores(other, one)[0] == pytest.approx(2 / 3)
    assert retrieval_scores(one, other)[1] == pytest.approx((1 + 1 / 2 + 1) / 3)


def test_features_that_are_not_finite_give_no_figures():
    bad = gaussian(6, 3)
    bad[2, 1] = math.nan
    labels = labels_of(6)
    assert all(map(math.isnan, knn_scores(bad, labels, gaussian(6, 3), labels)))
    assert all(map(math.isnan, retrieval_scores(gaussian(6, 3), bad)))


def test_image_statistics_look_at_valid_pixels_only():
    images, valid = gaussian(3, 2, 5, 4), gaussian(3, 2, 5, 4, seed=1) > 0
    valid[2, 1] = False
    images[~valid] = 1e6
    found = image_statistics(images, valid)
    assert found.shape == (3, 4)
    pixels = images[1, 0][valid[1, 0]].double()
    assert float(found[1, 0]) == pytest.approx(float(pixels.mean()), abs=1e-5)
    assert float(found[1, 2]) == pytest.approx(float(pixels.std(correction=0)), abs=1e-5)
    assert found[2, [1, 3]].tolist() == [0.0, 0.0]


def batch_of(config, labels, seed, lacking=()):
    """Places whose brightness tells the label, and whose sensors share a pattern; (place, sensor) pairs are missing."""
    level = {"forest": -1.0, "water": 0.0, "ice": 1.0}
    shift = torch.tensor([level[label] for label in labels])[:, None, None, None]
    edge = config.image_px
    shared = gaussian(len(labels), 1, edge, edge, seed=seed)
    images = {
        name: shared + shift + 0.3 * gaussian(len(labels), s.num_bands, edge, edge, seed=seed + 1 + k)
        for k, (name, s) in enumerate(config.sensors.items())
    }
    valid = {name: torch.ones_like(x, dtype=torch.bool) for name, x in images.items()}
    for place, name in lacking:
        valid[name][place] = False
        images[name][place] = 0.0
    noise = {name: torch.rand(len(labels), config.num_patches) for name in images}
    return Batch(images=images, valid=valid, noise=noise, rows=torch.arange(len(labels)))


def built(config=None):
    torch.manual_seed(0)
    return CSMoE(config or model_config())


def probe_of(config=None, lacking=(), held_out_lacking=(), **options):
    config = config or model_config()
    labels, truth = labels_of(30), labels_of(21, seed=5)
    return Probe(
        batch_of(config, labels, 10, lacking), batch_of(config, truth, 20, held_out_lacking), labels, truth, **options
    )


KEYS = {
    *(f"{kind}/{name}" for kind in ("knn", "knn_balanced", "linear") for name in ("s1", "s2", "joint")),
    *(f"{kind}/{pair}" for kind in ("retrieval", "retrieval_mrr") for pair in ("s1>s2", "s2>s1")),
}


def test_figures_are_those_of_the_pooled_features_of_whole_images():
    config, probe, model = model_config(), probe_of(), built()
    found = probe.figures(model, CPU)
    assert set(found) >= KEYS | {
        f"{kind}/{name}" for kind in ("effective_rank", "feature_std") for name in ("s1", "s2")
    }
    labels, truth = labels_of(30), labels_of(21, seed=5)
    model.eval()
    with torch.no_grad():
        views = [
            {name: x.pooled for name, x in model.encode(batch_of(config, part, seed).images).items()}
            for part, seed in ((labels, 10), (truth, 20))
        ]
    for name in ("s1", "s2"):
        expected = knn_scores(views[0][name], labels, views[1][name], truth)
        assert (found[f"knn/{name}"], found[f"knn_balanced/{name}"]) == pytest.approx(expected)
        rank = effective_rank(torch.cat([views[0][name], views[1][name]]))
        assert found[f"effective_rank/{name}"] == pytest.approx(rank, rel=1e-3)
    joint = [torch.cat([functional.normalize(view[name], dim=1) for name in ("s1", "s2")], dim=1) for view in views]
    assert found["knn/joint"] == pytest.approx(knn_scores(joint[0], labels, joint[1], truth)[0])
    expected = retrieval_scores(views[1]["s1"], views[1]["s2"])
    assert (found["retrieval/s1>s2"], found["retrieval_mrr/s1>s2"]) == pytest.approx(expected)


def test_chunks_do_not_matter():
    model = built()
    whole, parts = (probe_of(chunk=chunk).figures(model, CPU) for chunk in (64, 7))
    similarity = "routing/expert_similarity"  # of the first chunk's slots
    assert {k: v for k, v in parts.items() if k != similarity} == pytest.approx(
        {k: v for k, v in whole.items() if k != similarity}, rel=1e-4
    )


def test_probing_leaves_the_model_as_it_was():
    config = model_config(encoder=EncoderConfig(dim=32, heads=2, specific_depth=1, shared_depth=1, drop_path=0.5))
    model = built(config).train()
    model.decoders.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    probe = probe_of(config)
    state = torch.get_rng_state()
    assert probe.figures(model, CPU) == probe.figures(model, CPU)  # no drop path: in evaluation mode
    assert torch.equal(torch.get_rng_state(), state)
    assert model.encoder.training and not model.decoders.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    larger = probe_of(model_config(image_px=40))
    with pytest.raises(AssertionError, match="Input height"):
        larger.figures(model, CPU)
    assert model.encoder.training and not model.decoders.training


def test_brightness_tells_the_label_to_the_floor():
    probe = probe_of()
    floor = probe.floor()
    assert set(floor) == KEYS | {"knn/majority"}
    assert floor["knn/s2"] > 0.9
    assert floor["knn/majority"] == pytest.approx(np.mean(labels_of(21, seed=5) == "forest"))
    assert floor["retrieval/s1>s2"] == pytest.approx(1 / 21)
    assert floor["retrieval_mrr/s2>s1"] == pytest.approx(sum(1 / k for k in range(1, 22)) / 21)


def test_the_floor_is_blind_to_the_scale_of_a_band():
    """A band in other units must not drown the rest."""
    config = model_config()
    labels, truth = labels_of(30), labels_of(21, seed=5)
    batches = [batch_of(config, labels, 10), batch_of(config, truth, 20)]
    plain = Probe(*batches, labels, truth).floor()
    for batch in batches:
        batch.images["s2"][:, 1] = 1000.0 * batch.images["s2"][:, 1] + 50.0
    assert Probe(*batches, labels, truth).floor() == pytest.approx(plain, abs=0.05)


def test_places_without_a_sensor_leave_its_figures():
    config, model = model_config(), built()
    gone, asked = [(k, "s1") for k in range(0, 30, 3)], [(k, "s1") for k in (0, 4, 20)]
    probe = probe_of(lacking=gone, held_out_lacking=asked)
    found, floor = probe.figures(model, CPU), probe.floor()
    assert floor["retrieval/s1>s2"] == pytest.approx(1 / 18)
    keep = np.setdiff1d(np.arange(30), [k for k, _ in gone])
    ask = np.setdiff1d(np.arange(21), [k for k, _ in asked])
    labels, truth = labels_of(30), labels_of(21, seed=5)
    model.eval()
    with torch.no_grad():
        train, held_out = (model.encode(batch_of(config, part, s).images) for part, s in ((labels, 10), (truth, 20)))
    expected = knn_scores(train["s1"].pooled[keep], labels[keep], held_out["s1"].pooled[ask], truth[ask])
    assert (found["knn/s1"], found["knn_balanced/s1"]) == pytest.approx(expected)
    expected = knn_scores(train["s2"].pooled, labels, held_out["s2"].pooled, truth)
    assert found["knn/s2"] == pytest.approx(expected[0])
    expected = retrieval_scores(held_out["s2"].pooled[ask], held_out["s1"].pooled[ask])
    assert (found["retrieval/s2>s1"], found["retrieval_mrr/s2>s1"]) == pytest.approx(expected)


def test_a_sensor_that_no_place_has_has_no_figures():
    probe = probe_of(lacking=[(k, "s1") for k in range(30)], held_out_lacking=[(k, "s1") for k in range(20)])
    for found in (probe.figures(built(), CPU), probe.floor()):
        assert not any("s1" in key or "joint" in key for key in found)
        assert "knn/s2" in found


def test_routing_of_every_block_on_the_path_of_every_sensor():
    model, probe = built(), probe_of()
    with torch.no_grad():
        model.encoder.shared[0].mlp.router.scale.fill_(4.0)
    rows = probe.layers(model, CPU)
    assert set(rows) == {"s1/0", "s1/1", "s2/0", "s2/1"}
    assert (rows["s1/1"]["router_scale"], rows["s2/1"]["router_scale"], rows["s2/0"]["router_scale"]) == (4.0, 4.0, 1.0)
    assert rows["s1/1"]["expert_share/0"] != rows["s2/1"]["expert_share/0"]  # of its own sensor
    found = probe.figures(model, CPU)
    assert found["routing/router_scale"] == pytest.approx(2.5)
    assert 0.0 < found["routing/combine_entropy"] <= 1.0
    dense = model_config(encoder=EncoderConfig(dim=32, heads=2, specific_depth=1, shared_depth=1, moe=None))
    assert probe_of(dense).layers(built(dense), CPU) == {}
    assert not any(key.startswith("routing") for key in probe_of(dense).figures(built(dense), CPU))


def test_caveats_and_wrong_labels():
    config = model_config()
    labels = np.array(["forest"] * 4)
    batch = batch_of(config, labels, 1)
    assert Probe(batch, batch, labels, np.array(["forest", "ice", "ice", "forest"])).caveats() == [
        "probe: no training place is ice: these held-out places cannot be told"
    ]
    assert Probe(batch, batch, labels, labels).caveats() == [
        "probe: all held-out places are forest: accuracies say little, choose another split"
    ]
    with pytest.raises(DataError, match="3 held_out labels for 4 places"):
        Probe(batch, batch, labels, labels[:3])


BLOCKS = [
    ("encoder.specific.s2.3.mlp", 3),
    ("encoder.shared.1.mlp", 11),
    ("_orig_mod.encoder.shared.0.mlp", 10),  # of a compiled model
    ("encoder.specific.shared.2.mlp", 2),  # a sensor of that name
]


@pytest.mark.parametrize(("layer", "expected"), BLOCKS)
def test_blocks_count_along_the_path_of_a_sensor(layer, expected):
    assert _block(layer, 10) == expected


def test_no_sensor_outweighs_another_in_the_joint_features():
    probe = probe_of()
    views = [{"s1": gaussian(n, 8, seed=n), "s2": gaussian(n, 5, seed=n + 1)} for n in (30, 21)]
    longer = [{"s1": 100.0 * view["s1"], "s2": view["s2"]} for view in views]
    assert probe._neighbours(*longer) == probe._neighbours(*views)


def test_the_floor_is_the_better_of_two_distances():
    config = model_config()
    labels, truth = labels_of(30), labels_of(21, seed=5)
    for seed in range(5):  # labels that the pixels say nothing of: the two distances err differently
        batches = [batch_of(config, ["water"] * 30, seed), batch_of(config, ["water"] * 21, seed + 50)]
        one, other = (image_statistics(batch.images["s2"], batch.valid["s2"]) for batch in batches)
        mean, std = one.mean(0), one.std(0, correction=0)
        scores = [
            knn_scores((one - mean) / std, labels, (other - mean) / std, truth, nearness)[0]
            for nearness in (None, lambda a, b: -torch.cdist(a.double(), b.double()))
        ]
        assert Probe(*batches, labels, truth).floor()["knn/s2"] == max(scores)
