"""Data sets as other people lay them out on disk."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import numpy as np

from csmoe_model.errors import ConfigError, DataError
from csmoe_model.evaluation.dataset import EvaluationSet
from csmoe_model.evaluation.layouts.options import LayoutOptions

__all__ = ["FORMATS", "Format", "LayoutOptions", "open_set"]


@dataclass(frozen=True, slots=True)
class Format:
    """A layout; its module is imported once it is needed."""

    module: str
    opener: str
    looks_for: str
    """What a folder of this layout has in it."""
    recogniser: str = "recognises"

    def __call__(self, path: Path, options: LayoutOptions) -> EvaluationSet:
        """The data set in a folder; raises DataError where it is not of this layout."""
        found: EvaluationSet = getattr(import_module(f"{__name__}.{self.module}"), self.opener)(path, options)
        return found

    def recognises(self, path: Path) -> bool:
        """Whether a folder looks like this layout."""
        return bool(getattr(import_module(f"{__name__}.{self.module}"), self.recogniser)(path))


FORMATS: dict[str, Format] = {
    "geobench": Format("geobench", "open_geobench", "default_partition.json"),
    "bigearthnet-lmdb": Format("bigearthnet_lmdb", "open_lmdb", "data.mdb"),
    "chips": Format("chips", "open_chips", "zarr.json"),
    "bigearthnet": Format("bigearthnet", "open_bigearthnet", "BigEarthNet-S2 or BigEarthNet-S1"),
    "bigearthnet-maps": Format("reference_maps", "open_reference_maps", "Reference_Maps"),
    "sen1floods11": Format("floods", "open_sen1floods11", "S1Hand or S2Hand and LabelHand"),
    "ombria": Format("ombria", "open_ombria", "OmbriaS1 or OmbriaS2"),
    "eurosat-rgb": Format("eurosat", "open_rgb", "<EuroSAT class>/*.jpg", "recognises_rgb"),
    "eurosat-ms": Format("eurosat", "open_ms", "<EuroSAT class>/*.tif", "recognises_ms"),
    "pairs": Format("pairs", "open_pairs", "images and masks"),
    "folders": Format("folders", "open_folders", "<class>/*.tif, .png or .jpg"),
}
"""By name; the first that recognises a folder opens it."""


_PLAIN = LayoutOptions()


def open_set(path: Path, format: str | None = None, options: LayoutOptions = _PLAIN) -> EvaluationSet:
    """The data set in a folder.

    Args:
        path: The folder.
        format: Name of its layout; none: the first that fits. Segmentation of BigEarthNet has to be named.
        options: What the files leave open.

    Raises:
        ConfigError: There is no such format.
        DataError: There is no such data set.
    """
    if format is not None and format not in FORMATS:
        raise ConfigError(f"format '{format}': it is one of {', '.join(FORMATS)}")
    if not path.is_dir():
        raise DataError(f"data set {path}: is no folder: check the path")
    if format is not None:
        return _split_anew(FORMATS[format](path, options), options)
    for layout in FORMATS.values():
        if layout.recognises(path):
            return _split_anew(layout(path, options), options)
    wanted = "; ".join(f"{layout.looks_for} ({name})" for name, layout in FORMATS.items())
    raise DataError(f"data set {path}: is of no known layout, looked for {wanted}: check the path, or name the format")


def _split_anew(data: EvaluationSet, options: LayoutOptions) -> EvaluationSet:
    """With splits by place, where these are wanted and not those of the data set."""
    from csmoe_model.evaluation.layouts.splits import completed

    if not options.own_split:
        return data
    places = data.ids if data.group is None else data.group
    split, made = completed(np.full(len(data), ""), places.tolist(), options)
    return replace(data, split=split, notes=(*data.notes, *made))
