"""The files of a raster: found, checked against each other, looked up by place, hashed, costed."""

from __future__ import annotations

import functools
import glob
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from csmoe_sampler.errors import RasterError
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.placement import Lattice, TileBoxes, Window, place
from csmoe_sampler.rasters.headers import lattice_of, name_of, same_pixels
from csmoe_sampler.rasters.mosaic import check_mosaic
from csmoe_sampler.rasters.reading import RasterReader, View, is_remote
from csmoe_sampler.rasters.windows import plan_windows
from csmoe_sampler.storage import file_digest
from csmoe_sampler.types import Int64, ReadCost

_HEADER_THREADS = 8
_LISTED_FILES = 32
_COSTED_FILES = 8


class Record(Protocol):
    """What a catalogue knows of a single-band raster file."""

    @property
    def href(self) -> str:
        """Path or unsigned address."""

    @property
    def transform(self) -> Sequence[float] | None:
        """STAC's proj:transform: lon = a col + b row + c, lat = d col + e row + f. None where unknown."""

    @property
    def shape(self) -> Sequence[int] | None:
        """Rows and columns. None where unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterFile:
    """One file, as the source knows it without opening it."""

    href: str
    """Path or unsigned address."""
    lattice: Lattice
    """Its pixels as they are read."""
    crs: str = "EPSG:4326"
    """The geographic CRS that is taken for EPSG:4326."""

    @property
    def name(self) -> str:
        """File name, without folder."""
        return name_of(self.href)


@dataclass(frozen=True, slots=True)
class _Found:
    """A record of a file of which nothing is known."""

    href: str
    transform: None = None
    shape: None = None


@dataclass(frozen=True, kw_only=True)
class RasterSource:
    """Files that together are one raster, in an order that does not depend on the order they were given in.

    All have pixels of one size, and none lies over another. What no file covers is no data.
    """

    files: tuple[RasterFile, ...]
    view: View
    origin: Mapping[str, Any] | None = None
    """Of files found in a catalogue: which one, and what was asked for; a part of the provenance."""

    @classmethod
    def from_table(
        cls,
        records: Iterable[Record],
        *,
        sign: Callable[[str], str] | None = None,
        origin: Mapping[str, Any] | None = None,
        view: View | None = None,
    ) -> RasterSource:
        """The source of a catalogue's records; headers are read only where a record lacks `transform` or `shape`.

        Args:
            records: The files, in any order.
            sign: Makes an href readable; called when a file is opened, and again after a failure. Must be picklable.
            origin: Goes into the provenance.
            view: How files are opened.

        Raises:
            RasterError: There is no record, or files do not go together or cannot be placed on the globe.
        """
        view = replace(view or View(), sign=sign)
        with ThreadPoolExecutor(_HEADER_THREADS) as pool:
            files = list(pool.map(functools.partial(_file_of, view=view), records))
        if not files:
            raise RasterError("a raster source without files: give at least one")
        ordered = sorted(files, key=lambda f: (-f.lattice.north, f.lattice.west, f.name, f.href))
        check_mosaic([f.name for f in ordered], [f.lattice for f in ordered])
        return cls(files=tuple(ordered), view=view, origin=origin)

    @property
    def lattice(self) -> Lattice:
        """The pixels of the first file; those of the others go on from there, or nearly so."""
        return self.files[0].lattice

    @property
    def pixel_deg(self) -> float:
        """Shorter edge of a pixel as read."""
        return min(self.lattice.width_deg, self.lattice.height_deg)

    def near(self, boxes: TileBoxes) -> Iterator[RasterFile]:
        """Files that may hold pixels of the tiles, in the order of the source."""
        if not len(boxes):
            return
        west, south, east, north = self._bounds
        touched = (south < boxes.north[-1]) & (north > boxes.south[0])
        low, high = boxes.west.min(), boxes.east.max()
        beside = np.zeros_like(touched)
        for turn in (-360.0, 0.0, 360.0):
            beside |= (west < high + turn) & (east > low + turn)
        for k in np.flatnonzero(touched & beside):
            yield self.files[k]

    def open(self, file: RasterFile) -> RasterReader:
        """A reader of one file.

        Raises:
            RasterError: It cannot be opened, or has other pixels than the source says.
        """
        reader = RasterReader(file.href, self.view)
        if not same_pixels(file.lattice, reader.header.lattice):
            reader.close()
            raise RasterError(
                f"raster {file.name}: its pixels are not those announced (found {reader.header.lattice}, announced"
                f" {file.lattice}): the file or the catalogue has changed; search or open the raster again"
            )
        return reader

    def provenance(self) -> dict[str, Any]:
        """What decides the pixels, as JSON values: names and hashes or versions, no folders, no signatures.

        Local files are read in full for their hash, once a process.
        """
        with ThreadPoolExecutor() as pool:
            files = list(pool.map(functools.partial(_identity, view=self.view), self.files))
        digest = hashlib.sha256("\n".join(repr(sorted(file.items())) for file in files).encode()).hexdigest()
        return {
            "num_files": len(files),
            "digest": f"sha256:{digest}",
            "files": files[:_LISTED_FILES],
            "origin": None if self.origin is None else dict(self.origin),
            "crs_taken_for_epsg_4326": sorted({f.crs for f in self.files} - {"EPSG:4326"}),
            "reproject": "nearest" if self.view.reproject else None,
            "overview": self.view.overview,
        }

    def cost(self, grid: TileGrid, tiles: Int64) -> ReadCost:
        """The cost of reading the pixels of `tiles`; the bytes follow from the block sizes in a few of the files."""
        boxes = TileBoxes.of(grid, tiles, self.lattice)
        placed = [(f, place(f.lattice, boxes, self.lattice.by_centres(grid))) for f in self.near(boxes)]
        placed = [(file, placement) for file, placement in placed if len(placement.tile)]
        if not placed:
            return ReadCost(files=0, requests=0, bytes=0, pixels=0)
        sampled = {placed[k][0]: 0.0 for k in np.linspace(0, len(placed) - 1, _COSTED_FILES).astype(int)}
        for file in sampled:
            with self.open(file) as reader:
                block_shape = reader.header.block_shape
                sampled[file] = reader.mean_block_bytes()
        blocks = requests = 0
        for file, placement in placed:
            windows = list(plan_windows(placement, block_shape, 2**25, whole_runs=False))
            num = sum(_num_blocks(window, block_shape) for window in windows)
            blocks += num
            requests += len(windows) if is_remote(file.href) else num
        mean_bytes = sum(sampled.values()) / len(sampled)
        return ReadCost(
            files=len(placed),
            requests=requests,
            bytes=round(blocks * mean_bytes),
            pixels=blocks * block_shape[0] * block_shape[1],
        )

    @functools.cached_property
    def _bounds(self) -> tuple[Any, Any, Any, Any]:
        lattices = [file.lattice for file in self.files]
        rows = np.array([(one.west, one.south, one.east, one.north) for one in lattices])
        return rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3]


def open_source(
    paths: str | Path | Iterable[str | Path], *, reproject: bool = False, overview: int | None = None
) -> RasterSource:
    """The source of raster files, with their headers read.

    Args:
        paths: Files, folders (their *.tif and *.tiff), glob patterns, URLs, GDAL's /vsi... and vrt:// names.
        reproject: Read projected rasters through a nearest-neighbour warp to longitude and latitude.
        overview: Read the overview of this decimation factor. Land-cover overviews are biased against rare classes.

    Raises:
        RasterError: Nothing is there, or files do not go together or cannot be placed on the globe.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    hrefs = dict.fromkeys(href for path in given for href in _find(str(path)))
    view = View(reproject=reproject, overview=overview)
    return RasterSource.from_table([_Found(href) for href in hrefs], view=view)


