"""Real Sentinel chips of the shared data, as arrays by sensor with the names of their bands."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
import scipy.ndimage

L2A = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
L1C = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
IN_EUROSAT = (*(band for band in L1C if band != "B8A"), "B8A")
TERRAMESH = ("282D_485L_3_3", "433D_629L_3_1", "637U_59R_1_3")
WITH_OFFSET = "433D_629L_3_1"


@dataclass(frozen=True)
class Chip:
    """Pixels as the files hold them; what is missing is NaN."""

    name: str
    s2: npt.NDArray[np.float32] | None
    """(bands, H, W) DN."""
    s2_bands: tuple[str, ...]
    s1: npt.NDArray[np.float32] | None
    """(VV and VH, H, W) dB."""
    crs: str = ""
    transform: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for array in (self.s2, self.s1):
            if array is not None and array.base is None:
                array.flags.writeable = False  # chips are read once for all tests

    def arrays(self) -> dict[str, npt.NDArray[np.float32]]:
        return {name: array for name, array in (("s2", self.s2), ("s1", self.s1)) if array is not None}

    def bands(self) -> dict[str, tuple[str, ...]]:
        return {"s2": self.s2_bands, "s1": ("VV", "VH")}


def _read(path: Path | str) -> tuple[npt.NDArray[np.float32], str, tuple[float, ...]]:
    with rasterio.open(path) as file:
        return file.read().astype(np.float32), str(file.crs), tuple(file.transform)[:6]


@cache
def terramesh(data: Path) -> tuple[Chip, ...]:
    """Three L2A chips with S1; that of `WITH_OFFSET` has the +1000 left in."""
    chips = []
    for name in TERRAMESH:
        s2, crs, transform = _read(data / "sentinel/terramesh/S2L2A" / f"{name}.tif")
        s1, _, _ = _read(data / "sentinel/terramesh/S1RTC" / f"{name}.tif")
        chips.append(Chip(name, np.where(s2 == 0, np.nan, s2), L2A, s1, crs, transform))
    return tuple(chips)


@cache
def bigearthnet(data: Path) -> tuple[Chip, ...]:
    """Six L2A chips of 120 x 120 pixels, coarser bands resampled bilinearly, with S1."""
    places: dict[str, dict[str, npt.NDArray[np.float32]]] = {}
    for sensor in ("S1", "S2"):
        with tarfile.open(data / "sentinel/bigearthnet" / f"BigEarthNet-{sensor}-Example.tar.bz2") as tar:
            for member in tar.getmembers():
                if member.name.endswith(".tif"):
                    patch, _, band = Path(member.name).stem.rpartition("_")
                    place = "_".join(patch.split("_")[-2:])
                    with rasterio.MemoryFile(tar.extractfile(member).read()) as memory, memory.open() as file:  # type: ignore[union-attr]
                        places.setdefault(place, {})[band] = file.read(1).astype(np.float32)
    return tuple(
        Chip(
            place,
            np.stack([_to_120(bands[name]) for name in L2A]),
            L2A,
            np.stack([bands["VV"], bands["VH"]]),
        )
        for place, bands in sorted(places.items())
    )


def _to_120(band: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    factor = 120 // band.shape[0]
    return scipy.ndimage.zoom(band, factor, order=1, mode="nearest", grid_mode=True) if factor > 1 else band


@cache
def sen1floods11(data: Path) -> tuple[Chip, ...]:
    """Spain with L1C and S1; Paraguay, of which S1 is NaN throughout."""
    folder = data / "sentinel/sen1floods11"
    s2, _, _ = _read(folder / "S2/Spain_7370579_S2Hand.tif")
    s1, _, _ = _read(folder / "S1/Spain_7370579_S1Hand.tif")
    empty, _, _ = _read(folder / "S1/Paraguay_34417_S1Hand.tif")
    return Chip("Spain", np.where(s2 == 0, np.nan, s2), L1C, s1), Chip("Paraguay", None, (), empty)


@cache
def eurosat(data: Path) -> tuple[Chip, ...]:
    """Three L1C chips of 64 x 64 pixels, named in the order of their files."""
    files = sorted((data / "eurosat/EuroSAT_MS").glob("*.tif"))
    return tuple(Chip(path.stem, _read(path)[0], IN_EUROSAT, None) for path in files)
