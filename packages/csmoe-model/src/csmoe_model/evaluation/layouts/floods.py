"""Sen1Floods11: flood water in 446 hand-labelled chips of Sentinel-1 and Sentinel-2 from eleven countries.

Water is 1, dry land 0, and -1 what nobody could tell (Bonafilia et al. 2020). Sentinel-2 is of level 1C, in the order
that the files themselves give to their bands. Chips of a country come from one event, and are a group.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from csmoe_model.errors import ConfigError, DataError
from csmoe_model.evaluation.dataset import Bands, EvaluationSet, Float32, Strings
from csmoe_model.evaluation.layouts.images import read_tiff
from csmoe_model.evaluation.layouts.options import LayoutOptions
from csmoe_model.evaluation.layouts.splits import completed

NAME = "Sen1Floods11"
IGNORE = -1
S1_BANDS = ("VV", "VH")
S2_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
_SENSORS = {
    "s1": Bands(names=S1_BANDS, unit="dB", gsd_m=10.0),
    "s2": Bands(names=S2_BANDS, unit="DN", gsd_m=10.0),
}
_FOLDERS = ("S1", "S2", "Labels"), ("S1Hand", "S2Hand", "LabelHand")
_LABEL = "_LabelHand.tif"
_SPLITS = {"train": "train", "valid": "validation", "test": "test"}
_BOLIVIA = "Bolivia"
_HELD_OUT = "bolivia"
_EMPTY_BYTES = 65_536
"""A chip without a value is compressed to a few kilobytes, one with values never to as little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FloodReader:
    """A file a sensor and chip; sensors without a value are left out."""

    s1: tuple[Path, ...]
    s2: tuple[Path, ...]
    labels: tuple[Path, ...]

    def images(self, sample: int) -> dict[str, Float32]:
        """See `Reader`."""
        found = {}
        for name, path in (("s1", self.s1[sample]), ("s2", self.s2[sample])):
            if not path.exists():
                continue
            pixels, names = read_tiff(path), _SENSORS[name].names
            if len(pixels) != len(names):
                raise DataError(f"chip {path}: has {len(pixels)} bands, {NAME} has {', '.join(names)}: fetch it again")
            if np.isfinite(pixels).any():
                found[name] = pixels
        return found

    def mask(self, sample: int) -> npt.NDArray[np.int64]:
        """See `Reader`."""
        codes: npt.NDArray[np.int64] = np.nan_to_num(read_tiff(self.labels[sample])[0], nan=IGNORE).astype(np.int64)
        if unknown := sorted(set(np.unique(codes).tolist()) - {IGNORE, 0, 1}):
            raise DataError(f"mask {self.labels[sample]}: holds {unknown[0]}, {NAME} has -1, 0 and 1: fetch it again")
        return codes


def recognises(path: Path) -> bool:
    """Whether there are folders of hand-labelled chips."""
    return _folders(path) is not None


def open_sen1floods11(path: Path, options: LayoutOptions) -> EvaluationSet:
    """The hand-labelled chips, with the official splits where their tables are there, else split by country.

    The chips of Bolivia are a test set of their own; `part` "bolivia" puts them in place of the test split.

    Raises:
        DataError: There are no chips.
        ConfigError: The part is another one.
    """
    if options.part not in (None, _HELD_OUT):
        raise ConfigError(f"{NAME}: has no part '{options.part}': it is '{_HELD_OUT}', or nothing")
    folders = _folders(path)
    if folders is None:
        raise DataError(f"{NAME} in {path}: no folders S1Hand, S2Hand, LabelHand (or S1, S2, Labels): check the path")
    ids = sorted(file.name.removesuffix(_LABEL) for file in folders[2].glob(f"*{_LABEL}"))
    split, kept, notes = _split(ids, _official(path), options)
    ids = [one for one, keep in zip(ids, kept, strict=True) if keep]
    s1, s2 = (tuple(folder / f"{one}_{folder.name[:2]}Hand.tif" for one in ids) for folder in folders[:2])
    return EvaluationSet(
        name=NAME,
        task="segmentation",
        sensors=_SENSORS,
        classes=("dry", "water"),
        ids=np.array(ids, np.str_),
        split=split[kept],
        labels=None,
        reader=FloodReader(s1=s1, s2=s2, labels=tuple(folders[2] / f"{one}{_LABEL}" for one in ids)),
        ignore_index=IGNORE,
        group=_countries(ids),
        notes=(*notes, *_lacking("s1", ids, s1), *_lacking("s2", ids, s2)),
    )


def _folders(path: Path) -> tuple[Path, Path, Path] | None:
    """Of S1, S2 and labels."""
    for root in (path, path / "data/flood_events/HandLabeled", path / "v1.1/data/flood_events/HandLabeled"):
        for names in _FOLDERS:
            s1, s2, labels = (root / name for name in names)
            if any(labels.glob(f"*{_LABEL}")):
                return s1, s2, labels
    return None


def _official(path: Path) -> dict[str, str]:
    """Split of each chip by the official tables; empty: they are not there."""
    above = [path, path / "v1.1", *list(path.parents)[:3]]
    folders = [folder for root in above if (folder := root / "splits" / "flood_handlabeled").is_dir()]
    found: dict[str, str] = {}
    for name, split in _SPLITS.items() if folders else ():
        try:
            with (folders[0] / f"flood_{name}_data.csv").open(newline="", encoding="utf-8") as file:
                cells = [cell.strip() for row in csv.reader(file) for cell in row]
        except OSError as error:
            raise DataError(
                f"{NAME}: {error.filename} cannot be read ({error.strerror}): fetch the splits again"
            ) from error
        found |= {cell.removesuffix(_LABEL): split for cell in cells if cell.endswith(_LABEL)}
    return found


def _split(
    ids: list[str], official: Mapping[str, str], options: LayoutOptions
) -> tuple[Strings, npt.NDArray[np.bool_], list[str]]:
    """Splits, which chips are in the data set at all, and notes."""
    countries = _countries(ids)
    held_out = countries == _BOLIVIA
    given = np.array([official.get(one, "") for one in ids], np.str_)
    split, notes = (given, []) if official else completed(given, countries.tolist(), options)
    kept = (split != "") & ~held_out
    if missing := int(((split == "") & ~held_out).sum()):
        notes.append(f"{missing} chips are in no official split: left out")
    if options.part == _HELD_OUT:
        split = np.where(held_out, "test", split).astype(np.str_)
        notes.append(f"tested on Bolivia ({held_out.sum()} chips), which is held out; other test chips are left out")
        kept = (kept & (split != "test")) | held_out
    elif held_out.any():
        notes.append(f"Bolivia ({held_out.sum()} chips) is left out: it is a test set of its own (part {_HELD_OUT})")
    return split, kept, notes


def _countries(ids: list[str]) -> Strings:
    return np.array([one.rsplit("_", 1)[0] for one in ids], np.str_)


def _lacking(sensor: str, ids: list[str], paths: tuple[Path, ...]) -> list[str]:
    """A note on the chips that hold no value of a sensor."""
    lacking = [
        one
        for one, path in zip(ids, paths, strict=True)
        if not path.exists() or (path.stat().st_size < _EMPTY_BYTES and not np.isfinite(read_tiff(path)).any())
    ]
    return [f"no {sensor} in {', '.join(lacking)}: taken as lacking, not as zeros"] if lacking else []
