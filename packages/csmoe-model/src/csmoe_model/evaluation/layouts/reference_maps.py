"""BigEarthNet v2's reference maps: a class of the 19 for every pixel, from CORINE's code of the third level.

Codes without a counterpart among the 19 (airports, bare rock, no data) count for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from csmoe_model.errors import DataError
from csmoe_model.evaluation.dataset import EvaluationSet, Float32, Reader
from csmoe_model.evaluation.layouts.bigearthnet import open_bigearthnet
from csmoe_model.evaluation.layouts.images import read_tiff
from csmoe_model.evaluation.layouts.nomenclature import CLASSES, CORINE
from csmoe_model.evaluation.layouts.options import LayoutOptions

IGNORE = -1
_FOLDER = "Reference_Maps"
_MAP = "_reference_map.tif"
_CODE_OF = {code: CLASSES.index(own) for code, (_, own) in CORINE.items() if own}


@dataclass(frozen=True, slots=True, kw_only=True)
class MapReader:
    """Patches of another reader, each with its map."""

    patches: Reader
    rows: tuple[int, ...]
    """Of the patches."""
    maps: tuple[Path, ...]

    def images(self, sample: int) -> dict[str, Float32]:
        """See `Reader`."""
        return self.patches.images(self.rows[sample])

    def mask(self, sample: int) -> npt.NDArray[np.int64]:
        """See `Reader`."""
        codes, place = np.unique(read_tiff(self.maps[sample])[0], return_inverse=True)
        classes = np.array([_CODE_OF.get(int(code), IGNORE) if np.isfinite(code) else IGNORE for code in codes])
        return classes[place].reshape(place.shape).astype(np.int64)


def recognises(path: Path) -> bool:
    """Whether there is a folder of reference maps."""
    return (path / _FOLDER).is_dir()


def open_reference_maps(path: Path, options: LayoutOptions) -> EvaluationSet:
    """BigEarthNet's patches that have a reference map.

    Raises:
        DataError: Patches, labels or maps are not there.
    """
    data = open_bigearthnet(path, options)
    maps = _maps(path / _FOLDER)
    rows = [row for row, name in enumerate(data.ids.tolist()) if name in maps]
    if not rows:
        raise DataError(
            f"{data.name} in {path}: none of its {len(data)} patches has a map in {_FOLDER}: fetch the maps"
        )
    notes = list(data.notes)
    if missing := len(data) - len(rows):
        notes.append(f"left out: {missing:,} without a reference map")
    names = data.ids[rows]
    return replace(
        data,
        name=f"{data.name}, reference maps",
        task="segmentation",
        ids=names,
        split=data.split[rows],
        labels=None if data.labels is None else data.labels[rows],
        reader=MapReader(patches=data.reader, rows=tuple(rows), maps=tuple(maps[name] for name in names.tolist())),
        ignore_index=IGNORE,
        group=None if data.group is None else data.group[rows],
        notes=tuple(notes),
    )


def _maps(root: Path) -> Mapping[str, Path]:
    """By name of the patch; they lie in folders of patches in folders of tiles."""
    return {file.name.removesuffix(_MAP): file for file in sorted(root.rglob(f"*{_MAP}"))}
