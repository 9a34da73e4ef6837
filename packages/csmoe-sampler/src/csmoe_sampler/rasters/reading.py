"""Reading windows of one raster file in degrees: patience with remote files, no pixel made up."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RasterioWindow

from csmoe_sampler.errors import RasterError
from csmoe_sampler.placement import Placement, Window
from csmoe_sampler.rasters.headers import Header, read_header
from csmoe_sampler.rasters.patience import BACKOFF_S, GDAL_OPTIONS, PatientFile, Result, gdal_reason, is_remote
from csmoe_sampler.rasters.windows import plan_windows
from csmoe_sampler.zonal import LANES

_LOCAL_WINDOW_BYTES = 4 * 2**20
_REMOTE_WINDOW_BYTES = 32 * 2**20
_BLOCK_CACHE_BYTES = 16 * 2**20
_MOST_BLOCKS_ASKED = 2048
__all__ = ["BACKOFF_S", "GDAL_OPTIONS", "RasterReader", "View", "gdal_reason", "is_remote", "limit_block_cache"]

Pixels = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How files are opened."""

    reproject: bool = False
    """Rasters in a projected CRS pass through a nearest-neighbour warp at their native resolution."""
    overview: int | None = None
    """The overview of this decimation factor stands for the raster."""
    sign: Callable[[str], str] | None = None


