"""Labels, splits and partners of BigEarthNet's patches."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from csmoe_model.errors import DataError
from csmoe_model.evaluation.dataset import Strings
from csmoe_model.evaluation.layouts.nomenclature import CLASS_OF, CLASSES

_COLUMNS = ("patch_id", "labels", "split", "country", "s1_name", "contains_seasonal_snow", "contains_cloud_or_shadow")
_TILE = re.compile(r"_T(\d\d[A-Z]{3})(?:_|$)")


@dataclass(frozen=True, kw_only=True, eq=False)
class Patches:
    """What is known of patches, without their pixels."""

    version: str
    ids: Strings
    """(N,) Names of the Sentinel-2 patches."""
    s1: Strings
    """(N,) Names of their Sentinel-1 partners; empty: there is none."""
    split: Strings
    """(N,) Empty where the data set brings none."""
    labels: npt.NDArray[np.bool_]
    """(N, 19)"""
    group: Strings
    """(N,) Tile of the Sentinel-2 grid."""
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def names(self) -> dict[str, list[str]]:
        """Names of the patches by sensor."""
        return {"s1": self.s1.tolist(), "s2": self.ids.tolist()}

    def found_in(self, places: Mapping[str, Sequence[str]]) -> tuple[Patches, dict[str, tuple[str, ...]]]:
        """Those that have a place for any sensor, and their places.

        Args:
            places: (N,) By sensor, empty where a patch has none.
        """
        keep = [any(own) for own in zip(*places.values(), strict=True)]
        kept = {name: tuple(place for place, yes in zip(own, keep, strict=True) if yes) for name, own in places.items()}
        return self.take(keep, "whose pixels are not there"), kept

    def take(self, keep: npt.ArrayLike, lacking: str) -> Patches:
        """Some of them, with a note of how many others are left out, and why."""
        rows = np.asarray(keep, bool)
        left_out = int((~rows).sum())
        return replace(
            self,
            ids=self.ids[rows],
            s1=self.s1[rows],
            split=self.split[rows],
            labels=self.labels[rows],
            group=self.group[rows],
            notes=(*self.notes, f"left out: {left_out:,} {lacking}") if left_out else self.notes,
        )


def read_metadata(path: Path) -> Patches:
    """The table of the second version, without patches that snow, cloud or shadow cover.

    Raises:
        DataError: It is no such table, or names a class that nobody knows.
    """
    try:
        table = pq.read_table(path, columns=list(_COLUMNS))
    except (OSError, pa.ArrowException, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error).splitlines()[0]
        raise DataError(f"metadata {path}: cannot be read as reBEN's table ({reason}): check the path") from error
    columns: dict[str, Any] = {name: table[name].to_pylist() for name in _COLUMNS}
    patches = Patches(
        version="BigEarthNet v2",
        ids=np.array(columns["patch_id"], np.str_),
        s1=np.array([name or "" for name in columns["s1_name"]], np.str_),
        split=np.array(columns["split"], np.str_),
        labels=_multi_hot(columns["labels"], path),
        group=_tiles(columns["patch_id"]),
        notes=(),
    )
    covered = [
        bool(snow or cloud)
        for snow, cloud in zip(columns["contains_seasonal_snow"], columns["contains_cloud_or_shadow"], strict=True)
    ]
    clear = ~np.array(covered, bool)
    counts = Counter(country for country, kept in zip(columns["country"], clear, strict=True) if kept)
    countries = ", ".join(f"{country} {count:,}" for country, count in sorted(counts.items()))
    patches = patches.take(clear, "with seasonal snow, cloud or shadow, as in the official split")
    patches = replace(patches, notes=(*patches.notes, f"countries in the table: {countries}"))
    return patches.take(patches.labels.any(1), "without a label")


def read_json_labels(s2: Mapping[str, str], s1: Mapping[str, str]) -> Patches:
    """Labels of the first version, mapped from 43 classes to 19, from the JSON file beside each patch.

    Args:
        s2: Folders of the Sentinel-2 patches by name.
        s1: Folders of the Sentinel-1 patches by name.

    Raises:
        DataError: A file is missing or damaged, or names a class that nobody knows.
    """
    partner = {_read_json(folder)["corresponding_s2_patch"]: name for name, folder in sorted(s1.items())}
    names = sorted(s2)
    read = [_read_json(s2[name]) for name in names]
    patches = Patches(
        version="BigEarthNet v1, 19 classes",
        ids=np.array(names, np.str_),
        s1=np.array([partner.get(name, "") for name in names], np.str_),
        split=np.full(len(names), "", np.str_),
        labels=_multi_hot([about["labels"] for about in read], Path(s2[names[0]]).parent),
        group=_tiles([about.get("tile_source", name) for name, about in zip(names, read, strict=True)]),
        notes=("43 classes mapped to 19 by the rule of BigEarthNet's authors",),
    )
    return patches.take(patches.labels.any(1), "whose labels have no counterpart among the 19 classes")


def _read_json(folder: str) -> dict[str, Any]:
    path = Path(folder, f"{Path(folder).name}_labels_metadata.json")
    try:
        about = json.loads(path.read_text())
        if isinstance(about["labels"], list):
            return dict(about)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"labels {path}: cannot be read ({type(error).__name__}): is the data set complete?") from error
    raise DataError(f"labels {path}: are no list: is the data set complete?")


def _multi_hot(labels: Iterable[Sequence[str] | None], path: Path) -> npt.NDArray[np.bool_]:
    """(N, 19) Of names of the 19 classes or the 43."""
    code = {name: CLASSES.index(own) if own else None for name, own in CLASS_OF.items()}
    rows, columns, num = [], [], 0
    for num, own in enumerate(labels, 1):
        for name in own or ():
            if name not in code:
                raise DataError(f"labels of {path}: '{name}' is none of BigEarthNet's 19 or 43 classes: is it another?")
            if (column := code[name]) is not None:
                rows.append(num - 1)
                columns.append(column)
    found = np.zeros((num, len(CLASSES)), bool)
    found[rows, columns] = True
    return found


def _tiles(names: Iterable[str]) -> Strings:
    """Tile in a name, or else all of it that comes before row and column."""
    found = [match[1] if (match := _TILE.search(name)) else name.rsplit("_", 2)[0] for name in names]
    return np.array(found, np.str_)
