"""The two statistics of a raster per tile: shares of its classes, and mean and standard deviation of its values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from csmoe_sampler import zonal
from csmoe_sampler.errors import LegendError, RasterError
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.legend import NODATA, UNKNOWN, Legend
from csmoe_sampler.placement import (
    AREA_UNIT_BITS,
    Placement,
    TileBoxes,
    Window,
    full_weight,
    place,
)
from csmoe_sampler.rasters import RasterReader, RasterSource
from csmoe_sampler.types import Int64, ReadCost

_CODE_TYPES = ("uint8", "int8", "uint16", "int16")
_LISTED_CODES = 20


@dataclass(frozen=True, kw_only=True)
class ClassTally:
    """What n tiles hold of k classes, in exact integers."""

    pixels: Int64
    """(n, k) Numbers of pixel centres; (n, 0) where pixels count by areas."""
    weight: Int64
    """(n, k) Areas, in units that are the same within a tile."""
    whole: Int64
    """(n,) Area of the tile in the same units."""


@dataclass(frozen=True, kw_only=True)
class ClassShares:
    """Shares of the classes of a categorical raster.

    Columns: `{name}_{label}` shares of the valid area (sum 1, or all 0 where nothing is valid); `{name}_valid` and
    `{name}_water` shares of the tile's area that are not no data, and open water; `{name}_entropy` of the shares in
    bits; `{name}_classes` number of classes present; `{name}_pixels` number of valid pixel centres (0 where pixels
    count by areas, see `placement`).
    """

    name: str
    raster: RasterSource
    legend: Legend

    @property
    def columns(self) -> dict[str, str]:
        """Column name -> dtype."""
        shares = {f"{self.name}_{label}": "float32" for label in self.legend.labels}
        others = {"valid": "float32", "water": "float32", "entropy": "float32", "classes": "int16", "pixels": "int64"}
        return shares | {f"{self.name}_{key}": dtype for key, dtype in others.items()}

    @property
    def pixel_deg(self) -> float:
        """Edge of a pixel as read."""
        return self.raster.pixel_deg

    def provenance(self) -> dict[str, Any]:
        """Raster and legend."""
        return {"statistic": "shares", "raster": self.raster.provenance(), "legend": self.legend.to_json()}

    def cost(self, grid: TileGrid, tiles: Int64) -> ReadCost:
        """The cost of describing `tiles`."""
        return self.raster.cost(grid, tiles)

    def describe(self, grid: TileGrid, tiles: Int64) -> dict[str, npt.NDArray[Any]]:
        """Columns of `tiles`.

        Raises:
            RasterError: The raster cannot be read in full, or its pixels are no codes.
            LegendError: It holds codes that the legend does not know.
        """
        tally = self.tally(grid, tiles)
        num_tiles, num_classes = tally.weight.shape
        shares = np.empty((num_classes, num_tiles), np.float32)
        entropy, present = np.empty(num_tiles, np.float32), np.empty(num_tiles, np.int16)
        zonal.share_classes(tally.weight, shares, entropy, present)
        # Integers add up to the same in any order.
        valid = tally.weight.sum(axis=1) / tally.whole
        water = tally.weight[:, self.legend.water_mask].sum(axis=1) / tally.whole
        others = (valid.astype(np.float32), water.astype(np.float32), entropy, present, tally.pixels.sum(axis=1))
        return dict(zip(self.columns, (*shares, *others), strict=True))

    def tally(self, grid: TileGrid, tiles: Int64) -> ClassTally:
        """Pixels and areas of the classes in `tiles`; raises as `describe`."""
        boxes = TileBoxes.of(grid, tiles, self.raster.lattice)
        by_centres = self.raster.lattice.by_centres(grid)
        num_classes = self.legend.num_classes
        # The last two columns are no data and unknown codes.
        weight = np.zeros((len(boxes), num_classes + 2), np.int64)
        pixels = np.zeros_like(weight if by_centres else weight[:, :0])
        unknown: dict[str, dict[int, int]] = {}
        for reader, placed in _visit(self.raster, boxes, by_centres):
            table = self._code_table(reader)
            for window, codes in reader.stream(placed):
                bits = codes.view(f"u{codes.itemsize}")
                if by_centres:
                    num_unknown = zonal.count_by_centres(bits, window, placed, table, pixels, weight)
                else:
                    num_unknown = zonal.count_by_areas(bits, window, placed, table, weight)
                if num_unknown:
                    self._note_unknown(unknown.setdefault(reader.name, {}), codes, window, placed)
        if unknown:
            raise LegendError(self._explain(unknown))
        # Files may lie over each other by half a pixel: then a tile can hold more than it should.
        whole = np.maximum(_whole(self.raster, boxes, by_centres), weight.sum(axis=1))
        return ClassTally(pixels=pixels[:, :num_classes], weight=weight[:, :num_classes], whole=whole)

    def _code_table(self, reader: RasterReader) -> zonal.CodeTable:
        dtype, nodata = reader.header.dtype, reader.header.nodata
        if dtype not in _CODE_TYPES:
            raise RasterError(
                f"raster {reader.name}: its pixels are {dtype}, and classes are read from {', '.join(_CODE_TYPES)}:"
                " convert it with `gdal_translate -ot Byte` (or UInt16)"
            )
        classes = self.legend.lookup(dtype)
        limits = np.iinfo(dtype)
        if nodata is not None and nodata.is_integer() and limits.min <= nodata <= limits.max:
            code = int(nodata)
            if code in self.legend.label_of:
                raise LegendError(
                    f"legend '{self.legend.name}': calls code {code} '{self.legend.label_of[code]}', and raster"
                    f" {reader.name} declares it no data: correct the one or the other"
                )
            classes[code % len(classes)] = NODATA
        num_classes = self.legend.num_classes
        column = np.select([classes == NODATA, classes == UNKNOWN], [num_classes, num_classes + 1], classes)
        known = np.flatnonzero(classes != UNKNOWN)
        return zonal.CodeTable(known.astype(f"u{limits.bits // 8}"), column.astype(np.uint8))

    def _note_unknown(self, found: dict[int, int], codes: npt.NDArray[Any], window: Window, placed: Placement) -> None:
        """Adds the numbers of pixels of every code that is not in the legend."""
        mark = np.zeros(codes.size, np.bool_)
        zonal.mark_placed(window, placed, mark)
        for code, number in zip(*np.unique(codes[mark], return_counts=True), strict=True):
            if int(code) not in self.legend.label_of and int(code) not in self.legend.nodata:
                found[int(code)] = found.get(int(code), 0) + int(number)

    def _explain(self, unknown: dict[str, dict[int, int]]) -> str:
        listed = [
            f"{code} ({number:,} pixels of {file})"
            for file, found in unknown.items()
            for code, number in sorted(found.items())
        ]
        more = f" and {len(listed) - _LISTED_CODES} more" if len(listed) > _LISTED_CODES else ""
        return (
            f"legend '{self.legend.name}': does not know the codes {', '.join(listed[:_LISTED_CODES])}{more}: use the"
            " legend of the raster, or add them to a copy of this one"
        )


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Mean and standard deviation of a numeric raster over the area of each tile.

    Columns: `{name}_mean`, `{name}_std` (of the population; both NaN where nothing is valid), `{name}_valid` share of
    the tile's area with a value. No data, NaN and infinity are no values.
    """

    name: str
    raster: RasterSource

    @property
    def columns(self) -> dict[str, str]:
        """Column name -> dtype."""
        return dict.fromkeys((f"{self.name}_{key}" for key in ("mean", "std", "valid")), "float32")

    @property
    def pixel_deg(self) -> float:
        """Edge of a pixel as read."""
        return self.raster.pixel_deg

    def provenance(self) -> dict[str, Any]:
        """Raster."""
        return {"statistic": "moments", "raster": self.raster.provenance()}

    def cost(self, grid: TileGrid, tiles: Int64) -> ReadCost:
        """The cost of describing `tiles`."""
        return self.raster.cost(grid, tiles)

    def describe(self, grid: TileGrid, tiles: Int64) -> dict[str, npt.NDArray[Any]]:
        """Columns of `tiles`; raises RasterError where the raster cannot be read in full."""
        boxes = TileBoxes.of(grid, tiles, self.raster.lattice)
        by_centres = self.raster.lattice.by_centres(grid)
        join = zonal.moments_by_centres if by_centres else zonal.moments_by_areas
        found = zonal.RunningMoments.zeros(len(boxes))
        for reader, placed in _visit(self.raster, boxes, by_centres):
            nodata = _nodata_value(reader)
            segments = zonal.RunningMoments.zeros(len(placed.tile))
            for window, values in reader.stream(placed, whole_runs=True):
                join(values, window, placed, nodata, segments)
            zonal.join_segments(placed, segments, found)
        whole = _whole(self.raster, boxes, by_centres) if by_centres else 1.0
        known = found.weight > 0
        variance = found.scatter / np.where(known, found.weight, 1)
        columns = {
            "mean": np.where(known, found.mean, np.nan),
            "std": np.where(known, np.sqrt(variance), np.nan),
            "valid": np.minimum(found.weight / whole, 1),
        }
        return {f"{self.name}_{key}": column.astype(np.float32) for key, column in columns.items()}


def _visit(raster: RasterSource, boxes: TileBoxes, by_centres: bool) -> Iterator[tuple[RasterReader, Placement]]:
    """Every file that has pixels of the tiles, opened, and where they lie on it."""
    for file in raster.near(boxes):
        placed = place(file.lattice, boxes, by_centres)
        if len(placed.tile):
            with raster.open(file) as reader:
                yield reader, placed


def _whole(raster: RasterSource, boxes: TileBoxes, by_centres: bool) -> Int64:
    """Area of tiles in units of weight: all the pixels they have where the raster goes on beyond its files."""
    return full_weight(raster.lattice, boxes) if by_centres else np.full(len(boxes), 2**AREA_UNIT_BITS)


def _nodata_value(reader: RasterReader) -> float:
    """No-data value as the pixels have it; NaN, which nothing equals, where none is declared."""
    nodata, dtype = reader.header.nodata, np.dtype(reader.header.dtype)
    if dtype.kind not in "iuf":
        raise RasterError(
            f"raster {reader.name}: its pixels are {dtype}, which have no mean: give a raster of real numbers"
        )
    if nodata is None or dtype.kind != "f":
        return np.nan if nodata is None else nodata
    return float(dtype.type(nodata))
