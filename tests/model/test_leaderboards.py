"""Results in the layouts of public leaderboards."""

import csv
import io
import json

import pytest

from csmoe_model.errors import ConfigError
from csmoe_model.evaluation.leaderboards import geobench_2, geobench_2_about, torchgeo_bench
from model.evaluation_records import STATISTICS, record, value

BENCH = (
    "dataset,method,metric_name,metric_value,ci_lower,ci_upper,feature_dim,best_c,best_lr,best_batch_size,n_train,"
    "n_val,n_test,seed,model,name,normalization,image_size,interpolation,partition,bands,c_range_start,c_range_stop,"
    "c_range_num,merge_val,bootstrap,fw_iou,precision,recall,f1"
)
"""First line of its files of results."""
TEXTS = ("dataset", "Metric", "experiment_name", "partition name", "backbone", "decoder", "batch_size_selection")
NUMBERS = ("early_stop_patience", "n_trials", "Seed", "data_percentages", "batch_size")
NUMBERS += ("weight_decay", "lr", "test metric")
ABOUT = ("Paper Link", "Code Repository Link ", "License", "Number of HPO trials")
ABOUT += ("Additional information about submission", "Comments on new models in submission")
PROBED = {
    "seed": 0,
    "resamples": 500,
    "probe": {"strengths": [1e-4, 0.01, 1.0, 1000.0]},
    "chosen_c": {"linear/s2": 0.01, "linear/joint": 1.0},
}
TUNED = {"frozen": False, "patience": None, "epochs": 7, "batch": 16, "optimiser": {"lr": 0.001, "weight_decay": 0.05}}
PRIOR = record("label prior", {"prior/accuracy/micro": 0.1}, kind="prior", weights=None, macs={})


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def probed():
    figures = {
        "knn5-l2/s2/accuracy/micro": value(0.5, 0.125),
        "knn5-cosine/s2/accuracy/micro": 0.6,
        "linear/s2/accuracy/micro": value(0.75, 0.0625),
        "linear/s2/accuracy/macro": 0.7,
        "linear/joint/accuracy/micro": 0.8,
    }
    return record("ours", figures, settings=PROBED, seed=0)


def tuned(name="ours", seeds=range(5), *, task="classification", method="finetune", **changes):
    figure = "miou/dataset" if task == "segmentation" else "accuracy/micro"
    settings = TUNED | changes
    return [record(name, {f"{method}/s2/{figure}": 0.5 + k / 16}, task=task, settings=settings, seed=k) for k in seeds]


def test_torchgeo_bench_has_its_columns_and_what_we_know():
    text = torchgeo_bench([PRIOR, probed()], view="s2", dataset="m-eurosat")
    assert text.splitlines()[0] == BENCH
    near, linear = rows_of(text)
    expected = {
        "dataset": "m-eurosat",
        "method": "knn5",
        "metric_name": "accuracy",
        "metric_value": "0.5",
        "ci_lower": "0.375",
        "ci_upper": "0.625",
        "feature_dim": "",
        "best_c": "",
        "n_train": "1200",
        "n_val": "30",
        "n_test": "40",
        "seed": "0",
        "name": "ours",
        "normalization": "model_native",
        "image_size": "64",
        "bands": "B03,B08",  # sorted, and without the one that the data lack
        "merge_val": "False",
        "bootstrap": "500",
    }
    assert {name: near[name] for name in expected} == expected
    assert (linear["method"], linear["metric_value"], linear["merge_val"]) == ("linear", "0.75", "True")
    chosen = [linear[name] for name in ("best_c", "c_range_start", "c_range_stop", "c_range_num")]
    assert chosen == ["0.01", "-4.0", "3.0", "4"]


def test_torchgeo_bench_of_all_sensors():
    (row,) = rows_of(torchgeo_bench([probed()], view="joint", dataset="x"))
    assert (row["method"], row["best_c"], row["bands"], row["ci_lower"]) == ("linear", "1.0", "B03,B08,VH,VV", "0.0")


def test_torchgeo_bench_of_segmentation_has_frozen_heads_alone():
    figures = {"linear/s2/miou/dataset": 0.5, "linear-finetuned/s2/miou/dataset": 0.6, "dpt/s2/miou/image": 0.7}
    (row,) = rows_of(torchgeo_bench([record("ours", figures, task="segmentation")], view="s2", dataset="x"))
    assert (row["method"], row["metric_name"], row["metric_value"]) == ("seg-linear", "mIoU", "0.5")
    assert (row["best_c"], row["c_range_num"], row["merge_val"]) == ("", "", "False")


