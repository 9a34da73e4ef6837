"""Folders of images and masks: `images/<id>.(tif|png|jpg)` with `masks/<id>.(tif|png)`, whole or by split.

In a mask, numbers are codes of classes. Masks that hold 0 and 255 alone are pictures of two classes, 0 and 1; else 255
counts for nothing, and so do negative numbers. `ignore_index` says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from csmoe_model.errors import DataError
from csmoe_model.evaluation.dataset import EvaluationSet
from csmoe_model.evaluation.layouts.folders import FileReader, image_bands
from csmoe_model.evaluation.layouts.images import PICTURES, TIFFS, library, read_image
from csmoe_model.evaluation.layouts.options import LayoutOptions
from csmoe_model.evaluation.layouts.splits import completed

_IMAGES, _MASKS = "images", "masks"
_PARTS = ("train", "validation", "test")
_NOTHING, _WHITE = -1, 255


@dataclass(frozen=True, slots=True)
class Codes:
    """What the numbers in masks mean."""

    num_classes: int
    ignore_index: int
    white: bool
    """255 is class 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairReader(FileReader):
    """An image and a mask a sample."""

    masks: tuple[Path, ...]
    codes: Codes

    def mask(self, sample: int) -> npt.NDArray[np.int64]:
        """See `Reader`."""
        values = _read_mask(self.masks[sample])
        codes: npt.NDArray[np.int64] = np.where(values < 0, self.codes.ignore_index, values)
        if self.codes.white:
            codes = (values == _WHITE).astype(np.int64)
        return codes


def recognises(path: Path) -> bool:
    """Whether there are folders of images and masks."""
    return any((root / _IMAGES).is_dir() and (root / _MASKS).is_dir() for root in _roots(path).values())


def open_pairs(path: Path, options: LayoutOptions) -> EvaluationSet:
    """Images with the masks of the same names; all masks are looked at for their classes.

    Raises:
        DataError: There are none, a mask is missing or of another size, or it is not known which bands images hold.
    """
    rows = [
        (file.relative_to(path).with_suffix("").as_posix().replace(f"{_IMAGES}/", "", 1), split, file, _mask_of(file))
        for split, root in _roots(path).items()
        for file in sorted((root / _IMAGES).glob("*"))
        if file.suffix.lower() in (*TIFFS, *PICTURES) and file.name[0] != "."
    ]
    if not rows:
        raise DataError(f"folder {path}: has no images/ beside masks/, with files of the same names: check the path")
    ids, parts, images, masks = zip(*rows, strict=True)
    for image, mask in zip(images, masks, strict=True):
        if (shape := _shape(image)) != (own := _shape(mask)):
            raise DataError(
                f"mask {mask}: is {own[1]} x {own[0]} px, its image {shape[1]} x {shape[0]}: give both one size"
            )
    codes = _codes(masks, options)
    sensor, bands, notes = image_bands(images[0], options)
    split, made = completed(np.array(parts, np.str_), ids, options)
    if codes.white:
        notes.append("masks of 0 and 255: 255 is class 1")
    return EvaluationSet(
        name=f"pairs {path.name}",
        task="segmentation",
        sensors={sensor: bands},
        classes=options.classes or tuple(map(str, range(codes.num_classes))),
        ids=np.array(ids, np.str_),
        split=split,
        labels=None,
        reader=PairReader(paths=images, masks=masks, sensor=sensor, bands=bands.names, codes=codes),
        ignore_index=codes.ignore_index,
        notes=(*notes, *made),
    )


def _roots(path: Path) -> dict[str, Path]:
    """Where images and masks are, by split; the split is empty where there are no such folders."""
    parts = {part: path / part for part in _PARTS if (path / part / _IMAGES).is_dir()}
    return parts or {"": path}


def _mask_of(image: Path) -> Path:
    folder = image.parent.with_name(_MASKS)
    for suffix in (*TIFFS, ".png"):
        if (mask := folder / f"{image.stem}{suffix}").is_file():
            return mask
    raise DataError(f"image {image}: has no mask {folder / image.stem}.tif or .png: add it, or take the image away")


def _shape(path: Path) -> tuple[int, int]:
    """(H, W) As the head of a file says."""
    from PIL import Image

    tifffile = library("tifffile", f"GeoTIFF {path}") if path.suffix.lower() in TIFFS else None
    try:
        if tifffile:
            with tifffile.TiffFile(path) as file:
                return int(file.pages[0].imagelength), int(file.pages[0].imagewidth)
        with Image.open(path) as picture:
            return picture.height, picture.width
    except Exception as error:  # formats have no common family of errors
        raise DataError(
            f"image {path}: cannot be read ({type(error).__name__}): take it from its source again"
        ) from error


def _codes(masks: Iterable[Path], options: LayoutOptions) -> Codes:
    found: set[int] = set()
    for mask in masks:
        found.update(np.unique(_read_mask(mask)).tolist())
    white = found <= {0, _WHITE} and _WHITE in found and options.ignore_index != _WHITE
    ignored = options.ignore_index
    if ignored is None:
        ignored = _WHITE if _WHITE in found and not white else _NOTHING
    largest = 1 if white else max((code for code in found if code >= 0 and code != ignored), default=0)
    if options.classes and largest >= len(options.classes):
        raise DataError(
            f"masks: hold code {largest}, and {len(options.classes)} classes are named ({', '.join(options.classes)}): "
            "name them all, or say which code is to be ignored"
        )
    return Codes(len(options.classes or range(largest + 1)), ignored, white)


def _read_mask(path: Path) -> npt.NDArray[np.int64]:
    values = read_image(path, codes=True)
    known = np.nan_to_num(values, nan=_NOTHING)
    if len(values) != 1 or (known != np.round(known)).any():
        raise DataError(f"mask {path}: has {len(values)} bands or broken numbers: give codes of classes in one band")
    codes: npt.NDArray[np.int64] = known[0].astype(np.int64)
    return codes
