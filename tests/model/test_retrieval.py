"""Retrieval runs against plain loops, and their pictures."""

from itertools import product

import matplotlib.image
import numpy as np
import pytest
import torch

from csmoe_model.evaluation.dataset import Bands, EvaluationSet
from csmoe_model.evaluation.extract import Features
from csmoe_model.evaluation.gallery import composite, draw_gallery, extremes, gallery_figure, stretched
from csmoe_model.evaluation.retrieval import ALL, OTHER_GROUPS, PAIRS, RetrievalConfig, retrieve

BANDS = {
    "s1": Bands(names=("VH", "VV"), unit="dB", gsd_m=10.0),
    "s2": Bands(names=("B02", "B11", "B04", "B03"), unit="DN", gsd_m=10.0),
}
NUM, DIM = 40, 6


class Pictures:
    """Noise of its own for every sample; sample 3 lacks s1."""

    def images(self, sample):
        chance = np.random.default_rng(sample)
        both = {"s1": chance.normal(-12, 3, (2, 12, 8)), "s2": chance.uniform(100, 3000, (4, 12, 8))}
        both["s2"][1:, :2] = np.nan
        return {name: x.astype(np.float32) for name, x in both.items() if (sample, name) != (3, "s1")}

    def mask(self, sample):
        raise NotImplementedError


def a_set(labels="multi", **changes):
    """Every other sample is for validation; pairs of neighbours in number make a group."""
    chance = np.random.default_rng(0)
    several = chance.random((NUM, 5)) < 0.4
    several[6] = False
    values = {
        "name": "toy",
        "task": {"multi": "multi_label", "single": "single_label", "none": "pairs"}[labels],
        "sensors": BANDS,
        "classes": ("marsh", "dune", "reef", "ice", "a class with a very long name"),
        "ids": np.array([f"place {k}" for k in range(NUM)]),
        "split": np.where(np.arange(NUM) % 2, "test", "validation"),
        "labels": {"multi": several, "single": chance.integers(0, 5, NUM), "none": None}[labels],
        "reader": Pictures(),
        "group": np.array([f"scene {k // 4}" for k in range(NUM)]),
        "lon_lat": np.stack([np.linspace(179, 181, NUM) % 360, np.zeros(NUM)], 1),
    }
    return EvaluationSet(**(values | changes))


def features_of(data, split, *, dims=(DIM, DIM), seed=0):
    """Related by sensor; a sample that lacks a sensor has zeros."""
    samples = data.of_split(split)
    base = torch.randn(NUM, DIM, generator=torch.Generator().manual_seed(seed))
    noise = torch.randn(2, NUM, DIM, generator=torch.Generator().manual_seed(seed + 1))
    pooled, has = {}, {}
    for k, (name, dim) in enumerate(zip(BANDS, dims, strict=True)):
        has[name] = np.array([not (name == "s1" and sample == 3) for sample in samples])
        found = (base + 0.6 * noise[k])[samples][:, :dim]
        pooled[name] = torch.where(torch.from_numpy(has[name])[:, None], found, 0.0)
    return Features(samples=samples, pooled=pooled, has=has)


def ranked_by_loops(asking, items, allowed, k):
    """Numbers of samples by cosine; `asking`, `items`: sample -> vector."""
    lists = {}
    for query, one in asking.items():
        rank = sorted(
            (item for item in items if allowed(query, item)),
            key=lambda item: (-float(torch.cosine_similarity(one, items[item], dim=0)), item),
        )
        lists[query] = (rank + [-1] * k)[:k]
    return lists


def vectors(features, name):
    view, has = features.view(name)
    return {int(s): v.double() for s, v, there in zip(features.samples, view, has, strict=True) if there}


CONFIG = RetrievalConfig(resamples=20, beyond_km=15)