class RasterReader:
    """An open raster file, for one thread at a time. A context; closing it frees the file.

    Raises:
        RasterError: The file is missing, unreadable, or cannot be placed on the globe.
    """

    def __init__(self, href: str, view: View) -> None:
        limit_block_cache()
        self._file = PatientFile(href, view.sign)
        self.href = href
        self.name = self._file.name
        self._view = view
        self._open_files = ExitStack()
        self._settings = ExitStack()
        self._entered = False
        self._dataset: Any = None
        self.header: Header = self._patiently(lambda: read_header(self._open(), href), "opening")

    def __enter__(self) -> Self:
        self._settings.enter_context(rasterio.Env(**GDAL_OPTIONS))
        self._entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._settings.close()

    def close(self) -> None:
        """Closes the file; what it was read for stays."""
        self._dataset = None
        self._open_files.close()

    def stream(self, placed: Placement, whole_runs: bool = False) -> Iterator[tuple[Window, Pixels]]:
        """The windows of `plan_windows` with their pixels, flat, in arrays that are valid until the next is taken.

        The arrays may be longer than the windows; their length is a multiple of LANES.

        Every block is decoded once. A remote file's next window is on its way while the caller has the last.

        Raises:
            RasterError: A window cannot be read in full. No pixel is ever filled in, except that blocks which a sparse
                file leaves out are its no-data.
        """
        remote = is_remote(self.href)
        most_bytes = _REMOTE_WINDOW_BYTES if remote else _LOCAL_WINDOW_BYTES
        most_px = most_bytes // np.dtype(self.header.dtype).itemsize
        windows = list(plan_windows(placed, self.header.block_shape, most_px, whole_runs))
        most_px = max((window.num_px for window in windows), default=0)
        buffers = [_aligned_array(most_px, self.header.dtype) for _ in range(2 if remote else 1)]
        if not remote:
            for window in windows:
                yield window, self.read(window, buffers[0])
            return
        with ThreadPoolExecutor(1) as ahead:
            reads = (ahead.submit(self.read, window, buffers[k % 2]) for k, window in enumerate(windows))
            coming = list(islice(reads, 1))
            for window in windows:
                pixels = coming.pop().result()
                coming.extend(islice(reads, 1))
                yield window, pixels

    def read(self, window: Window, pixels: Pixels) -> Pixels:
        """`pixels`, the beginning of which now holds those of `window`."""
        rows, cols = window.shape
        target = pixels[: rows * cols].reshape(rows, cols)
        where = RasterioWindow(window.col_start, window.row_start, cols, rows)

        def attempt() -> None:
            dataset = self._open() if self._dataset is None else self._dataset
            self._refuse_gaps(dataset, window)
            dataset.read(1, window=where, out=target)

        top, bottom, left, right = window
        self._patiently(attempt, f"reading rows {top} to {bottom}, columns {left} to {right}")
        return pixels

    def mean_block_bytes(self) -> float:
        """Mean stored size of a block: as TIFF files tell it, otherwise as if nothing were compressed."""
        rows, cols = self.header.block_shape
        pixels = self.header.lattice
        down, across = -(-pixels.num_rows // rows), -(-pixels.num_cols // cols)
        step = max(1, down * across // _MOST_BLOCKS_ASKED)
        sizes = [
            self._dataset.get_tag_item(f"BLOCK_SIZE_{k % across}_{k // across}", "TIFF", bidx=1)
            for k in range(0, down * across, step)
        ]
        if not any(sizes):
            return float(rows * cols * np.dtype(self.header.dtype).itemsize)
        return sum(int(size or 0) for size in sizes) / len(sizes)  # a sparse block has no size

    def parts(self) -> list[str]:
        """Paths of all files that the raster is made of."""
        return [path for path in self._dataset.files if not path.endswith(".aux.xml")]

    def _refuse_gaps(self, dataset: Any, window: Window) -> None:
        """GDAL makes pixels of blocks that a TIFF leaves out: no data where the file declares one, else zeros."""
        if self.header.nodata is not None or dataset.driver != "GTiff" or self._view.overview is not None:
            return
        rows, cols = self.header.block_shape
        for row in range(window.row_start // rows, -(-window.row_stop // rows)):
            for col in range(window.col_start // cols, -(-window.col_stop // cols)):
                if dataset.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1) is None:
                    raise RasterError(
                        f"raster {self.name}: leaves out blocks (at row {row * rows}, column {col * cols}) and declares"
                        " no no-data value for them: add one with `gdal_edit.py -a_nodata`"
                    )

    def _open(self) -> Any:
        self.close()
        href = self._file.address()
        dataset = self._open_files.enter_context(rasterio.open(href))
        if self._view.overview is not None:
            level = self._overview_level(dataset, self._view.overview)
            dataset = self._open_files.enter_context(rasterio.open(href, overview_level=level))
        if self._view.reproject and dataset.crs and dataset.crs.is_projected:
            if dataset.nodata is None:
                raise RasterError(
                    f"raster {self.name}: a warp needs a no-data value for what lies outside of it, and it declares"
                    " none: add one with `gdal_edit.py -a_nodata`"
                )
            warped = WarpedVRT(dataset, crs="EPSG:4326", resampling=Resampling.nearest)
            dataset = self._open_files.enter_context(warped)
        self._dataset = dataset
        return dataset

    def _overview_level(self, dataset: Any, factor: int) -> int:
        factors = dataset.overviews(1)
        if factor not in factors:
            there = f"it has those of {', '.join(map(str, factors))}" if factors else "it has none"
            raise RasterError(f"raster {self.name}: has no overview of factor {factor}: {there}")
        return int(factors.index(factor))

    def _patiently(self, attempt: Callable[[], Result], what: str) -> Result:
        """`attempt()`; for a remote file again after pauses, with the file opened and its href signed anew."""

        def within_settings() -> Result:
            # A local file is read in the thread that has entered the reader, and with it GDAL's settings.
            with nullcontext() if self._entered and not is_remote(self.href) else rasterio.Env(**GDAL_OPTIONS):
                return attempt()

        return self._file.insist(within_settings, what, self.close, BACKOFF_S)


def _aligned_array(num_px: int, dtype: str) -> Pixels:
    """Room for at least `num_px` pixels, a multiple of LANES, from an address on that is one too."""
    length = -(-num_px // LANES) * LANES * np.dtype(dtype).itemsize
    room = np.empty(length + LANES, np.uint8)
    start = -room.ctypes.data % LANES
    return room[start : start + length].view(dtype)


@functools.cache
def limit_block_cache() -> None:
    """Makes GDAL's block cache small, once a process: a block is used once, and a small cache stays in the CPU's.

    The limit outlasts the context that sets it only if that never ends, so the context belongs to a thread that does.
    """
    if "GDAL_CACHEMAX" not in os.environ:
        thread = threading.Thread(target=rasterio.Env(GDAL_CACHEMAX=_BLOCK_CACHE_BYTES).__enter__)
        thread.start()
        thread.join()
