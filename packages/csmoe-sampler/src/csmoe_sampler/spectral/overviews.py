"""Overviews of the files of a scene: which one stands for how many pixels, and windows of it. GDAL reads them here."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window as RasterioWindow

from csmoe_sampler.errors import RasterError
from csmoe_sampler.placement import Window
from csmoe_sampler.rasters.patience import BACKOFF_S, REOPENING, PatientFile, Result
from csmoe_sampler.remote import Signer
from csmoe_sampler.spectral.lattice import ProjectedLattice
from csmoe_sampler.types import Bool, Float64, ReadCost


@dataclass(frozen=True, kw_only=True)
class Access:
    """How files are reached."""

    sign: Signer | None = None
    """Makes addresses readable."""
    pauses_s: tuple[float, ...] = BACKOFF_S
    """Before a remote file is tried again."""


class BandFile:
    """A band of a scene, open for one thread at a time. A context; `address#3` is the third band of its file.

    Raises:
        RasterError: The file is missing, unreadable, or has no pixels in metres.
    """

    def __init__(self, address: str, access: Access) -> None:
        href, _, band = address.partition("#")
        self._band = int(band or 1)
        self._file = PatientFile(href, access.sign, reopened=True)
        self._pauses_s = access.pauses_s
        self._open_files = ExitStack()
        self._address = href
        self._datasets: dict[int, Any] = {}
        self._lattices: dict[int, ProjectedLattice] = {}
        self.name = self._file.name
        self._patiently(lambda: self._dataset(1), "opening")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; its lattices stay known."""
        self._datasets.clear()
        self._open_files.close()

    @property
    def pixel_m(self) -> float:
        """Width of a pixel at full resolution."""
        return self._lattices[1].width_m

    def lattice(self, factor: int) -> ProjectedLattice:
        """The pixels of the overview of that decimation factor; 1: of the file itself. Raises RasterError."""
        if factor not in self._lattices:
            self._patiently(lambda: self._dataset(factor), f"opening the overview of factor {factor}")
        return self._lattices[factor]

    def read_at(self, x: Float64, y: Float64, factor: int) -> tuple[npt.NDArray[Any], Bool]:
        """Values (y, x) of the overview's pixels that hold the points, and whether they have data.

        Points outside the raster have none. One window with all of them is read, and no pixel twice.

        Raises:
            RasterError: There is no such overview, or the window cannot be read in full.
        """
        lattice = self.lattice(factor)
        rows, cols = lattice.position(x, y)
        window = _clip(rows, cols, lattice)
        if window is None:
            return np.zeros((y.size, x.size), np.int32), np.zeros((y.size, x.size), np.bool_)
        top, bottom, left, right = window
        where = RasterioWindow(left, top, right - left, bottom - top)
        pixels, nodata = self._patiently(
            lambda: (np.asarray(self._dataset(factor).read(self._band, window=where)), self._dataset(factor).nodata),
            f"reading rows {top} to {bottom}, columns {left} to {right}",
        )
        inside = ((rows >= top) & (rows < bottom))[:, None] & ((cols >= left) & (cols < right))[None, :]
        near_rows, near_cols = np.clip(rows - top, 0, bottom - top - 1), np.clip(cols - left, 0, right - left - 1)
        values = pixels[near_rows[:, None], near_cols[None, :]]
        return values, inside & _has_data(values, nodata)

    def stored(self, x: Float64, y: Float64, factor: int) -> ReadCost:
        """What `read_at` takes beside the header, if the blocks needed are as large as the overview's on average."""
        lattice = self.lattice(factor)
        window = _clip(*lattice.position(x, y), lattice)
        if window is None:
            return ReadCost(files=1, requests=0, bytes=0, pixels=0)
        (high, wide), sizes = self._patiently(lambda: self._block_sizes(factor, lattice), "reading block sizes")
        mean = sum(sizes) / len(sizes)
        top, bottom, left, right = window
        touched = (-(-bottom // high) - top // high) * (-(-right // wide) - left // wide)
        return ReadCost(files=1, requests=1, bytes=round(touched * mean), pixels=touched * high * wide)

    def _block_sizes(self, factor: int, lattice: ProjectedLattice) -> tuple[tuple[int, int], list[int]]:
        """Shape of an overview's blocks, and the bytes of each: as TIFF files tell them, else those of its pixels."""
        dataset, level = self._dataset(factor), self._level(factor)
        high, wide = dataset.block_shapes[self._band - 1]
        plain = high * wide * np.dtype(dataset.dtypes[self._band - 1]).itemsize
        names = (
            f"BLOCK_SIZE_{col}_{row}"
            for row in range(-(-lattice.num_rows // high))
            for col in range(-(-lattice.num_cols // wide))
        )
        tags = [self._dataset(1).get_tag_item(name, "TIFF", bidx=self._band, ovr=level) for name in names]
        return (high, wide), [int(tag or 0) for tag in tags] if any(tags) else [plain]

    def _dataset(self, factor: int) -> Any:
        """The file, or an overview of it, opened if it is not; the file's header is asked for once."""
        if 1 not in self._datasets:
            self.close()
            self._address = self._file.address()
            self._datasets[1] = self._open_files.enter_context(rasterio.open(self._address))
        if factor not in self._datasets:
            overview = rasterio.open(self._address, overview_level=self._level(factor))
            self._datasets[factor] = self._open_files.enter_context(overview)
        self._lattices[factor] = self._lattice_of(self._datasets[factor])
        return self._datasets[factor]

    def _level(self, factor: int) -> int | None:
        """Which overview has that factor; None: the file itself."""
        if factor == 1:
            return None
        factors = self._datasets[1].overviews(self._band)
        if factor not in factors:
            there = f"those of {', '.join(map(str, factors))}" if factors else "none"
            raise RasterError(
                f"raster {self.name}: has no overview of factor {factor}: it has {there}; choose another "
                "spectral.decimation, or other bands"
            )
        return int(factors.index(factor))

    def _lattice_of(self, dataset: Any) -> ProjectedLattice:
        crs, (a, b, west, d, e, north) = dataset.crs, tuple(dataset.transform)[:6]
        if not crs or not crs.is_projected or b != 0 or d != 0 or a <= 0 or e >= 0:
            raise RasterError(
                f"raster {self.name}: is not north-up in metres of a projected CRS, as files of Sentinel-2 are: check "
                "that the provider names the right assets"
            )
        return ProjectedLattice(
            crs=crs.to_string(),
            west=west,
            north=north,
            width_m=a,
            height_m=-e,
            num_rows=dataset.height,
            num_cols=dataset.width,
        )

    def _patiently(self, action: Callable[[], Result], what: str) -> Result:
        """`action()`; for a remote file again after a failure, with the file opened and its address signed anew."""

        def attempt() -> Result:
            with rasterio.Env(**REOPENING):
                return action()

        return self._file.insist(attempt, what, self.close, self._pauses_s)


def factor_of(decimation: int, finest_m: float, pixel_m: float) -> int:
    """The largest power of two that makes of pixels of `pixel_m` none coarser than `decimation` times `finest_m`."""
    return int(2 ** max(0, math.floor(math.log2(decimation * finest_m / pixel_m) + 1e-6)))


def _has_data(values: npt.NDArray[Any], nodata: float | None) -> Bool:
    known = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, np.bool_)
    return known if nodata is None else known & (values != values.dtype.type(nodata))


def _clip(rows: npt.NDArray[np.int64], cols: npt.NDArray[np.int64], lattice: ProjectedLattice) -> Window | None:
    """The window of the raster with all of the pixels that lie on it."""
    top, bottom = max(0, int(rows.min())), min(lattice.num_rows, int(rows.max()) + 1)
    left, right = max(0, int(cols.min())), min(lattice.num_cols, int(cols.max()) + 1)
    return Window(top, bottom, left, right) if top < bottom and left < right else None