@pytest.mark.parametrize("splits", [("validation", "test"), ("test", "test")], ids=lambda splits: splits[0])
def test_finds_in_every_direction_what_loops_find(splits):
    data = a_set()
    config = CONFIG.model_copy(update={"query_split": splits[0], "archive_split": splits[1]})
    queries, archive = (features_of(data, split) for split in splits)
    result = retrieve(queries, archive, data, config)
    assert list(result.directions) == ["s1>s1", "s1>s2", "s2>s1", "s2>s2", "joint>joint"]
    for direction in result.directions.values():
        asking, items = vectors(queries, direction.source), vectors(archive, direction.target)
        itself = direction.source == direction.target
        expected = ranked_by_loops(asking, items, lambda q, i, itself=itself: q != i or not itself, 10)
        assert dict(zip(direction.queries.tolist(), direction.found.tolist(), strict=True)) == expected
        assert direction.num_items == len(items)


@pytest.mark.parametrize("labels", ["multi", "single"])
def test_figures_with_and_without_neighbours_are_those_of_loops(labels):
    data = a_set(labels)
    config = CONFIG.model_copy(update={"query_split": "test", "archive_split": "test"})
    archive = features_of(data, "test")
    sets = [set(np.flatnonzero(row)) if labels == "multi" else {int(row)} for row in data.labels]
    place = np.radians(data.lon_lat[:, 0])

    def far(one, other):
        return 6371.0 * abs((place[one] - place[other] + np.pi) % (2 * np.pi) - np.pi) > 15

    controls = {
        ALL: lambda q, i: True,
        OTHER_GROUPS: lambda q, i: data.group[q] != data.group[i],
        "beyond 15 km": far,
    }
    for direction in retrieve(archive, archive, data, config).directions.values():
        asking, items = vectors(archive, direction.source), vectors(archive, direction.target)
        itself = direction.source == direction.target
        assert set(direction.figures) - {PAIRS} == set(controls)
        for name, control in controls.items():

            def allowed(q, i, control=control, itself=itself):
                return control(q, i) and (q != i or not itself)

            lists = ranked_by_loops(asking, items, allowed, 5)
            shares = [
                np.mean([bool(sets[q] & sets[i]) for i in found if i >= 0]) for q, found in lists.items() if sets[q]
            ]
            figure = direction.figures[name]["precision@5"]
            assert figure.value == pytest.approx(np.mean(shares))
            assert figure.low <= figure.value <= figure.high
            left = [sum(not allowed(q, i) for i in items) - (itself and q in items) for q in asking]
            assert direction.left_out.get(name, 0) == pytest.approx(np.mean(left))
    assert "f1@10/C" in direction.figures[ALL]


def test_pairs_are_sought_in_the_archive_split_alone():
    data = a_set("none")
    queries, archive = features_of(data, "validation"), features_of(data, "test")
    result = retrieve(queries, archive, data, CONFIG)
    assert list(result.directions) == ["s1>s2", "s2>s1"]
    for direction in result.directions.values():
        asking, items = vectors(archive, direction.source), vectors(archive, direction.target)
        asking = {sample: vector for sample, vector in asking.items() if sample in items}
        assert 3 not in asking
        lists = ranked_by_loops(asking, items, lambda q, i: True, len(items))
        inverse = [1 / (found.index(query) + 1) for query, found in lists.items()]
        assert direction.figures[PAIRS]["pair/mrr"].value == pytest.approx(np.mean(inverse))
        np.testing.assert_allclose(direction.scores, inverse)
        assert set(direction.queries.tolist()) == set(asking)
    assert "pairs: samples of test" in result.protocol


def test_labelled_sets_have_figures_of_pairs_too():
    data = a_set("single")
    both = [features_of(data, split) for split in ("validation", "test")]
    found = retrieve(*both, data, CONFIG).directions
    assert [name for name, direction in found.items() if PAIRS in direction.figures] == ["s1>s2", "s2>s1"]
    alone = retrieve(*both, a_set("none"), CONFIG).directions
    assert found["s1>s2"].figures[PAIRS] == alone["s1>s2"].figures[PAIRS]


