"""Scenes from a STAC API, one search to a cell of a fixed lattice; or from a static catalogue, read once in whole."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from csmoe_sampler.errors import CatalogError
from csmoe_sampler.progress import NoProgress, Progress
from csmoe_sampler.remote import Patience
from csmoe_sampler.scenes.columns import columns_of_items
from csmoe_sampler.scenes.items import Found, Wanted, normalise
from csmoe_sampler.scenes.journal import RequestPlan, join, portion_path, write_portion
from csmoe_sampler.scenes.outlines import on_the_globe
from csmoe_sampler.stac.items import Box, is_remote
from csmoe_sampler.stac.reading import at_most, collections_below, open_catalogue, read_root, search_pages, walk_items

CELL_DEG = 2.0
CONNECTIONS = 8
_WIDER = ((60.0, 4.0), (75.0, 10.0))
"""From this latitude on, cells are that many degrees wide."""


@dataclass(frozen=True, order=True)
class Cell:
    """A box of the lattice."""

    west: float
    south: float
    width: float

    @property
    def box(self) -> Box:
        """West, south, east, north."""
        return (self.west, self.south, self.west + self.width, min(self.south + CELL_DEG, 90.0))

    @property
    def key(self) -> str:
        """As `n46e008`, by the corner in the south-west."""
        south, west = round(self.south), round(self.west)
        return f"{'s' if south < 0 else 'n'}{abs(south):02d}{'w' if west < 0 else 'e'}{abs(west):03d}"


def cells_of(geometry: npt.NDArray[np.object_]) -> list[Cell]:
    """Cells that the bounds of the footprints touch, in order."""
    parts = shapely.get_parts(on_the_globe(geometry))
    west, south, east, north = shapely.bounds(parts).T
    found: set[tuple[float, float, float]] = set()
    first, last = np.floor(south / CELL_DEG), np.floor(np.minimum(north, 90 - 1e-9) / CELL_DEG)
    for step in range(int((last - first).max(initial=-1)) + 1):
        rows = np.flatnonzero(first + step <= last)
        low = (first[rows] + step) * CELL_DEG
        width = np.full(len(rows), CELL_DEG)
        for latitude, wider in _WIDER:
            width[np.maximum(low, -low - CELL_DEG) >= latitude] = wider
        left = np.floor((west[rows] + 180) / width)
        right = np.floor((np.minimum(east[rows], 180 - 1e-9) + 180) / width)
        for turn in range(int((right - left).max(initial=-1)) + 1):
            more = left + turn <= right
            corners = np.column_stack([(left + turn) * width - 180, low, width])[more]
            found |= set(map(tuple, np.unique(corners, axis=0).tolist()))
    return [Cell(*corner) for corner in sorted(found)]


class SearchSource:
    """A catalogue that is searched, or walked through, into a journal."""

    def __init__(
        self,
        url: str,
        wanted: Mapping[str, Wanted],
        folder: Path,
        *,
        page_items: int = 500,
        patience: Patience | None = None,
    ) -> None:
        self._url = url
        self._wanted = wanted
        self._folder = folder
        self._page_items = page_items
        self._patience = patience or Patience()

    def plan(self, geometry: npt.NDArray[np.object_]) -> RequestPlan:
        """What is not in the journal yet; a catalogue of files counts with its topmost file alone."""
        if self._is_file():
            whole = [portion_path(self._folder, sensor, "catalogue") for sensor in self._wanted]
            needed = is_remote(self._url) and not all(path.exists() for path in whole)
            return RequestPlan(requests=int(needed), bytes=None)
        cells = cells_of(geometry)
        paths = [portion_path(self._folder, sensor, cell.key) for sensor in self._wanted for cell in cells]
        missing = sum(not path.exists() for path in paths)
        return RequestPlan(requests=missing + bool(missing), bytes=None, searches=missing)

    def _is_file(self) -> bool:
        return not is_remote(self._url) or self._url.rstrip("/").endswith((".json", ".geojson"))

    def portions(self, geometry: npt.NDArray[np.object_], progress: Progress | None = None) -> dict[str, list[Path]]:
        """Sensor -> files of the journal that hold its scenes over the footprints; what is missing is brought.

        Raises:
            CatalogError: The catalogue is out of reach, answers something unusable, or does not know a collection.
                What has come until then is kept.
        """
        progress = progress or NoProgress()
        whole = {sensor: [portion_path(self._folder, sensor, "catalogue")] for sensor in self._wanted}
        if all(path.exists() for paths in whole.values() for path in paths):
            return whole
        cells = {sensor: cells_of(geometry) for sensor in self._wanted}
        paths = {s: [portion_path(self._folder, s, cell.key) for cell in cells[s]] for s in cells}
        if not self._is_file() and all(path.exists() for some in paths.values() for path in some):
            return paths
        with open_catalogue(self._url, self._patience) as io:
            url, root = read_root(self._url, io)
            if "conformsTo" in root:
                search = _Search(io.stac_object_from_dict(root, href=url), self._url, self._page_items)
                missing = [(s, c) for s in cells for c in cells[s] if not portion_path(self._folder, s, c.key).exists()]
                self._search_cells(search, missing, progress)
                return paths
            progress.start("reading the catalogue", len(self._wanted), "collections")
            for sensor, wanted in self._wanted.items():
                items = list(walk_items(root, url, wanted.product.collection, io))
                found = normalise(columns_of_items(items, wanted.product), wanted)
                if not found.read:
                    self._check_collection(collections_below(root, url, io), wanted)
                write_portion(whole[sensor][0], join([found]))
                progress.advance(1)
            progress.finish()
            return whole

    def _check_collection(self, known: set[str], wanted: Wanted) -> None:
        name = wanted.product.collection
        if known and name not in known:
            raise CatalogError(
                f"STAC catalogue {self._url} has no collection '{name}': it has {', '.join(sorted(known))}"
            )

    def _search_cells(self, search: _Search, missing: list[tuple[str, Cell]], progress: Progress) -> None:
        """One search a cell, eight at a time; each is kept when it is done."""

        def bring(sensor: str, cell: Cell) -> None:
            path = portion_path(self._folder, sensor, cell.key)
            write_portion(path, search(self._wanted[sensor], cell))

        done = 0
        progress.start("searching scenes", len(missing), "cells")
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            try:
                for future in as_completed([pool.submit(bring, *task) for task in missing]):
                    future.result()
                    done += 1
                    progress.advance(1)
            except BaseException as error:
                pool.shutdown(cancel_futures=True)
                if done:
                    progress.note(f"{done} of {len(missing)} searches are kept: the same command continues behind them")
                raise error
        progress.finish()


@dataclass(frozen=True)
class _Search:
    """A search at an API."""

    client: Any
    url: str
    page_items: int

    def __call__(self, wanted: Wanted, cell: Cell) -> Found:
        """The scenes of a cell."""
        request: dict[str, Any] = {"limit": self.page_items, "bbox": cell.box, "datetime": _interval(wanted)}
        if (clear := wanted.max_cloud_percent) is not None and clear < 100:
            request |= at_most(self.client, wanted.product.properties.cloud_cover, clear)
        pages = search_pages(self.client, self.url, wanted.product.collection, request)
        return join(normalise(columns_of_items(page, wanted.product), wanted) for page in pages)


def _interval(wanted: Wanted) -> str:
    return f"{_zulu(wanted.start)}/{_zulu(wanted.end - timedelta(microseconds=1))}"


def _zulu(time: datetime) -> str:
    return f"{time.isoformat()}Z"
