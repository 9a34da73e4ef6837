"""Data sets as tables: what is known of every sample, and a reader of its pixels.

Pixels come as the data set has them, by sensor, with bands by name and a unit. What an extractor makes of them is
decided in `prepare`, so that a swapped band or a wrong unit can be seen in one place.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from csmoe_model.errors import DataError

Float32 = npt.NDArray[np.float32]
Strings = npt.NDArray[np.str_]
Task = Literal["single_label", "multi_label", "segmentation", "pairs"]
Unit = Literal["DN", "reflectance", "dB", "power", "byte", "m", "0-1"]
"""Reflectance x 10,000 with no offset; reflectance; decibels; linear power; 8-bit display values; metres; 0 to 1."""
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """How a data set has a sensor."""

    names: tuple[str, ...]
    """In the order of the channels: B01 ... B8A ... B12, VV, VH, or the data set's own."""
    unit: Unit
    gsd_m: float


class Reader(Protocol):
    """Pixels by number of a sample; picklable, for processes that load, and safe for threads."""

    def images(self, sample: int) -> dict[str, Float32]:
        """(C, H, W) By sensor, NaN where invalid; a sensor that the sample lacks is left out; raises DataError."""

    def mask(self, sample: int) -> npt.NDArray[np.int64]:
        """(H, W) Class of every pixel; raises DataError where the set has none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationSet:
    """A data set, one row a sample."""

    name: str
    """Of the data set, with its version: `EuroSAT RGB`."""
    task: Task
    sensors: Mapping[str, Bands]
    """`s1`, `s2`, or other names."""
    classes: tuple[str, ...]
    """Names, by code."""
    ids: Strings
    """(N,) Unique."""
    split: Strings
    """(N,) train, validation or test."""
    labels: npt.NDArray[np.int64] | npt.NDArray[np.bool_] | None
    """(N,) Codes, (N, K) True where a sample carries a class, or none where only masks or pairs are known."""
    reader: Reader
    ignore_index: int | None = None
    """Of masks: pixels that count for nothing."""
    group: Strings | None = None
    """(N,) Scene, tile or place: neighbours that a split or a search should not take for independent."""
    lon_lat: npt.NDArray[np.float64] | None = None
    """(N, 2) Degrees."""
    notes: tuple[str, ...] = ()
    """What a reader of results has to know: defects mended, splits made by us."""

    def __post_init__(self) -> None:
        problems = []
        for name in ("split", "labels", "group", "lon_lat"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self):
                problems.append(f"{len(column)} of {name} for {len(self)} samples")
        if unknown := sorted(set(self.split.tolist()) - set(SPLITS)):
            problems.append(f"splits {', '.join(unknown)}: they are {', '.join(SPLITS)}")
        names = {"id": self.ids.tolist(), "class": self.classes}
        names |= {f"band of {sensor}": bands.names for sensor, bands in self.sensors.items()}
        problems.extend(f"{kind} '{twice}' stands twice" for kind, own in names.items() if (twice := _twice(own)))
        problems.extend(self._label_problems())
        if problems:
            raise DataError(f"data set {self.name}: {'; '.join(problems)}")

    def _label_problems(self) -> list[str]:
        """What would make figures wrong that nothing else notices."""
        labels, num = self.labels, len(self.classes)
        if labels is None:
            return []
        wanted = {"single_label": 1, "multi_label": 2}.get(self.task, labels.ndim)
        if labels.ndim != wanted:
            return [f"labels of {labels.ndim} dimensions, {wanted} are those of the task {self.task}"]
        if labels.ndim == 1 and len(labels) and not 0 <= labels.min() <= labels.max() < num:
            return [f"labels from {labels.min()} to {labels.max()} for {num} classes"]
        return []

    def __len__(self) -> int:
        return len(self.ids)

    def of_split(self, split: str, *, least: int = 1) -> npt.NDArray[np.int64]:
        """Numbers of the samples of a split.

        Raises:
            DataError: They are fewer than `least`.
        """
        found = np.flatnonzero(self.split == split)
        if len(found) < least:
            names, counts = np.unique(self.split, return_counts=True)
            has = ", ".join(f"{name} {count:,}" for name, count in zip(names, counts, strict=True))
            raise DataError(
                f"data set {self.name}: {len(found)} samples of split '{split}', {least} needed (has {has})"
            )
        return found

    def split_hash(self) -> str:
        """Tells which sample is in which split, whatever their order."""
        rows = sorted(f"{one}\t{split}" for one, split in zip(self.ids.tolist(), self.split.tolist(), strict=True))
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]

    def fingerprint(self, *, samples: int = 32) -> str:
        """Tells the data: classes, bands, units, ids, labels, and the pixels of some samples, spread over sorted ids.

        Raises:
            DataError: A sample cannot be read.
        """
        digest = hashlib.sha256()
        sensors = [f"{name} {bands}" for name, bands in sorted(self.sensors.items())]
        about = [self.task, str(self.ignore_index), *self.classes, *sensors]
        digest.update("\n".join(about).encode())
        order = np.argsort(self.ids)
        digest.update("\n".join(self.ids[order].tolist()).encode())
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels[order]).tobytes())
        for place in np.unique(np.linspace(0, len(self) - 1, min(samples, len(self))).astype(int)):
            sample = int(order[place])
            for name, pixels in sorted(self.reader.images(sample).items()):
                digest.update(name.encode() + np.ascontiguousarray(pixels, "<f4").tobytes())
            if self.task == "segmentation":
                digest.update(np.ascontiguousarray(self.reader.mask(sample), "<i8").tobytes())
        return digest.hexdigest()[:16]


def _twice(names: Sequence[str]) -> str | None:
    """The first that stands twice; none: none does."""
    counts = Counter(names)
    return next((name for name in names if counts[name] > 1), None)
