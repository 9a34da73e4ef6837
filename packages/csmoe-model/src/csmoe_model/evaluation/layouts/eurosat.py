"""EuroSAT: 27,000 scenes of 64 x 64 pixels in ten classes, as display values or with all bands.

The number in a name counts within its class and says nothing of the place, so that scenes cannot be grouped. RGB and MS
have the same names, hence the same splits.
"""

from __future__ import annotations

from pathlib import Path

from csmoe_model.errors import DataError
from csmoe_model.evaluation.dataset import Bands, EvaluationSet
from csmoe_model.evaluation.layouts.folders import RGB, class_files, of_classes
from csmoe_model.evaluation.layouts.images import PICTURES, TIFFS
from csmoe_model.evaluation.layouts.options import LayoutOptions

CLASSES = (
    "AnnualCrop",
    "Forest",
    "HerbaceousVegetation",
    "Highway",
    "Industrial",
    "Pasture",
    "PermanentCrop",
    "Residential",
    "River",
    "SeaLake",
)
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A")
"""In the order of the files: B8A is last."""


def recognises_rgb(path: Path) -> bool:
    """Whether there are folders of EuroSAT's classes with pictures."""
    return _recognises(path, PICTURES)


def recognises_ms(path: Path) -> bool:
    """Whether there are folders of EuroSAT's classes with GeoTIFFs."""
    return _recognises(path, TIFFS)


def open_rgb(path: Path, options: LayoutOptions) -> EvaluationSet:
    """EuroSAT as 8-bit display values of red, green and blue.

    Raises:
        DataError: The class folders are not there.
    """
    bands = Bands(names=RGB, unit="byte", gsd_m=10.0)
    return _opened("EuroSAT RGB", path, PICTURES, bands, options, ["display values of level-1C reflectances"])


def open_ms(path: Path, options: LayoutOptions) -> EvaluationSet:
    """EuroSAT with all 13 bands.

    Raises:
        DataError: The class folders are not there.
    """
    bands = Bands(names=BANDS, unit="DN", gsd_m=10.0)
    note = "level-1C: reflectances at the top of the atmosphere, brighter in blue than level-2A"
    return _opened("EuroSAT MS", path, TIFFS, bands, options, [note])


def _opened(
    name: str, path: Path, suffixes: tuple[str, ...], bands: Bands, options: LayoutOptions, notes: list[str]
) -> EvaluationSet:
    files = class_files(path, suffixes)
    if unknown := sorted(set(files.classes) - set(CLASSES)):
        raise DataError(f"{name} in {path}: folder {unknown[0]} is none of its classes ({', '.join(CLASSES)})")
    ids = [image.stem for image in files.paths]
    return of_classes(name, files, ids, ("s2", bands), options, notes)


def _recognises(path: Path, suffixes: tuple[str, ...]) -> bool:
    try:
        return set(class_files(path, suffixes).classes) <= set(CLASSES)
    except DataError:
        return False
