"""Image files as arrays: GeoTIFF, PNG and JPEG."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from csmoe_model.errors import DataError
from csmoe_model.evaluation.dataset import Float32

TIFFS = (".tif", ".tiff")
PICTURES = (".png", ".jpg", ".jpeg")
_GDAL_METADATA, _GDAL_NODATA = 42112, 42113
_DESCRIPTION = re.compile(r'<Item name="DESCRIPTION" sample="(\d+)" role="description">([^<]+)</Item>')


def library(name: str, reads: str) -> ModuleType:
    """A library of the extra `formats`.

    Raises:
        DataError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DataError(
            f'{reads} cannot be read: {name} is not installed; run pip install "csmoe-model[formats]"'
        ) from error


def read_image(path: Path, *, codes: bool = False) -> Float32:
    """(C, H, W) Of a file, by its suffix; NaN where invalid.

    Args:
        path: GeoTIFF, PNG or JPEG.
        codes: Of a picture with a palette the numbers, not the colours.

    Raises:
        DataError: It cannot be read, or is of another kind.
    """
    suffix = path.suffix.lower()
    if suffix in TIFFS:
        return read_tiff(path)
    if suffix in PICTURES:
        return read_picture(path, codes=codes)
    raise DataError(f"image {path}: is none of {', '.join((*TIFFS, *PICTURES))}: convert it")


def read_tiff(path: Path) -> Float32:
    """(C, H, W) Of the first image of a GeoTIFF; NaN where it says that there are no data, and where not finite.

    Raises:
        DataError: It cannot be read.
    """
    values, missing, _ = _tiff(path)
    with np.errstate(over="ignore"):  # what float32 cannot hold is missing too
        pixels = values.astype(np.float32)
        pixels[values == missing] = np.nan
    pixels[~np.isfinite(pixels)] = np.nan
    return pixels


def tiff_bands(path: Path) -> tuple[tuple[str, ...], str]:
    """The names of the bands that GDAL has written into a GeoTIFF, empty where not of all, and the type of its values.

    Raises:
        DataError: It cannot be read.
    """
    values, _, metadata = _tiff(path)
    names = {int(place): name for place, name in _DESCRIPTION.findall(metadata)}
    return tuple(names.get(k, "") for k in range(len(values))) if len(names) == len(values) else (), str(values.dtype)


def _tiff(path: Path) -> tuple[npt.NDArray[Any], float, str]:
    """Values (C, H, W), GDAL's value for missing ones, NaN where there is none, and its metadata as text."""
    tifffile = library("tifffile", f"GeoTIFF {path}")
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            values, axes = np.asarray(page.asarray()), str(page.axes)
            tags = [page.tags.get(code) for code in (_GDAL_NODATA, _GDAL_METADATA)]
            nodata, metadata = ("" if tag is None else str(tag.value).strip("\0 ") for tag in tags)
            missing = float(nodata or "nan")
    except Exception as error:  # codecs have no common family of errors
        raise _unreadable("GeoTIFF", path, error) from error
    if axes not in ("YX", "YXS", "SYX"):
        raise DataError(f"GeoTIFF {path}: its axes are {axes}: bands of two dimensions are needed")
    values = values[None] if axes == "YX" else np.moveaxis(values, -1, 0) if axes == "YXS" else values
    return values, missing, metadata


def read_picture(path: Path, *, codes: bool = False) -> Float32:
    """(C, H, W) Of a PNG or JPEG: its colours in the order of the file; NaN where it is fully transparent.

    Args:
        path: The file.
        codes: Of a picture with a palette the numbers, not the colours.

    Raises:
        DataError: It cannot be read.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.load()
            values = np.asarray(picture if picture.mode != "P" or codes else picture.convert("RGBA"))
            alpha = picture.mode in ("LA", "RGBA") or (picture.mode == "P" and not codes)
    except Exception as error:  # as above
        raise _unreadable("picture", path, error) from error
    pixels = values.astype(np.float32).reshape(*values.shape[:2], -1).transpose(2, 0, 1)
    if alpha:
        pixels = np.where(pixels[-1] > 0, pixels[:-1], np.float32(np.nan))
    return np.ascontiguousarray(pixels)


def _unreadable(kind: str, path: Path, error: Any) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{kind} {path}: no such file: is the data set complete?")
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"{kind} {path}: cannot be read ({reason}): take it from its source again")