def test_heads_are_asked_by_role():
    data = a_set("single")
    calls = set()

    def head(name, role, features):
        calls.add((name, role))
        return features[:, :2] if role == "cross" else features

    queries, archive = features_of(data, "validation"), features_of(data, "test")
    found = retrieve(queries, archive, data, CONFIG, head).directions
    plain = retrieve(queries, archive, data, CONFIG).directions
    assert calls == set(product(BANDS, ("same", "cross")))
    for name in ("s1>s1", "joint>joint"):
        np.testing.assert_array_equal(found[name].found, plain[name].found)
    cut = Features(samples=archive.samples, pooled={n: x[:, :2] for n, x in archive.pooled.items()}, has=archive.has)
    short = Features(samples=queries.samples, pooled={n: x[:, :2] for n, x in queries.pooled.items()}, has=queries.has)
    np.testing.assert_array_equal(found["s1>s2"].found, retrieve(short, cut, data, CONFIG).directions["s1>s2"].found)


def test_features_that_share_no_space_are_left_out_with_a_note():
    data = a_set("single")
    both = [features_of(data, split, dims=(4, 6)) for split in ("validation", "test")]
    result = retrieve(*both, data, CONFIG)
    assert list(result.directions) == ["s1>s1", "s2>s2", "joint>joint"]
    assert [note.split(":")[0] for note in result.notes] == ["s1>s2", "s2>s1"]


def test_extremes_take_no_query_twice():
    scores = np.array([0.5, np.nan, 1.0, 0.0, 1.0])
    best, worst = extremes(scores, 2)
    assert (best.tolist(), worst.tolist()) == ([2, 4], [0, 3])
    best, worst = extremes(scores[:3], 5)
    assert (best.tolist(), worst.tolist()) == ([2], [0])


@pytest.mark.parametrize("labels", ["multi", "none"])
def test_the_gallery_shows_queries_and_frames_what_they_found(labels, tmp_path):
    data = a_set(labels)
    both = [features_of(data, split) for split in ("validation", "test")]
    direction = retrieve(*both, data, CONFIG).directions["s2>s1"]
    figure = gallery_figure(data, direction, each=2)
    assert len(figure.axes) == 4 * 6
    rows = np.concatenate(extremes(direction.scores, 2))
    for line, row in zip(np.reshape(figure.axes, (4, 6)), rows, strict=True):
        query = direction.queries[row]
        for axes, sample in zip(line[1:], direction.found[row], strict=False):
            alike = query == sample if labels == "none" else (data.labels[query] & data.labels[sample]).any()
            red, green, _, _ = axes.spines["left"].get_edgecolor()
            assert (green > red) == alike
    draw_gallery(data, direction, tmp_path / "gallery.png", each=2)
    assert matplotlib.image.imread(tmp_path / "gallery.png").shape[2] == 4
    draw_gallery(data, direction, tmp_path / "again.png", each=2)
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "gallery.png").read_bytes()


def test_sensors_are_shown_sensibly():
    pixels = np.arange(4 * 6, dtype=np.float32).reshape(4, 2, 3)
    np.testing.assert_array_equal(composite(pixels, BANDS["s2"])[0, 0], pixels[[2, 3, 0], 0, 0])
    np.testing.assert_array_equal(composite(pixels[:2], BANDS["s1"])[1, 2], [pixels[1, 1, 2]] * 3)
    image = composite(np.full((4, 2, 3), np.nan, np.float32), BANDS["s2"])
    blank, nothing = stretched([image, None], BANDS["s2"])
    np.testing.assert_allclose(blank, 0.82)
    assert nothing is None
    display = Bands(names=("red", "green", "blue"), unit="byte", gsd_m=10.0)
    np.testing.assert_allclose(stretched([np.full((1, 1, 3), 51, np.float32)], display)[0], 0.2)
