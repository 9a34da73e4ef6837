"""Folders of images, one a class: `<Class>/<image>`, or `{train,validation,test}/<Class>/<image>`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from csmoe_model.errors import DataError
from csmoe_model.evaluation.dataset import Bands, EvaluationSet, Float32, Unit
from csmoe_model.evaluation.layouts.images import PICTURES, TIFFS, read_image, tiff_bands
from csmoe_model.evaluation.layouts.options import LayoutOptions
from csmoe_model.evaluation.layouts.readers import Unmasked
from csmoe_model.evaluation.layouts.splits import completed

RGB = ("B04", "B03", "B02")
"""Red, green and blue, named as the bands of Sentinel-2 that are these."""
_PARTS = {"train": "train", "test": "test", "val": "validation", "valid": "validation", "validation": "validation"}
_RADAR = {"VV", "VH", "HH", "HV"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFiles:
    """The images of class folders, sorted by path."""

    root: Path
    paths: tuple[Path, ...]
    classes: tuple[str, ...]
    """Of each image."""
    parts: tuple[str, ...]
    """Split of each image by its folder; empty: there are no such folders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReader(Unmasked):
    """A file a sample, all bands in it."""

    paths: tuple[Path, ...]
    sensor: str
    bands: tuple[str, ...]

    def images(self, sample: int) -> dict[str, Float32]:
        """See `Reader`."""
        pixels = read_image(self.paths[sample])
        if len(pixels) != len(self.bands):
            raise DataError(
                f"image {self.paths[sample]}: has {len(pixels)} bands, not the {len(self.bands)} of the data set "
                f"({', '.join(self.bands)}): name those that its files have by --set bands=..."
            )
        return {self.sensor: pixels}


def recognises(path: Path) -> bool:
    """Whether there are class folders with images."""
    try:
        return bool(class_files(path).paths)
    except DataError:
        return False


def open_folders(path: Path, options: LayoutOptions) -> EvaluationSet:
    """Class folders as a data set.

    Raises:
        DataError: There are none, or it is not known which bands the files hold.
    """
    files = class_files(path)
    sensor, about, notes = image_bands(files.paths[0], options)
    ids = [path.relative_to(files.root).as_posix() for path in files.paths]
    return of_classes(f"folders {path.name}", files, ids, (sensor, about), options, notes)


def image_bands(path: Path, options: LayoutOptions) -> tuple[str, Bands, list[str]]:
    """Name of the sensor, its bands as one of its files has them or the options say, and what was taken for granted.

    Raises:
        DataError: Neither says it.
    """
    names, unit = options.bands or _bands(path), options.unit or _unit(path)
    notes = [f"bands {', '.join(names)} in '{unit}'"]
    if options.gsd_m is None:
        notes.append("pixels taken for 10 m wide")
    sensor = "s1" if set(names) <= _RADAR else "s2" if any(band.startswith("B") for band in names) else "image"
    return sensor, Bands(names=names, unit=unit, gsd_m=options.gsd_m or 10.0), notes


def of_classes(
    name: str,
    files: ClassFiles,
    ids: Sequence[str],
    sensor: tuple[str, Bands],
    options: LayoutOptions,
    notes: Sequence[str],
) -> EvaluationSet:
    """A data set of class folders; splits that they do not bring hang on the ids."""
    split, made = completed(np.array(files.parts, np.str_), ids, options)
    classes, labels = np.unique(np.array(files.classes, np.str_), return_inverse=True)
    return EvaluationSet(
        name=name,
        task="single_label",
        sensors=dict([sensor]),
        classes=tuple(classes.tolist()),
        ids=np.array(ids, np.str_),
        split=split,
        labels=labels.astype(np.int64),
        reader=FileReader(paths=files.paths, sensor=sensor[0], bands=sensor[1].names),
        notes=(*notes, *made),
    )


def class_files(path: Path, suffixes: Sequence[str] = (*TIFFS, *PICTURES)) -> ClassFiles:
    """The images of the class folders below, however deep these are while every folder has but one in it.

    Raises:
        DataError: There are none.
    """
    root = path
    while len(inner := _folders(root)) == 1 and not _images(inner[0], suffixes):
        root = inner[0]
    parted = bool(inner) and all(folder.name.lower() in _PARTS for folder in inner)
    rows = [
        (image, folder.name, _PARTS[part.name.lower()] if parted else "")
        for part in (inner if parted else [root])
        for folder in _folders(part)
        for image in _images(folder, suffixes)
    ]
    if not rows:
        raise DataError(f"folder {path}: has no folders of images ({', '.join(suffixes)}), one a class: check the path")
    paths, classes, parts = zip(*sorted(rows), strict=True)
    return ClassFiles(root=root, paths=paths, classes=classes, parts=parts)


def _folders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and entry.name[0] not in "._")


def _images(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    return [entry for entry in folder.iterdir() if entry.suffix.lower() in suffixes and entry.name[0] != "."]


def _bands(path: Path) -> tuple[str, ...]:
    """Those of a picture; of a GeoTIFF as GDAL has described them in it."""
    if path.suffix.lower() in PICTURES:
        found = {1: ("grey",), 3: RGB}.get(len(read_image(path)), ())
    else:
        found = tiff_bands(path)[0]
    if not found:
        raise DataError(f"image {path}: does not say which bands it has: name them in its order")
    return found


def _unit(path: Path) -> Unit:
    if path.suffix.lower() in PICTURES or tiff_bands(path)[1] == "uint8":
        return "byte"
    raise DataError(f"image {path}: does not say in which unit its values are: give it, say DN, reflectance or dB")
