"""GEO-Bench v1: an HDF5 file a sample, a JSON file for splits, another one for labels.

The files carry pickled attributes, which could run any code and are never opened: bands are known by the names of the
arrays, labels from `label_map.json` (single label) or `label_stats.json` (multi-label), masks from the array `label`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from csmoe_model.errors import DataError
from csmoe_model.evaluation.dataset import Bands, EvaluationSet, Float32, Task
from csmoe_model.evaluation.layouts.geobench_bands import Channels, name_bands
from csmoe_model.evaluation.layouts.geobench_classes import CLASSES
from csmoe_model.evaluation.layouts.images import library
from csmoe_model.evaluation.layouts.options import LayoutOptions
from csmoe_model.evaluation.layouts.readers import on_one_grid

_PARTITION, _LABEL_MAP, _LABEL_STATS = "default_partition.json", "label_map.json", "label_stats.json"
_SPLITS = {"train": "train", "valid": "validation", "test": "test"}
_DATE = re.compile(r"_\d{4}-\d{2}-\d{2}$")
_LOOKED_AT = 8
"""Training samples that tell whether names fit values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hdf5Reader:
    """A file a sample; its arrays and nothing else."""

    paths: tuple[Path, ...]
    channels: Mapping[str, Channels]
    """By sensor."""

    def images(self, sample: int) -> dict[str, Float32]:
        """See `Reader`."""
        arrays = read_arrays(self.paths[sample])
        found = {}
        for sensor, channels in self.channels.items():
            if missing := [key for key in channels.keys if key not in arrays]:
                raise DataError(f"sample {self.paths[sample]}: has no {', '.join(missing)}: is it of the data set?")
            found[sensor] = on_one_grid([arrays[key].astype(np.float32) for key in channels.keys])
        return found

    def mask(self, sample: int) -> npt.NDArray[np.int64]:
        """See `Reader`."""
        arrays = read_arrays(self.paths[sample])
        if "label" not in arrays:
            raise DataError(f"sample {self.paths[sample]}: has no mask: take a segmentation set of GEO-Bench")
        return arrays["label"].astype(np.int64)


def recognises(path: Path) -> bool:
    """Whether there is a data set of GEO-Bench v1."""
    return (path / _PARTITION).is_file()


def open_geobench(path: Path, options: LayoutOptions) -> EvaluationSet:
    """A data set of GEO-Bench v1 with its default partition.

    Raises:
        DataError: Files are missing or damaged, or no label can be had without opening a pickle.
    """
    partition = _read_json(path / _PARTITION)
    rows = [(name, _SPLITS[part]) for part in _SPLITS for name in partition.get(part, ())]
    if not rows:
        raise DataError(f"GEO-Bench set {path}: {_PARTITION} names no sample: take it from its source again")
    ids, split = (list(column) for column in zip(*rows, strict=True))
    paths = [path / f"{name}.hdf5" for name in ids]
    train = [sample for sample, part in zip(paths, split, strict=True) if part == "train"] or paths
    looked_at = [read_arrays(train[k]) for k in sorted({*np.linspace(0, len(train) - 1, _LOOKED_AT).astype(int)})]
    task, classes, labels = _labels(path, ids, masked="label" in looked_at[0])
    channels, notes = name_bands(path.name, looked_at)
    return EvaluationSet(
        name=f"GEO-Bench {path.name}",
        task=task,
        sensors={name: Bands(names=own.bands, unit=own.unit, gsd_m=own.gsd_m) for name, own in channels.items()},
        classes=classes,
        ids=np.array(ids, np.str_),
        split=np.array(split, np.str_),
        labels=labels,
        reader=Hdf5Reader(paths=tuple(paths), channels=channels),
        notes=("default partition of GEO-Bench v1", *notes),
    )


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Arrays (H, W) of a sample by name without date, the earliest of several.

    Raises:
        DataError: It cannot be read.
    """
    h5py = library("h5py", f"HDF5 file {path}")
    try:
        with h5py.File(path, "r") as file:
            found: dict[str, npt.NDArray[Any]] = {}
            for key in sorted(file):
                if (name := _DATE.sub("", key)) not in found and file[key].ndim == 2:
                    found[name] = file[key][()]
            return found
    except (OSError, KeyError, ValueError, AttributeError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else " ".join(str(error).split())
        raise DataError(f"HDF5 file {path}: cannot be read ({reason}): take it from its source again") from error


def _labels(
    path: Path, ids: Sequence[str], *, masked: bool
) -> tuple[Task, tuple[str, ...], npt.NDArray[np.int64] | npt.NDArray[np.bool_] | None]:
    """Task, names of classes, and labels; of masks the names alone, as many as the statistics count."""
    if (path / _LABEL_MAP).is_file() and not masked:
        of = {name: int(code) for code, names in _read_json(path / _LABEL_MAP).items() for name in names}
        _check_labelled(path, ids, of, _LABEL_MAP)
        return "single_label", _classes(path, max(of.values()) + 1), np.array([of[name] for name in ids], np.int64)
    if not (path / _LABEL_STATS).is_file():
        raise DataError(
            f"GEO-Bench set {path}: has neither {_LABEL_MAP} nor {_LABEL_STATS}, and the labels in its samples are "
            "pickles, which are not opened: take these files from the source of the data set"
        )
    stats = _read_json(path / _LABEL_STATS)
    _check_labelled(path, ids, stats, _LABEL_STATS)
    table = np.array([stats[name] for name in ids], np.float64)
    classes = _classes(path, table.shape[1])
    if masked:
        return "segmentation", classes, None
    if not np.isin(table, (0, 1)).all():
        raise DataError(f"GEO-Bench set {path}: {_LABEL_STATS} holds shares, no labels: is it one for segmentation?")
    return "multi_label", classes, table.astype(bool)


def _check_labelled(path: Path, ids: Sequence[str], labelled: Iterable[str], file: str) -> None:
    if missing := sorted(set(ids) - set(labelled)):
        raise DataError(f"GEO-Bench set {path}: {file} has no label for {len(missing):,} samples, say {missing[0]}")


def _classes(path: Path, num_classes: int) -> tuple[str, ...]:
    """Known names, or else codes: names are in a pickle."""
    known = CLASSES.get(path.name.lower().removeprefix("m-").replace("_", "-"), ())
    return known if len(known) >= num_classes else tuple(map(str, range(num_classes)))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}): take it from its source again") from error
