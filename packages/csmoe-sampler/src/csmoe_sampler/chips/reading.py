"""One tile: its files -> arrays on one grid, and what the guards say about them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from csmoe_sampler.chips.grid import ChipGrid, Lattice, finest_band, place_chip
from csmoe_sampler.chips.tiles import Scene, Tile
from csmoe_sampler.chips.windows import Access, BandFile, read_bands, read_mask, split_address
from csmoe_sampler.config import ChipConfig
from csmoe_sampler.errors import RasterError
from csmoe_sampler.scenes.provider import Product
from csmoe_sampler.types import Float32

MASK = "SCL"
TILES_AHEAD = 4
"""Tiles of a shard that are on their way while one is finished."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How tiles are read."""

    config: ChipConfig
    products: Mapping[str, Product]
    """By sensor."""
    access: Access
    resolve: Callable[[str], str]
    """Makes addresses absolute."""
    mask: bool
    connections: int = 16
    """Files that are open at the same time in a process."""

    def bands(self, sensor: str) -> tuple[str, ...]:
        """Names of the bands that are wanted."""
        return self.config.s2_bands if sensor == "s2" else self.config.s1_bands


class SceneError(RasterError):
    """A scene of a tile cannot be read."""

    def __init__(self, sensor: str, item: str, error: Exception) -> None:
        super().__init__(str(error))
        self.sensor, self.item, self.cause = sensor, item, error


@dataclass(frozen=True, kw_only=True, eq=False)
class SeasonPixels:
    """The pixels of a tile in one season, on the grid of the tile."""

    grid: ChipGrid
    sensors: Mapping[str, Float32]
    """`s2` in the numbers of its files, `s1` in power or dB as there; (bands, H, W), NaN where missing."""
    mask: npt.NDArray[np.uint8] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Order:
    """Files to read, and where their bands go."""

    sensor: str
    item: str
    file: BandFile
    places: tuple[int, ...]
    """In the array of the sensor; (-1,) for the mask."""


def read_tiles(tiles: Iterable[Tile], recipe: Recipe) -> Iterator[tuple[Tile, list[SeasonPixels | None] | SceneError]]:
    """Every tile with its seasons (None where there are no scenes), or why it cannot be read; in the order given.

    Files are read by threads that all tasks of this process share.
    """
    pool = _pool(recipe.connections)
    first = _ahead(tiles, lambda tile: pool.submit(_read_first, tile, recipe), 2 * TILES_AHEAD)
    rest = _ahead(first, lambda pair: _submit_rest(pair[0], pair[1], recipe, pool), TILES_AHEAD)
    for (tile, _), futures in rest:
        yield tile, _gather(futures, len(tile.seasons), recipe)


Parts = tuple[ChipGrid | None, list[tuple[int, _Order, "Future[Any] | Float32"]]]


def _read_first(tile: Tile, recipe: Recipe) -> tuple[ChipGrid, int, _Order, Float32] | None:
    """The grid of a tile, by the file that fixes it, and what is in that file; None for a tile without scenes."""
    season = next((number for number, scenes in enumerate(tile.seasons) if scenes), None)
    if season is None:
        return None
    scene = tile.seasons[season]["s2"]
    order = next(_orders("s2", scene, recipe))
    size, pixel_m = recipe.config.size_px, recipe.config.pixel_m

    def place(lattice: Lattice) -> ChipGrid:
        return place_chip(tile.footprint, lattice, size, pixel_m)

    try:
        grid, pixels = read_bands(order.file, place, recipe.access)
    except RasterError as error:
        raise SceneError("s2", scene.item, error) from error
    return grid, season, order, pixels


def _submit_rest(tile: Tile, first: Future[Any], recipe: Recipe, pool: ThreadPoolExecutor) -> Parts | SceneError:
    """All other files of a tile, on their way."""
    try:
        begun = first.result()
        if begun is None:
            return None, []
        grid, begun_in, order, pixels = begun
        parts: list[tuple[int, _Order, Any]] = [(begun_in, order, pixels)]
        for season, scenes in enumerate(tile.seasons):
            orders = [one for sensor, scene in scenes.items() for one in _orders(sensor, scene, recipe)]
            for one in orders[1:] if season == begun_in else orders:
                parts.append((season, one, pool.submit(_read, one, grid, recipe.access)))
    except SceneError as error:
        return error
    return grid, parts


