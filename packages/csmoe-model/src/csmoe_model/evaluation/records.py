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
from csmoe_model.evaluation.extract import JOINT
from csmoe_model.evaluation.extractor import Extractor
from csmoe_model.evaluation.extractors.own import OwnExtractor
from csmoe_model.evaluation.figures import Figure, Figures
from csmoe_model.evaluation.prepare import Preparation
from csmoe_model.nn.model import CSMoE

Value = tuple[float | None, float | None, float | None]
"""A figure and its interval; none where there is no number."""
FLOORS = frozenset({"statistics", "random", "prior"})
"""Kinds of backbones that are there to be beaten."""


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
    """Of what encodes, all sensors together; decoders and retrieval heads are not counted."""
    macs: dict[str, int | None]
    """Multiply-adds of one image of `image_px`, by sensor; each is two FLOP."""
    curve: str = ""
    """Of the curve that it is a point of, where one model is computed with more or less of its parts."""


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
    """One a band; of missing ones the backbone's own, which nothing was standardised with."""
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
        return self.model.kind in FLOORS

    def gflop(self, view: str) -> float | None:
        """Of one image of each sensor of a view, of a direction those of both sides; None where nobody knows."""
        sensors = view.split(">")
        parts = [macs for name, macs in self.model.macs.items() if JOINT in sensors or name in sensors]
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
    encodes = module.encoder if isinstance(module, CSMoE) else module
    return ModelAbout(
        name=extractor.name,
        kind=extractor.kind,
        weights=None if module is None else _digest(module.state_dict()),
        num_parameters=0 if encodes is None else sum(parameter.numel() for parameter in encodes.parameters()),
        macs={sensor: extractor.macs(sensor) for sensor in sensors},
        curve=extractor.curve if isinstance(extractor, OwnExtractor) else "",
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


def as_figure(value: Value) -> Figure:
    """The inverse of `as_values`, of one figure."""
    return Figure(*(math.nan if part is None else part for part in value))


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
    """Raises ConfigError where there are no records, or not all on the same data, splits, task and protocol."""
    if not records:
        raise ConfigError("results: there are none to make a table of")
    found = {
        "task": [one.task for one in records],
        "fingerprint of the data": [one.data.fingerprint for one in records],
        "hash of the splits": [one.data.split_hash for one in records],
        "protocol": [str(one.settings.get("protocol", "none")) for one in records],
    }
    for part, values in found.items():
        if len(names := dict.fromkeys(values)) > 1:
            raise ConfigError(f"results: differ in the {part} ({' and '.join(names)}): they cannot share a table")


def _digest(state: Mapping[str, object]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value.detach().cpu().numpy()).tobytes())  # type: ignore[attr-defined]
    return digest.hexdigest()[:16]


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


_MANY = TypeAdapter(list[Record])