def _find(path: str) -> list[str]:
    if is_remote(path) or "://" in path or path.startswith("/vsi"):
        return [path]
    local = Path(path).expanduser()
    if local.is_dir():
        found = sorted(str(f) for f in local.iterdir() if f.suffix.lower() in {".tif", ".tiff"})
    elif local.exists():
        found = [str(local)]
    else:
        found = sorted(glob.glob(str(local), recursive=True))  # noqa: PTH207, the pattern may be absolute
    if not found:
        raise RasterError(f"raster '{path}': no such file, or a folder or pattern without rasters: check the path")
    return found


def _file_of(record: Record, view: View) -> RasterFile:
    if record.transform is None or record.shape is None or view.reproject:
        with RasterReader(record.href, view) as reader:
            return RasterFile(href=record.href, lattice=reader.header.lattice, crs=reader.header.crs)
    lattice = lattice_of(record.transform, record.shape, name_of(record.href))
    if view.overview is not None:
        lattice = _decimated(lattice, view.overview)
    return RasterFile(href=record.href, lattice=lattice)


def _decimated(lattice: Lattice, factor: int) -> Lattice:
    """The pixels of an overview, which cover the same area in full."""
    rows, cols = -(-lattice.num_rows // factor), -(-lattice.num_cols // factor)
    return replace(
        lattice,
        num_rows=rows,
        num_cols=cols,
        width_deg=lattice.width_deg * (lattice.num_cols / cols),
        height_deg=lattice.height_deg * (lattice.num_rows / rows),
    )


def _identity(file: RasterFile, view: View) -> dict[str, str]:
    if is_remote(file.href):
        return {"href": file.href.partition("?")[0]}
    paths = [Path(file.href)]
    if file.href.startswith(("vrt:", "/vsi")) or paths[0].suffix.lower() == ".vrt" or view.overview is not None:
        with RasterReader(file.href, view) as reader:
            paths = [Path(path) for path in reader.parts() if Path(path).is_file()]
    digests = [_digest(path, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(paths)]
    if len(digests) == 1:
        return {"name": file.name, "digest": digests[0]}
    return {"name": file.name, "digest": f"sha256:{hashlib.sha256(' '.join(digests).encode()).hexdigest()}"}


@functools.cache
def _digest(path: Path, size: int, changed_ns: int) -> str:
    return file_digest(path)


def _num_blocks(window: Window, block_shape: tuple[int, int]) -> int:
    rows, cols = block_shape
    return (-(-window.row_stop // rows) - window.row_start // rows) * (
        -(-window.col_stop // cols) - window.col_start // cols
    )