def _read(order: _Order, grid: ChipGrid, access: Access) -> npt.NDArray[Any]:
    try:
        if order.places == (-1,):
            return read_mask(order.file, grid, access)
        return read_bands(order.file, grid, access)[1]
    except RasterError as error:
        raise SceneError(order.sensor, order.item, error) from error


def _gather(parts: Parts | SceneError, num_seasons: int, recipe: Recipe) -> list[SeasonPixels | None] | SceneError:
    """The seasons of a tile once all of its files are read; of several failures, the first by its file."""
    if isinstance(parts, SceneError):
        return parts
    grid, pieces = parts
    arrays: dict[tuple[int, str], Any] = {}
    failure: SceneError | None = None
    for season, order, piece in pieces:
        try:
            pixels = piece.result() if isinstance(piece, Future) else piece
        except SceneError as error:
            failure = failure or error
            continue
        assert grid is not None
        if order.places == (-1,):
            arrays[season, MASK] = pixels
            continue
        shape = (len(recipe.bands(order.sensor)), grid.rows, grid.cols)
        target = arrays.setdefault((season, order.sensor), np.empty(shape, np.float32))
        target[list(order.places)] = pixels
    if failure is not None:
        return failure
    return [
        SeasonPixels(
            grid=grid,
            sensors={name: arrays[season, name] for name in ("s2", "s1") if (season, name) in arrays},
            mask=arrays.get((season, MASK)),
        )
        if grid is not None and (season, "s2") in arrays
        else None
        for season in range(num_seasons)
    ]


def _orders(sensor: str, scene: Scene, recipe: Recipe) -> Iterator[_Order]:
    """The files of a scene with the wanted bands, each once; of Sentinel-2, first the one that fixes the grid."""
    addresses = scene.files.unpack()
    bands, product = recipe.bands(sensor), recipe.products[sensor]
    lacking = [band for band in bands if band not in addresses]
    if lacking:
        has = ", ".join(addresses) or "none"
        error = RasterError(f"scene {scene.item}: has no band {', '.join(lacking)}, but {has}: choose another scene")
        raise SceneError(sensor, scene.item, error)
    files: dict[str, list[tuple[int, int]]] = {}
    for place, band in enumerate(bands):
        href, number = split_address(addresses[band])
        files.setdefault(href, []).append((place, number))
    if sensor == "s2":
        leading = split_address(addresses[finest_band(bands)])[0]
        files = {leading: files[leading], **files}
    unit: Any = product.unit if sensor == "s1" else "DN"
    nodata = 0.0 if sensor == "s2" else product.nodata
    for href, wanted in files.items():
        places, numbers = zip(*wanted, strict=True)
        file = BandFile(href=recipe.resolve(href), bands=numbers, nodata=nodata, unit=unit)
        yield _Order(sensor=sensor, item=scene.item, file=file, places=places)
    if sensor == "s2" and recipe.mask and MASK in addresses:
        href, number = split_address(addresses[MASK])
        file = BandFile(href=recipe.resolve(href), bands=(number,), nodata=0.0)
        yield _Order(sensor=sensor, item=scene.item, file=file, places=(-1,))


def _ahead(items: Iterable[Item], begin: Callable[[Item], Result], depth: int) -> Iterator[tuple[Item, Result]]:
    """Every item with what `begin` gave for it, which is called `depth` items earlier."""
    begun = ((item, begin(item)) for item in items)
    waiting = list(islice(begun, depth))
    while waiting:
        item = waiting.pop(0)
        waiting.extend(islice(begun, 1))
        yield item


@functools.cache
def _pool(connections: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(connections, thread_name_prefix="csmoe-chips")
