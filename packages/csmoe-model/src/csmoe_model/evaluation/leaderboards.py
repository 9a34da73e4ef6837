"""Records in the layouts of public leaderboards: what they ask for and we know, empty where we do not."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence

from csmoe_model.errors import ConfigError
from csmoe_model.evaluation.extract import JOINT
from csmoe_model.evaluation.records import Record, Value

_TORCHGEO_BENCH = [
    *("dataset", "method", "metric_name", "metric_value", "ci_lower", "ci_upper", "feature_dim", "best_c", "best_lr"),
    *("best_batch_size", "n_train", "n_val", "n_test", "seed", "model", "name", "normalization", "image_size"),
    *("interpolation", "partition", "bands", "c_range_start", "c_range_stop", "c_range_num", "merge_val", "bootstrap"),
    *("fw_iou", "precision", "recall", "f1"),
]
_GEOBENCH_2 = [
    *("dataset", "Metric", "experiment_name", "partition name", "backbone", "decoder", "batch_size_selection"),
    *("early_stop_patience", "n_trials", "Seed", "data_percentages", "batch_size", "weight_decay", "lr"),
    *("test metric", "frozen_or_full_ft"),
]
_GEOBENCH_2_METRICS = {
    "accuracy/micro": "Overall_Accuracy",
    "f1@0.5/macro": "Multilabel_F1_Score",
    "miou/dataset": "Multiclass_Jaccard_Index",
}
_TORCHGEO_BENCH_METRICS = {
    "accuracy/micro": "accuracy",
    "average_precision/micro": "micro_mAP",
    "miou/dataset": "mIoU",
}
_NUM_SEEDS = 5


def torchgeo_bench(records: Iterable[Record], *, view: str, dataset: str) -> str:
    """CSV rows in torchgeo-bench's layout.

    Its `knn5` is by Euclidean distance of features as they are, hence our `knn5-l2`.

    Args:
        records: Of classification or segmentation.
        view: Sensor, or `joint`.
        dataset: Its name of the data set, as `m-eurosat`.

    Raises:
        ConfigError: No record has a figure that it knows.
    """
    rows = [row for one in records for row in _bench_rows(one, view, dataset)]
    return _csv(_TORCHGEO_BENCH, rows, "torchgeo-bench", view)


def geobench_2(records: Sequence[Record], *, view: str, dataset: str) -> str:
    """CSV rows in the layout of the GEO-Bench-2 leaderboard, of trained heads and fine-tuned backbones.

    Args:
        records: Of classification by fine-tuning, or of segmentation; five seeds of each backbone. What else is among
            them is left out.
        view: Sensor, or `joint`.
        dataset: Its name of the data set, as `benv2`.

    Raises:
        ConfigError: A backbone has other than a row for each of five seeds, some are frozen and others not, or no
            record has a figure that it knows.
    """
    rows = [row for one in records for row in _leaderboard_rows(one, view, dataset)]
    seeds: dict[object, list[object]] = {}
    for row in rows:
        seeds.setdefault(row["backbone"], []).append(row["Seed"])
    if wrong := [
        f"{name} has {len(own)} of {len({*own})} seeds"
        for name, own in seeds.items()
        if not len(own) == len({*own}) == _NUM_SEEDS
    ]:
        raise ConfigError(f"GEO-Bench-2: takes {_NUM_SEEDS} rows of each backbone, one a seed; {', '.join(wrong)}")
    if len({row["frozen_or_full_ft"] for row in rows}) > 1:
        raise ConfigError(
            "GEO-Bench-2: takes frozen or fine-tuned backbones, not both: submit them one after the other"
        )
    return _csv(_GEOBENCH_2, rows, "GEO-Bench-2", view)


def geobench_2_about(records: Sequence[Record]) -> str:
    """The JSON that goes with `geobench_2`; what only the submitter knows is N/A."""
    models = {one.model.name: one.model for one in records if any(_trained(one))}
    about = {
        "Paper Link": "N/A",
        "Code Repository Link ": "N/A",
        "License": "N/A",
        "Number of HPO trials": "0",
        "Additional information about submission": f"csmoe-model {records[0].versions.get('csmoe-model', '')}",
        "Comments on new models in submission": "N/A",
        "New model info": [
            {
                "model_display_name": name,
                "model_size": f"{model.num_parameters / 1e6:.1f}M",
                "unique_backbone_key": name,
            }
            for name, model in models.items()
        ],
    }
    return json.dumps(about, indent=1) + "\n"


def _bench_rows(record: Record, view: str, dataset: str) -> Iterator[dict[str, object]]:
    known = {"knn5-l2": "knn5", "linear": "linear"}
    if record.task == "segmentation":
        known = {head: f"seg-{head}" for head in ("linear", "upernet", "dpt")}
    for (method, own_view, figure), (value, low, high) in _named(record):
        if own_view == view and figure in _TORCHGEO_BENCH_METRICS and method in known and value is not None:
            yield {
                "dataset": dataset,
                "method": known[method],
                "metric_name": _TORCHGEO_BENCH_METRICS[figure],
                "metric_value": value,
                "ci_lower": low or 0.0,
                "ci_upper": high or 0.0,
                "n_train": record.data.samples["train"],
                "n_val": record.data.samples["validation"],
                "n_test": record.data.samples["test"],
                "seed": record.seed,
                "model": f"csmoe_model.{record.model.kind}",
                "name": record.model.name,
                "normalization": "model_native" if record.normalise == "model" else "bandspec_zscore",
                "image_size": record.image_px,
                "interpolation": "bilinear",
                "partition": "default",
                "bands": ",".join(sorted(_bands(record, view))),
                "merge_val": record.task == "classification" and method == "linear",
                "bootstrap": record.settings.get("resamples", ""),
                **(_chosen(record, view) if method == "linear" and record.task == "classification" else {}),
            }


def _chosen(record: Record, view: str) -> dict[str, object]:
    """The C of the linear probe, and those it was chosen from, as powers of ten."""
    chosen, probe = record.settings.get("chosen_c"), record.settings.get("probe")
    if not isinstance(chosen, dict) or not isinstance(probe, dict):
        return {}
    powers = [round(math.log10(c), 6) for c in probe["strengths"]]
    return {
        "best_c": chosen.get(f"linear/{view}", ""),
        "c_range_start": min(powers),
        "c_range_stop": max(powers),
        "c_range_num": len(powers),
    }


def _leaderboard_rows(record: Record, view: str, dataset: str) -> Iterator[dict[str, object]]:
    optimiser = record.settings.get("optimiser")
    rates = optimiser if isinstance(optimiser, dict) else {}
    for method, own_view, figure, value in _trained(record):
        if own_view == view:
            yield {
                "dataset": dataset,
                "Metric": _GEOBENCH_2_METRICS[figure],
                "experiment_name": f"csmoe-model {record.model.name}",
                "partition name": "1.00x train",
                "backbone": record.model.name,
                "decoder": method,
                "batch_size_selection": "fixed",
                "early_stop_patience": record.settings.get("patience") or record.settings.get("epochs", 0),
                "n_trials": 0,
                "Seed": record.seed,
                "data_percentages": 100,
                "batch_size": record.settings.get("batch", ""),
                "weight_decay": rates.get("weight_decay", ""),
                "lr": rates.get("lr", ""),
                "test metric": value,
                "frozen_or_full_ft": "frozen" if record.settings.get("frozen") else "full_ft",
            }


def _trained(record: Record) -> Iterator[tuple[str, str, str, float]]:
    """Method, view, figure and value of what GEO-Bench-2 ranks."""
    for (method, view, figure), (value, _, _) in _named(record):
        trained = record.task == "segmentation" or method in ("finetune", "probe-sgd")
        if trained and figure in _GEOBENCH_2_METRICS and value is not None:
            yield method, view, figure, value


def _named(record: Record) -> Iterator[tuple[tuple[str, str, str], Value]]:
    """Figures by method, view and their own name; those of the label prior have no view."""
    for name, value in record.figures.items():
        if record.model.kind != "prior":
            method, view, figure = name.split("/", 2)
            yield (method, view, figure), value


def _bands(record: Record, view: str) -> set[str]:
    """Those that were seen."""
    own = [inputs for name, inputs in record.inputs.items() if view in (name, JOINT)]
    return {band for inputs in own for band in inputs.bands if band not in inputs.missing}


def _csv(columns: Sequence[str], rows: Sequence[dict[str, object]], name: str, view: str) -> str:
    if not rows:
        raise ConfigError(f"{name}: none of the results has a figure that it knows for view '{view}'")
    text = io.StringIO()
    out = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    out.writeheader()
    out.writerows(rows)
    return text.getvalue()
