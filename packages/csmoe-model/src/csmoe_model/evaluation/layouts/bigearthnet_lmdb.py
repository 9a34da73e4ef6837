"""BigEarthNet in the LMDB of rico-hdl: name of a patch -> safetensors of its bands."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csmoe_model.errors import DataError
from csmoe_model.evaluation.dataset import EvaluationSet, Float32
from csmoe_model.evaluation.layouts.bigearthnet import BANDS, evaluation_set, metadata_path
from csmoe_model.evaluation.layouts.bigearthnet_labels import read_metadata
from csmoe_model.evaluation.layouts.images import library
from csmoe_model.evaluation.layouts.options import LayoutOptions
from csmoe_model.evaluation.layouts.readers import Unmasked, on_one_grid

_ENVIRONMENTS: dict[tuple[int, Path], Any] = {}
"""By process and path: LMDB allows a process to open a file but once, and no use of it across a fork."""
_OPENING = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class LmdbReader(Unmasked):
    """Patches by name."""

    path: Path
    names: Mapping[str, tuple[str, ...]]
    """Of each sample, by sensor; empty: it lacks the sensor."""
    bands: Mapping[str, tuple[str, ...]]

    def images(self, sample: int) -> dict[str, Float32]:
        """See `Reader`."""
        found = {}
        for sensor, names in self.names.items():
            if name := names[sample]:
                tensors = read_patch(self.path, name)
                if missing := [band for band in self.bands[sensor] if band not in tensors]:
                    raise DataError(f"LMDB {self.path}: patch {name} lacks {', '.join(missing)}: write it again")
                found[sensor] = on_one_grid([tensors[band].astype("float32") for band in self.bands[sensor]])
        return found


def recognises(path: Path) -> bool:
    """Whether there is an LMDB."""
    return (path / "data.mdb").is_file()


def open_lmdb(path: Path, options: LayoutOptions) -> EvaluationSet:
    """BigEarthNet v2 from an LMDB; labels and splits are in the table `metadata.parquet`, which it does not hold.

    Raises:
        DataError: It is no such LMDB, or the table is missing.
    """
    table = metadata_path(path, options)
    if table is None:
        raise DataError(f"LMDB {path}: there is no metadata.parquet with labels and splits beside it: give its path")
    patches = read_metadata(table)
    with environment(path).begin() as transaction, transaction.cursor() as cursor:
        stored = {
            sensor: [name if name and cursor.set_key(name.encode()) else "" for name in names]
            for sensor, names in patches.names.items()
        }
    patches, names = patches.found_in(stored)
    bands = {}
    for sensor, own in names.items():
        if first := next(filter(None, own), None):
            tensors = read_patch(path, first)
            bands[sensor] = tuple(band for band in BANDS[sensor] if band in tensors)
    reader = LmdbReader(path=path, names={sensor: names[sensor] for sensor in bands}, bands=bands)
    return evaluation_set(patches, bands, reader, options)


def read_patch(path: Path, name: str) -> dict[str, Any]:
    """Bands (h, w) of a patch by name, as stored.

    Raises:
        DataError: It is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    with environment(path).begin() as transaction:
        content = transaction.get(name.encode())
    if content is None:
        raise DataError(f"LMDB {path}: has no patch {name}: write it again")
    try:
        return dict(load(content))
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"LMDB {path}: patch {name} is damaged ({error}): write it again") from error


def environment(path: Path) -> Any:
    """An LMDB, opened once in a process, for reading.

    Raises:
        DataError: It is none.
    """
    lmdb = library("lmdb", f"LMDB {path}")
    key = os.getpid(), path.resolve()
    with _OPENING:
        if key not in _ENVIRONMENTS:
            try:
                _ENVIRONMENTS[key] = lmdb.open(str(path), readonly=True, lock=False, readahead=False, create=False)
            except lmdb.Error as error:
                raise DataError(f"LMDB {path}: cannot be opened ({error}): check the path") from error
        return _ENVIRONMENTS[key]
