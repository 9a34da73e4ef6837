"""Records in the layouts of public leaderboards: what they ask for and we know, empty where we do not."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence

from csmoe_model.errors import ConfigError
from csmoe_model.evaluation.records import Record

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
        records: Of classification by fine-tuning, or of segmentation; five seeds of each backbone.
        view: Sensor, or `joint`.
        dataset: Its name of the data set, as `benv2`.

    Raises:
        ConfigError: A backbone has other than five seeds, or no record has a figure that it knows.
    """
    seeds: dict[str, set[int]] = {}
    for one in records:
        seeds.setdefault(one.model.name, set()).add(one.seed)
    if wrong := [f"{name} has {len(own)}" for name, own in seeds.items() if len(own) != _NUM_SEEDS]:
        raise ConfigError(f"GEO-Bench-2: takes {_NUM_SEEDS} seeds of each backbone, {', '.join(wrong)}: run the others")
    rows = [row for one in records for row in _leaderboard_rows(one, view, dataset)]
    return _csv(_GEOBENCH_2, rows, "GEO-Bench-2", view)


def geobench_2_about(records: Sequence[Record]) -> str:
    """The JSON that goes with `geobench_2`; what only the submitter knows is N/A."""
    models = {one.model.name: one.model for one in records}
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
    chosen = record.settings.get("chosen_c", {})
    for name, (value, low, high) in record.figures.items():
        method, own_view, figure = name.split("/", 2) if name.count("/") > 1 else (name, "", "")
        known = {"knn5-l2": "knn5", "linear": "linear"}
        if record.task == "segmentation":
            known = {method: f"seg-{method}"}
        if own_view != view or figure not in _TORCHGEO_BENCH_METRICS or method not in known:
            continue
        yield {
            "dataset": dataset,
            "method": known[method],
            "metric_name": _TORCHGEO_BENCH_METRICS[figure],
            "metric_value": value,
            "ci_lower": low or 0.0,
            "ci_upper": high or 0.0,
            "best_c": chosen.get(f"linear/{view}", "") if method == "linear" and isinstance(chosen, dict) else "",
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
            "bands": ",".join(band for name in _sensors(record, view) for band in record.inputs[name].bands),
            "merge_val": method == "linear",
            "bootstrap": record.settings.get("resamples", ""),
        }


def _leaderboard_rows(record: Record, view: str, dataset: str) -> Iterator[dict[str, object]]:
    for name, (value, _, _) in record.figures.items():
        method, own_view, figure = name.split("/", 2) if name.count("/") > 1 else (name, "", "")
        trained = record.task == "segmentation" or method == "finetune"
        if own_view == view and figure in _GEOBENCH_2_METRICS and trained:
            yield {
                "dataset": dataset,
                "Metric": _GEOBENCH_2_METRICS[figure],
                "experiment_name": f"csmoe-model {record.model.name}",
                "partition name": "1.00x train",
                "backbone": record.model.name,
                "decoder": method,
                "batch_size_selection": "fixed",
                "early_stop_patience": record.settings.get("epochs", 0),
                "n_trials": 0,
                "Seed": record.seed,
                "data_percentages": 100,
                "batch_size": record.settings.get("batch", ""),
                "weight_decay": record.settings.get("weight_decay", ""),
                "lr": record.settings.get("lr", ""),
                "test metric": value,
                "frozen_or_full_ft": "frozen" if record.settings.get("frozen") else "full_ft",
            }


def _sensors(record: Record, view: str) -> list[str]:
    return [name for name in record.inputs if view in (name, "joint")]


def _csv(columns: Sequence[str], rows: Sequence[dict[str, object]], name: str, view: str) -> str:
    if not rows:
        raise ConfigError(f"{name}: none of the results has a figure that it knows for view '{view}'")
    text = io.StringIO()
    out = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    out.writeheader()
    out.writerows(rows)
    return text.getvalue()
