"""A scene's overviews -> counts of tiles: the files side by side, one window of each for as many tiles as fit."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from csmoe_sampler.errors import CatalogError
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.placement import Window
from csmoe_sampler.spectral.choice import Scene
from csmoe_sampler.spectral.lattice import TilePlacer
from csmoe_sampler.spectral.overviews import Access, BandFile, factor_of
from csmoe_sampler.spectral.statistics import UNITS, Tally, count_pixels
from csmoe_sampler.types import Bool, Float64, Int16, Int64, ReadCost

MASK = "SCL"
CLEAR_CLASSES = (2, 4, 5, 6, 7, 11)
"""Of the scene classification: dark, vegetated, not vegetated, water, unclassified, snow; not 0 no data, 1 defective,
3 shadow, 8 and 9 cloud, 10 cirrus."""
_MOST_PX = 4_000_000
"""Of a window; only a single tile may have a larger one."""
_HEADER_BYTES = 32_768
_REQUESTS_PER_FILE = 2


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is read of a scene, and how it becomes reflectance."""

    bands: tuple[str, ...]
    decimation: int
    """Pixels of the finest of the bands, along each edge, that one pixel as read stands for."""
    units: float = UNITS
    """Digital numbers of reflectance 1, without the offset."""


class OpenScene:
    """The files of a scene, open. A context.

    Raises:
        CatalogError: The scene lacks a band.
        RasterError: A file cannot be opened, or lacks the overview.
    """

    def __init__(self, scene: Scene, recipe: Recipe, access: Access) -> None:
        missing = [band for band in recipe.bands if band not in scene.files]
        if missing:
            raise CatalogError(
                f"scene {scene.item} has no band {', '.join(missing)}: it has {', '.join(sorted(scene.files))}; leave "
                "them out of spectral.bands"
            )
        self._scene = scene
        self._recipe = recipe
        self._stack = ExitStack()
        try:
            files = self._open(access)
            self._bands = files[: len(recipe.bands)]
            self._mask = files[-1] if MASK in scene.files else None
            finest = min(self._bands, key=lambda file: file.pixel_m)
            self._finest_m = finest.pixel_m
            self._lattice = finest.lattice(self._factor(finest))
        except BaseException:
            self._stack.close()
            raise
        self._placers: dict[TileGrid, TilePlacer] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def count(self, grid: TileGrid, tiles: Int64) -> Iterator[tuple[slice, Tally]]:
        """Counts of ascending `tiles`, a slice of them after the other; raises RasterError."""
        for part, window in self._windows(grid, tiles):
            owner = self._placer(grid).owners(self._lattice, window, tiles[part])
            pixels, clear = self._read(*self._lattice.centres(window))
            yield part, count_pixels(pixels, clear, owner, part.stop - part.start)

    def cost(self, grid: TileGrid, tiles: Int64) -> ReadCost:
        """The cost of `count`."""
        files = [*self._bands, *([self._mask] if self._mask else [])]
        size = len(files) * _HEADER_BYTES
        pixels = 0
        for _, window in self._windows(grid, tiles):
            x, y = self._lattice.centres(window)
            for file in files:
                read = file.stored(x, y, self._factor(file))
                size += read.bytes
                pixels += read.pixels
        return ReadCost(files=len(files), requests=_REQUESTS_PER_FILE * len(files), bytes=size, pixels=pixels)

    def _open(self, access: Access) -> list[BandFile]:
        names = [*self._recipe.bands, *([MASK] if MASK in self._scene.files else [])]
        files = self._stack.enter_context(ExitStack())  # closed last: no file while a thread may read from it
        self._pool = self._stack.enter_context(ThreadPoolExecutor(len(names)))
        opening = [self._pool.submit(BandFile, self._scene.files[name], access) for name in names]
        for one in opening:
            if one.exception() is None:  # those that did open are closed, whichever of them did not
                files.enter_context(one.result())
        return [one.result() for one in opening]

    def _factor(self, file: BandFile) -> int:
        """Of the overview that is read: the coarsest whose pixels are not coarser than wanted."""
        return factor_of(self._recipe.decimation, self._finest_m, file.pixel_m)

    def _placer(self, grid: TileGrid) -> TilePlacer:
        if grid not in self._placers:
            self._placers[grid] = TilePlacer(grid, self._lattice.crs)
        return self._placers[grid]

    def _windows(self, grid: TileGrid, tiles: Int64) -> Iterator[tuple[slice, Window]]:
        """Tiles that go together, and the window that holds all their pixels."""
        waiting = [slice(0, tiles.size)]
        while waiting:
            part = waiting.pop()
            window = self._placer(grid).window(self._lattice, tiles[part])
            if window.num_px <= _MOST_PX or part.stop - part.start == 1:
                yield part, window
            else:
                middle = (part.start + part.stop) // 2
                waiting += [slice(middle, part.stop), slice(part.start, middle)]

    def _read(self, x: Float64, y: Float64) -> tuple[Int16, Bool]:
        """Reflectances (band, y, x) in units at points, and where all bands have one and nothing is in the way."""
        reads = [self._pool.submit(file.read_at, x, y, self._factor(file)) for file in self._bands]
        masking = self._pool.submit(self._mask.read_at, x, y, self._factor(self._mask)) if self._mask else None
        pixels = np.zeros((len(reads), y.size, x.size), np.int16)
        clear = np.ones((y.size, x.size), np.bool_)
        if masking:
            classes, known = masking.result()
            clear &= known & np.isin(classes, CLEAR_CLASSES)
        for band, one in enumerate(reads):
            values, known = one.result()
            clear &= known & (values != 0)
            pixels[band] = self._reflectance(values, known)
        return pixels, clear

    def _reflectance(self, values: npt.NDArray[Any], known: Bool) -> npt.NDArray[np.float32]:
        """In units, cut to 0 to UNITS."""
        numbers = np.where(known, values, 0).astype(np.float32) - np.float32(self._scene.offset)
        return np.asarray(np.clip(np.rint(numbers * (UNITS / self._recipe.units)), 0, UNITS), np.float32)
