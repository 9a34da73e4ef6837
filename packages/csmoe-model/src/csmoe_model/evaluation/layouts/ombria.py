"""OMBRIA: places before and after a flood, seen by Sentinel-1 and Sentinel-2, and what was flooded.

All images are 8-bit pictures for display (Drakonakis et al. 2022). What their files show, and no document says:

- Sentinel-1 is one channel of unknown polarisation: the band is called `S1`.
- Sentinel-2 is a false colour. Plants are pure green (in 41 % of the training images a twentieth of the pixels has a
  green more than 1.8 times the red and the blue), and bare soil is orange, so that red is short-wave infrared and green
  near infrared: the bands are called `red`, `green` and `blue`, not B04, B03 and B02.
- The masks of the two sensors are the same in all 694 places; those of Sentinel-1 are read.
- Places are pieces of larger scenes, and 97 % of the test images share an edge with a training image: the official
  split measures little of what a model knows of new scenes. Scenes are the groups, found by `neighbours`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from csmoe_model.errors import ConfigError, DataError
from csmoe_model.evaluation.dataset import Bands, EvaluationSet, Float32
from csmoe_model.evaluation.layouts.images import read_picture
from csmoe_model.evaluation.layouts.neighbours import edges_of, groups_of, touching
from csmoe_model.evaluation.layouts.options import LayoutOptions
from csmoe_model.evaluation.layouts.splits import completed

NAME = "OMBRIA"
S2_CHANNELS = ("red", "green", "blue")
_PARTS = {None: ("AFTER",), "before": ("BEFORE",), "both": ("BEFORE", "AFTER")}
_WHITE = 255


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place at a time."""

    number: str
    split: str
    """As the folder is called."""
    time: str
    """BEFORE or AFTER."""

    def file(self, root: Path, sensor: str, kind: str) -> Path:
        """Of a sensor, S1 or S2; `kind` is a time, or MASK."""
        return root / f"Ombria{sensor}" / self.split / kind / f"{sensor}_{kind.lower()}_{self.number}.png"


@dataclass(frozen=True, slots=True, kw_only=True)
class OmbriaReader:
    """A picture a sensor and time."""

    root: Path
    places: tuple[Place, ...]

    def images(self, sample: int) -> dict[str, Float32]:
        """See `Reader`."""
        place = self.places[sample]
        return {name.lower(): read_picture(place.file(self.root, name, place.time)) for name in ("S1", "S2")}

    def mask(self, sample: int) -> npt.NDArray[np.int64]:
        """See `Reader`."""
        path = self.places[sample].file(self.root, "S1", "MASK")
        values = read_picture(path)[0]
        if not np.isin(values, (0, _WHITE)).all():
            raise DataError(f"mask {path}: holds other values than 0 and 255: fetch it again")
        codes: npt.NDArray[np.int64] = (values == _WHITE).astype(np.int64)
        return codes


def recognises(path: Path) -> bool:
    """Whether there are OMBRIA's two folders."""
    return all((path / name).is_dir() for name in ("OmbriaS1", "OmbriaS2"))


def open_ombria(path: Path, options: LayoutOptions) -> EvaluationSet:
    """The places after the flood with its mask; with `part` "before" or "both", without masks, at these times.

    Both sensors are of the same place and time, so that each sample is a pair as well.

    Raises:
        DataError: There are no images.
        ConfigError: The part is another one.
    """
    if options.part not in _PARTS:
        raise ConfigError(f"{NAME}: has no part '{options.part}': it is 'before' or 'both', or nothing for after")
    places = sorted(
        Place(file.stem.rsplit("_", 1)[1], split, "AFTER")
        for split in ("train", "test")
        for file in (path / "OmbriaS1" / split / "AFTER").glob("S1_after_*.png")
    )
    if not places:
        raise DataError(f"{NAME} in {path}: no images in OmbriaS1/train/AFTER: check the path")
    reader = OmbriaReader(root=path, places=tuple(places))
    scenes, notes = _scenes(reader)
    split, made = completed(np.array([place.split for place in places], np.str_), scenes, options)
    times = _PARTS[options.part]
    found = [Place(place.number, place.split, time) for place in places for time in times]
    names = [place.number if len(times) == 1 else f"{place.number} {place.time.lower()}" for place in found]
    return EvaluationSet(
        name=f"{NAME} ({options.part or 'after'})",
        task="segmentation" if options.part is None else "pairs",
        sensors={
            "s1": Bands(names=("S1",), unit="byte", gsd_m=10.0),
            "s2": Bands(names=S2_CHANNELS, unit="byte", gsd_m=10.0),
        },
        classes=("dry", "flooded"),
        ids=np.array(names, np.str_),
        split=np.repeat(split, len(times)),
        labels=None,
        reader=OmbriaReader(root=path, places=tuple(found)),
        group=np.repeat(np.array(scenes, np.str_), len(times)),
        notes=(
            "8-bit pictures: Sentinel-1 of a polarisation that is not documented, Sentinel-2 in false colours",
            "pixels taken for 10 m wide",
            *notes,
            *made,
        ),
    )


def _scenes(reader: OmbriaReader) -> tuple[list[str], list[str]]:
    """The scene of each place, called by its first number, and what this means for the split."""
    places, root = reader.places, reader.root
    looks = [("S2", "AFTER"), ("S1", "BEFORE")]  # of two sensors and dates, so that they err apart
    try:
        edges = [[edges_of(read_picture(place.file(root, *look)).mean(0)) for place in places] for look in looks]
        pairs = touching(np.array(edges))
    except ValueError as error:
        raise DataError(f"{NAME} in {root}: its images are not squares of one size: fetch them again") from error
    train, test = (np.array([place.split == split for place in places]) for split in ("train", "test"))
    share = pairs[test][:, train].any(1).mean() if test.any() else 0.0
    first = groups_of(pairs)
    return (
        [f"scene of {places[place].number}" for place in first.tolist()],
        [f"{share:.0%} of the official test images share an edge with a training image: scenes are not held out"],
    )
