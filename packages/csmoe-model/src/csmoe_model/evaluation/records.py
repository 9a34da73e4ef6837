"""What a result has to carry so that somebody else can compare with it: data, model, inputs, conventions, figures."""

from __future__ import annotations

import hashlib
import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from csmoe_model.config import Section
from csmoe_model.errors import ConfigError, DataError
from csmoe_model.evaluation.dataset import SPLITS, EvaluationSet
from csmoe_model.evaluation.extractor import Extractor
from csmoe_model.evaluation.figures import Figure, Figures
from csmoe_model.evaluation.prepare import Preparation

Value = tuple[float | None, float | None, float | None]
"""A figure and its interval; none where there is no number."""


class DataAbout(Section):
    """The data set."""

    name: str
    task: str
    fingerprint: str
    """Of ids, labels, bands and the pixels of some samples."""
    split_hash: str
    """Tells which sample was in which split."""
    samples: dict[str, int]
    """By split."""
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


class ModelAbout(Section):
    """The backbone."""

    name: str
    kind: str
    weights: str | None
    """SHA-256 of parameters and buffers, its first 16 digits; none: it has none."""
    num_parameters: int
    macs: dict[str, int | None]
    """Multiply-adds of one image, by sensor; each is two FLOP."""


class InputAbout(Section):
    """How a sensor of the backbone was fed."""

    source: str
    """Sensor of the data set."""
    bands: tuple[str, ...]
    missing: tuple[str, ...]
    """Bands that the data set does not have, filled with the mean."""
    unit: tuple[str, str]
    """Of the data set; of the values that were standardised."""
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Record(Section):
    """A backbone on a data set by a method."""

    task: str
    """classification, segmentation or retrieval."""
    settings: dict[str, object]
    """Of the method, with the protocol."""
    data: DataAbout
    model: ModelAbout
    inputs: dict[str, InputAbout]
    image_px: int
    normalise: str
    """Whose means and deviations standardise: the model's, or the data's training split."""
    seed: int
    figures: dict[str, Value]
    """`<method>/<view>/<figure>`."""
    notes: tuple[str, ...]
    versions: dict[str, str]
    device: str

    @property
    def is_floor(self) -> bool:
        """Whether it is there to be beaten."""
        return self.model.kind in ("statistics", "random", "prior")

    def gflop(self, view: str) -> float | None:
        """Of one sample: of a sensor, of all of them, or of both sides of a direction; None where nobody knows."""
        parts = [macs for name, macs in self.model.macs.items() if view == "joint" or name in view.split(">")]
        return None if not parts or None in parts else 2e-9 * sum(macs for macs in parts if macs is not None)


def about_data(data: EvaluationSet) -> DataAbout:
    """What is known of a data set; raises DataError where samples cannot be read."""
    return DataAbout(
        name=data.name,
        task=data.task,
        fingerprint=data.fingerprint(),
        split_hash=data.split_hash(),
        samples={split: int((data.split == split).sum()) for split in SPLITS},
        classes=data.classes,
        notes=data.notes,
    )


def about_model(extractor: Extractor, sensors: Sequence[str]) -> ModelAbout:
    """What is known of a backbone, on the paths of some of its sensors."""
    module = extractor.module
    return ModelAbout(
        name=extractor.name,
        kind=extractor.kind,
        weights=None if module is None else _digest(module.state_dict()),
        num_parameters=0 if module is None else sum(parameter.numel() for parameter in module.parameters()),
        macs={sensor: extractor.macs(sensor) for sensor in sensors},
    )


def about_inputs(preparation: Preparation) -> dict[str, InputAbout]:
    """How each sensor was fed."""
    return {
        name: InputAbout(
            source=feed.source,
            bands=feed.bands,
            missing=feed.missing,
            unit=feed.unit,
            mean=tuple(map(float, feed.mean.ravel())),
            std=tuple(map(float, feed.std.ravel())),
        )
        for name, feed in preparation.feeds.items()
    }


def versions() -> dict[str, str]:
    """Of this package and of what the figures depend on."""
    packages = ("csmoe-model", "torch", "numpy", "scikit-learn", "faiss-cpu")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def as_values(figures: Figures) -> dict[str, Value]:
    """Figures as JSON can hold them."""
    return {name: (_number(one.value), _number(one.low), _number(one.high)) for name, one in figures.items()}


def as_figures(values: Mapping[str, Value]) -> Figures:
    """The inverse of `as_values`."""
    return {name: Figure(*(math.nan if part is None else part for part in one)) for name, one in values.items()}


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Writes records as JSON, the whole file or none."""
    draft = path.with_name(f".{path.name}.tmp")
    draft.write_bytes(_MANY.dump_json(list(records), indent=1))
    draft.replace(path)


def read_records(path: Path) -> list[Record]:
    """The records of a file.

    Raises:
        DataError: There are none in it.
    """
    try:
        return _MANY.validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"results {path}: cannot be read ({error.strerror}): check the path") from error
    except ValidationError as error:
        raise DataError(f"results {path}: are no results of this version ({error.error_count()} problems)") from error


def comparable(records: Sequence[Record]) -> None:
    """Raises ConfigError where records do not stand on the same data, splits and task."""
    for part in ("fingerprint", "split_hash"):
        if len(found := sorted({getattr(one.data, part) for one in records})) > 1:
            raise ConfigError(f"results: differ in the data's {part} ({', '.join(found)}): they cannot share a table")
    if len(tasks := sorted({one.task for one in records})) > 1:
        raise ConfigError(f"results: are of {' and '.join(tasks)}: they cannot share a table")


def _digest(state: Mapping[str, object]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value.detach().cpu().numpy()).tobytes())  # type: ignore[attr-defined]
    return digest.hexdigest()[:16]


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


_MANY = TypeAdapter(list[Record])
