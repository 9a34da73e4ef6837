"""Metrics of retrieval against plain loops and torchmetrics: sets, single labels, short lists, what is excluded."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score
from torchmetrics.functional.retrieval import retrieval_average_precision

from csmoe_model.evaluation.metrics.intervals import Resampling
from csmoe_model.evaluation.metrics.retrieval import (
    LabelSets,
    pair_figures,
    pair_ranks,
    per_query,
    retrieval,
)
from csmoe_model.evaluation.search import Exclusion

SEEDS = st.integers(0, 10_000)
FEW = settings(max_examples=40, deadline=None)


def carried(chance, num, classes):
    """Sets of unequal sizes; some are empty."""
    return chance.random((num, classes)) < np.linspace(0.6, 0.05, classes)


def lists(chance, num_queries, num_items, k):
    """Different items in each row, some rows cut short."""
    ranked = np.stack([chance.permutation(num_items)[:k] for _ in range(num_queries)])
    for row in np.flatnonzero(chance.random(num_queries) < 0.2):
        ranked[row, chance.integers(0, ranked.shape[1] + 1) :] = -1
    return ranked


def plain(query, archive, ranked, k, hidden=None):
    """Every figure of every query, item by item."""
    rows = []
    for number, own in enumerate(query):
        q = set(np.flatnonzero(own))
        every = [set(np.flatnonzero(row)) for n, row in enumerate(archive) if hidden is None or not hidden[number, n]]
        found = [set(np.flatnonzero(archive[item])) for item in ranked[number][:k] if item >= 0]
        relevant = [bool(q & r) for r in found]
        gain = [len(q & r) / len(q | r) if q | r else 0.0 for r in found]
        best = sorted((len(q & r) / len(q | r) if q | r else 0.0 for r in every), reverse=True)[:k]
        total = sum(bool(q & r) for r in every)
        row = dict.fromkeys(("P", "R", "C", "B", "precision", "recall", "map/found", "map/possible", "ndcg"), math.nan)
        if q and found:
            precision = [len(q & r) / len(r) if r else 0.0 for r in found]
            recall = [len(q & r) / len(q) for r in found]
            f1 = [2 * len(q & r) / (len(q) + len(r)) for r in found]
            row["P"], row["R"], row["B"] = np.mean(precision), np.mean(recall), np.mean(f1)
            row["C"] = 2 * row["P"] * row["R"] / (row["P"] + row["R"]) if row["P"] + row["R"] else 0.0
            row["precision"] = np.mean(relevant)
        if q and total:
            summed = sum(sum(relevant[: n + 1]) / (n + 1) for n in range(len(found)) if relevant[n])
            row["recall"] = sum(relevant) / total
            row["map/found"] = summed / sum(relevant) if any(relevant) else 0.0
            row["map/possible"] = summed / min(k, total)
            row["ndcg"] = sum(g / math.log2(n + 2) for n, g in enumerate(gain)) / sum(
                g / math.log2(n + 2) for n, g in enumerate(best)
            )
        rows.append(row)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def names_at(k):
    own = {"P": f"item_precision@{k}", "R": f"item_recall@{k}", "C": f"f1@{k}/C", "B": f"f1@{k}/B"}
    own |= {name: f"{name}@{k}" for name in ("precision", "recall", "ndcg")}
    return own | {f"map/{name}": f"map@{k}/{name}" for name in ("found", "possible")}


@FEW
@given(
    queries=st.integers(1, 9),
    items=st.integers(1, 12),
    classes=st.sampled_from([2, 5, 70]),
    depths=st.sampled_from([(1, 4), (3,), (8, 2)]),
    seed=SEEDS,
)
def test_every_figure_of_a_query_equals_a_plain_loop(queries, items, classes, depths, seed):
    chance = np.random.default_rng(seed)
    query, archive = carried(chance, queries, classes), carried(chance, items, classes)
    ranked = lists(chance, queries, items, 8)
    found = per_query(LabelSets.of(query), LabelSets.of(archive), ranked, depths)
    for k in depths:
        wanted = plain(query, archive, ranked, k)
        for name, own in names_at(k).items():
            np.testing.assert_allclose(found[own], wanted[name], atol=1e-12, err_msg=own)


@FEW
@given(seed=SEEDS)
def test_what_is_excluded_is_not_missed(seed):
    chance = np.random.default_rng(seed)
    query, archive = carried(chance, 7, 4), carried(chance, 11, 4)
    groups = chance.integers(-1, 3, 7), chance.integers(-1, 3, 11)
    hidden = (groups[0][:, None] == groups[1]) & (groups[0][:, None] >= 0)
    ranked = np.full((7, 5), -1)
    for row in range(7):
        left = chance.permutation(np.flatnonzero(~hidden[row]))[:5]
        ranked[row, : len(left)] = left
    found = per_query(
        LabelSets.of(query), LabelSets.of(archive), ranked, [3], excluded=Exclusion(codes=((groups[0], groups[1]),))
    )
    wanted = plain(query, archive, ranked, 3, hidden)
    for name, own in names_at(3).items():
        np.testing.assert_allclose(found[own], wanted[name], atol=1e-12, err_msg=own)


def test_blocks_change_nothing(monkeypatch):
    chance = np.random.default_rng(2)
    query, archive = LabelSets.of(carried(chance, 40, 6)), LabelSets.of(carried(chance, 50, 6))
    ranked = lists(chance, 40, 50, 10)
    excluded = Exclusion(codes=((np.arange(40), np.arange(50)),))
    whole = per_query(query, archive, ranked, [10], excluded=excluded)
    monkeypatch.setattr("csmoe_model.evaluation.metrics.retrieval._QUERIES", 7)
    monkeypatch.setattr("csmoe_model.evaluation.metrics.retrieval._SETS", 70)
    for name, values in per_query(query, archive, ranked, [10], excluded=excluded).items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-12)


@FEW
@given(seed=SEEDS, k=st.integers(1, 10))
def test_figures_are_ordered_and_are_means_over_queries(seed, k):
    chance = np.random.default_rng(seed)
    query, archive = carried(chance, 20, 5), carried(chance, 30, 5)
    query[:, 0] |= chance.random(20) < 0.9
    ranked = np.stack([chance.permutation(30)[:10] for _ in range(20)])
    found = {n: f.value for n, f in retrieval(LabelSets.of(query), LabelSets.of(archive), ranked, [k]).items()}
    wanted = plain(query, archive, ranked, k)
    precision, recall = np.nanmean(wanted["P"]), np.nanmean(wanted["R"])
    assert found[f"f1@{k}/A"] == pytest.approx(2 * precision * recall / (precision + recall))
    for name, own in names_at(k).items():
        if name not in ("P", "R"):
            assert found[own] == pytest.approx(np.nanmean(wanted[name]))
    assert found[f"f1@{k}/A"] >= found[f"f1@{k}/C"] - 1e-12
    assert found[f"f1@{k}/C"] >= found[f"f1@{k}/B"] - 1e-12


def test_the_three_f1_differ_where_sets_differ():
    query = np.array([[1, 1, 1, 1], [1, 0, 0, 0]], bool)
    archive = np.array([[1, 0, 0, 0], [1, 1, 1, 1]], bool)
    found = retrieval(LabelSets.of(query), LabelSets.of(archive), np.array([[0, 1], [1, 0]]), [1])
    assert found["f1@1/A"].value == pytest.approx(0.625)
    assert found["f1@1/C"].value == found["f1@1/B"].value == pytest.approx(0.4)


@FEW
@given(seed=SEEDS)
def test_single_labels_are_sets_of_one_and_equal_the_libraries(seed):
    chance = np.random.default_rng(seed)
    query, archive = chance.integers(0, 70, 6) // 20, chance.integers(0, 70, 15) // 20
    ranked = np.stack([chance.permutation(15) for _ in range(6)])
    found = per_query(LabelSets.of(query), LabelSets.of(archive), ranked, [4])
    bits = np.eye(80, dtype=bool)
    same = per_query(LabelSets.of(bits[query]), LabelSets.of(bits[archive]), ranked, [4])
    for name, values in found.items():
        np.testing.assert_array_equal(values, same[name])
    relevant = archive[ranked] == query[:, None]
    for row in range(6):
        assert found["f1@4/B"][row] == pytest.approx(relevant[row, :4].mean())
        if relevant[row].any():
            scores, truth = torch.arange(15, 0, -1).float(), torch.from_numpy(relevant[row])
            assert found["map@4/found"][row] == pytest.approx(
                float(retrieval_average_precision(scores, truth, top_k=4))
            )
            oracle = ndcg_score(relevant[row : row + 1], scores[None].numpy(), k=4)
            assert found["ndcg@4"][row] == pytest.approx(oracle)


def test_codes_beyond_a_word_are_other_labels():
    sets = LabelSets.of(np.array([0, 64, 130, 64]))
    assert sets[1:2].shared(sets).tolist() == [0, 1, 0, 1]
    assert LabelSets.of(np.array([3])).shared(sets).tolist() == [0, 0, 0, 0]


def test_intervals_are_over_queries():
    chance = np.random.default_rng(0)
    query, archive = carried(chance, 300, 5), carried(chance, 200, 5)
    ranked = np.stack([chance.permutation(200)[:5] for _ in range(300)])
    for name, (value, low, high) in retrieval(
        LabelSets.of(query), LabelSets.of(archive), ranked, (1, 5), resampling=Resampling(resamples=400)
    ).items():
        assert low < value < high, name


def test_places_of_pairs():
    ranked = np.array([[4, 2, 9], [7, 1, 0], [3, -1, -1]])
    ranks = pair_ranks(ranked, np.array([4, 0, 8]))
    assert ranks.tolist() == [1.0, 3.0, math.inf]
    found = {name: figure.value for name, figure in pair_figures(np.array([1.0, 3.0, 7.0, math.inf])).items()}
    assert found == pytest.approx(
        {"pair/mrr": (1 + 1 / 3 + 1 / 7) / 4, "pair/recall@1": 0.25, "pair/recall@5": 0.5, "pair/recall@10": 0.75}
    )
