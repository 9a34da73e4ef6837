"""BigEarthNet: multi-label patches of both Sentinels, as folders of GeoTIFFs or in rico-hdl's LMDB.

Its second version (reBEN) tells labels, split, and the Sentinel-1 partner in a table. The first version has a JSON file
beside every patch, with 43 classes, which are mapped to the 19, and no split in it. Bands of 20 and 60 m are brought to
the 10 m grid by nearest neighbour.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from csmoe_model.errors import DataError
from csmoe_model.evaluation.dataset import Bands, EvaluationSet, Float32, Reader
from csmoe_model.evaluation.layouts.bigearthnet_labels import Patches, read_json_labels, read_metadata
from csmoe_model.evaluation.layouts.images import read_tiff
from csmoe_model.evaluation.layouts.nomenclature import CLASSES
from csmoe_model.evaluation.layouts.options import LayoutOptions
from csmoe_model.evaluation.layouts.readers import Unmasked, on_one_grid
from csmoe_model.evaluation.layouts.splits import completed

BANDS = {
    "s1": ("VV", "VH"),
    "s2": ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"),
}
_ROOTS = {"s1": ("BigEarthNet-S1*",), "s2": ("BigEarthNet-S2*", "BigEarthNet-v1*")}
_PATCH = re.compile(r"_\d+_\d+$")
"""Row and column end the name of a patch, not those of tiles and scenes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderReader(Unmasked):
    """A folder a patch and sensor, a file a band."""

    folders: Mapping[str, tuple[str, ...]]
    """Of each sample, by sensor; empty: it lacks the sensor."""
    bands: Mapping[str, tuple[str, ...]]

    def images(self, sample: int) -> dict[str, Float32]:
        """See `Reader`."""
        return {
            sensor: on_one_grid([read_tiff(_band_file(folder, band))[0] for band in self.bands[sensor]])
            for sensor, folders in self.folders.items()
            if (folder := folders[sample])
        }


def recognises(path: Path) -> bool:
    """Whether there is a folder of BigEarthNet's patches."""
    return any(_root(path, sensor) for sensor in _ROOTS)


def open_bigearthnet(path: Path, options: LayoutOptions) -> EvaluationSet:
    """BigEarthNet as it is published, of the second version or the first.

    Raises:
        DataError: Patches or labels are not there.
    """
    found = {sensor: _patches(root) for sensor in _ROOTS if (root := _root(path, sensor))}
    if not any(found.values()):
        wanted = ", ".join(pattern for patterns in _ROOTS.values() for pattern in patterns)
        raise DataError(f"BigEarthNet in {path}: there are no patches in {wanted}: check the path")
    if table := metadata_path(path, options):
        patches = read_metadata(table)
    elif found.get("s2") and any(Path(next(iter(found["s2"].values()))).glob("*_labels_metadata.json")):
        patches = read_json_labels(found["s2"], found.get("s1", {}))
    else:
        raise DataError(f"BigEarthNet in {path}: there is no metadata.parquet with labels and splits: give its path")
    patches, folders = patches.found_in({s: [own.get(k, "") for k in patches.names[s]] for s, own in found.items()})
    bands = {
        sensor: tuple(band for band in BANDS[sensor] if _band_file(first, band).is_file())
        for sensor, own in folders.items()
        if (first := next(filter(None, own), ""))
    }
    reader = FolderReader(folders={sensor: folders[sensor] for sensor in bands}, bands=bands)
    return evaluation_set(patches, bands, reader, options)


def metadata_path(path: Path, options: LayoutOptions) -> Path | None:
    """The table of labels: the one given, or beside the images."""
    if options.metadata:
        return options.metadata
    beside = [folder / "metadata.parquet" for folder in (path, path.parent)]
    return next((table for table in beside if table.is_file()), None)


def evaluation_set(
    patches: Patches, bands: Mapping[str, tuple[str, ...]], reader: Reader, options: LayoutOptions
) -> EvaluationSet:
    """The data set of some patches.

    Raises:
        DataError: None is left.
    """
    if not len(patches):
        raise DataError(f"{patches.version}: no patch is left: {'; '.join(patches.notes) or 'it is empty'}")
    split, made = completed(patches.split, patches.group.tolist(), options)
    return EvaluationSet(
        name=patches.version,
        task="multi_label",
        sensors={
            sensor: Bands(names=own, unit="dB" if sensor == "s1" else "DN", gsd_m=10.0) for sensor, own in bands.items()
        },
        classes=CLASSES,
        ids=patches.ids,
        split=split,
        labels=patches.labels,
        reader=reader,
        group=patches.group,
        notes=(*patches.notes, *made),
    )


def _root(path: Path, sensor: str) -> Path | None:
    found = (entry for pattern in _ROOTS[sensor] for entry in sorted(path.glob(pattern)) if entry.is_dir())
    return next(found, None)


def _band_file(folder: str, band: str) -> Path:
    return Path(folder, f"{Path(folder).name}_{band}.tif")


def _patches(root: Path) -> dict[str, str]:
    """Folders of patches by name; they lie in the root, or in folders of tiles and scenes there."""
    found = {}
    for entry in root.iterdir():
        if _PATCH.search(entry.name):
            found[entry.name] = str(entry)
        elif entry.is_dir():
            found.update({inner.name: str(inner) for inner in entry.iterdir() if _PATCH.search(inner.name)})
    return found