def test_torchgeo_bench_of_several_labels():
    figures = {"linear/s1/average_precision/micro": 0.5, "linear/s1/f1@0.5/macro": 0.6}
    (row,) = rows_of(torchgeo_bench([record("ours", figures, normalise="data")], view="s1", dataset="m-bigearthnet"))
    assert (row["metric_name"], row["metric_value"], row["normalization"]) == ("micro_mAP", "0.5", "bandspec_zscore")


@pytest.mark.parametrize("figures", [{}, {"linear/s2/accuracy/micro": None}, {"linear/s1/accuracy/micro": 0.5}])
def test_without_figures_there_is_nothing_to_hand_in(figures):
    message = "none of the results has a figure that it knows for view 's2'"
    with pytest.raises(ConfigError, match=f"torchgeo-bench: {message}"):
        torchgeo_bench([PRIOR, record("ours", figures)], view="s2", dataset="x")
    with pytest.raises(ConfigError, match=f"GEO-Bench-2: {message}"):
        geobench_2([PRIOR, record("ours", figures)], view="s2", dataset="x")


@pytest.mark.parametrize(
    ("task", "method", "metric", "frozen"),
    [
        ("classification", "finetune", "Overall_Accuracy", "full_ft"),
        ("segmentation", "upernet-finetuned", "Multiclass_Jaccard_Index", "full_ft"),
        ("segmentation", "linear", "Multiclass_Jaccard_Index", "frozen"),
    ],
)
def test_geobench_2_passes_its_own_checks(task, method, metric, frozen):
    settings = {"frozen": frozen == "frozen"}
    records = [one for name in ("ours", "twin") for one in tuned(name, task=task, method=method, **settings)]
    rows = rows_of(
        geobench_2([PRIOR, probed(), *records] if task == "classification" else records, view="s2", dataset="benv2")
    )
    assert set(rows[0]) == {*TEXTS, *NUMBERS, "frozen_or_full_ft"}
    for row in rows:
        assert all(float(row[name]) is not None for name in NUMBERS)
        assert all(row[name] for name in TEXTS)
        assert (row["Metric"], row["frozen_or_full_ft"], row["decoder"]) == (metric, frozen, method)
        assert (row["early_stop_patience"], row["weight_decay"], row["lr"]) == ("7", "0.05", "0.001")
    for name in ("ours", "twin"):
        own = [row for row in rows if row["backbone"] == name]
        assert sorted(row["Seed"] for row in own) == ["0", "1", "2", "3", "4"]
        assert [float(row["test metric"]) for row in own] == [0.5, 0.5625, 0.625, 0.6875, 0.75]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (tuned(seeds=range(4)), r"ours has 4 of 4 seeds"),
        (tuned(seeds=range(6)), r"ours has 6 of 6 seeds"),
        (tuned(seeds=(0, 1, 2, 3, 3)), r"ours has 5 of 4 seeds"),
        ([*tuned(), *tuned("twin", seeds=(7,))], r"twin has 1 of 1 seeds"),
        ([*tuned(), *tuned(method="probe-sgd")], r"ours has 10 of 5 seeds"),
        ([*tuned(), *tuned("twin", frozen=True)], r"takes frozen or fine-tuned backbones, not both"),
    ],
)
def test_geobench_2_wants_five_seeds_of_one_kind(records, message):
    with pytest.raises(ConfigError, match=message):
        geobench_2(records, view="s2", dataset="benv2")


def test_what_goes_with_geobench_2_is_about_those_that_are_handed_in():
    floor = record("image statistics", {"linear/s2/accuracy/micro": 0.4}, **STATISTICS)
    about = json.loads(geobench_2_about([PRIOR, floor, *tuned(), *tuned("twin")]))
    assert all(isinstance(about[name], str) for name in ABOUT)
    assert about["New model info"] == [
        {"model_display_name": name, "model_size": "2.5M", "unique_backbone_key": name} for name in ("ours", "twin")
    ]
    assert about["Additional information about submission"] == "csmoe-model 9.9"
