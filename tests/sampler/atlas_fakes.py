"""What the tests send to Dask workers: importable there, and without any state."""

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from csmoe_sampler.atlas import describe_tiles
from csmoe_sampler.engine import open_client
from csmoe_sampler.errors import LegendError
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.progress import NoProgress
from csmoe_sampler.types import Int64, ReadCost


@dataclass(frozen=True, kw_only=True)
class FakeShares:
    """A descriptor whose columns are a pure function of the tile index, and so of no cut into blocks."""

    name: str = "landcover"
    version: str = "1"
    pixel_deg: float = 0.05
    labels: tuple[str, ...] = ("tree", "bare", "water")
    pause_s: float = 0.0
    """For every call."""
    log: Path | None = None
    """Gets the numbers of tiles of every call."""
    bad_tile: int = -1
    """Raises where it is asked for this one."""

    @property
    def columns(self) -> dict[str, str]:
        shares = {f"{self.name}_{label}": "float32" for label in self.labels}
        return shares | {f"{self.name}_valid": "float32", f"{self.name}_pixels": "int64"}

    def provenance(self) -> dict[str, Any]:
        return {"sources": [{"name": self.name, "version": self.version}], "labels": self.labels}

    def cost(self, grid: TileGrid, tiles: Int64) -> ReadCost:
        return ReadCost(files=1, requests=2, bytes=10 * tiles.size, pixels=100 * tiles.size)

    def describe(self, grid: TileGrid, tiles: Int64) -> dict[str, npt.NDArray[Any]]:
        assert tiles.size
        time.sleep(self.pause_s)
        if self.bad_tile in tiles:
            raise LegendError(f"raster of tile {self.bad_tile} holds code 77: add it to the legend")
        if self.log:
            with self.log.open("a") as file:
                file.write(f"{tiles.size}\n")
        mixed = (tiles.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)
        columns: dict[str, npt.NDArray[Any]] = {}
        for position, label in enumerate(self.labels):
            columns[f"{self.name}_{label}"] = ((mixed >> np.uint64(position)) % np.uint64(97)).astype(np.float32) / 97
        valid = np.where(mixed % np.uint64(5) == 0, 0, 0.9).astype(np.float32)
        if "water" in self.labels:
            columns[f"{self.name}_water"] = np.where(mixed % np.uint64(7) == 0, valid, 0.1).astype(np.float32)
        return columns | {f"{self.name}_valid": valid, f"{self.name}_pixels": tiles * 3}


def square(number: int) -> int:
    return number * number


def where(number: int) -> tuple[int, int]:
    """Process and thread."""
    time.sleep(0.01)
    return os.getpid(), threading.get_ident()


def slow_square(number: int) -> int:
    time.sleep(0.05)
    return number * number


def fail_at_five(number: int) -> int:
    if number == 5:
        raise LegendError("raster five.tif holds code 77: add it to the legend")
    time.sleep(0.05)
    return number


def fail_with_a_cause(_: int) -> None:
    """The cause cannot be pickled, as those of GDAL."""
    try:
        raise ValueError(threading.Lock())
    except ValueError as error:
        raise LegendError("raster a.tif cannot be read: try again") from error


def kill_worker(_: int) -> None:
    os.kill(os.getpid(), 9)


class Heavy:
    """Counts how often it is unpickled, in a file, and is called like a function."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        with self.log.open("a") as file:
            file.write(f"{os.getpid()}\n")

    def __call__(self, number: int) -> int:
        return number


def describe_here(out: Path, region: tuple[int, int], names: tuple[str, ...], pause_s: float) -> None:
    """Describes the tiles [region) of a coarse grid, in this process."""
    grid = TileGrid(200.0)
    descriptors = [FakeShares(name=name, pixel_deg=0.001, pause_s=pause_s) for name in names]
    with open_client(workers=2) as client:
        describe_tiles(np.arange(*region), grid, descriptors, out, client=client, progress=NoProgress())
