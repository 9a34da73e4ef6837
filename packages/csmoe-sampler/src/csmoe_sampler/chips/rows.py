"""The rows of a chip store as they are stored, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from csmoe_sampler.chips.journal import FAILED, FETCHED
from csmoe_sampler.chips.store import ChipStore
from csmoe_sampler.types import Bool, Float32, Int64

SENSORS = ("s2", "s1")
_PIXELS = (*SENSORS, "scl")


@dataclass(frozen=True, kw_only=True)
class ChipRow:
    """A tile's pixels in one season, as stored."""

    row: int
    tile_id: str
    season: str
    """Empty where the store has no seasons."""
    arrays: dict[str, npt.NDArray[Any]]
    """`s2` (bands, H, W) int16, `s1` (bands, H, W) dB, `scl` (H, W), as far as the store has them."""
    facts: dict[str, Any]
    """JSON-able: the coordinates of the row."""


class ChipRows:
    """A finished store, open for reading; a context manager.

    Raises:
        ChipError: There is no store, or it is unfinished.
    """

    def __init__(self, path: Path) -> None:
        self._pixels = ChipStore(path)
        self._data = xr.open_zarr(path, chunks=None, mask_and_scale=False)
        self.metadata: dict[str, Any] = self._pixels.provenance

    def __enter__(self) -> ChipRows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pixels.close()
        self._data.close()

    @cached_property
    def tile_ids(self) -> list[str]:
        """One a row."""
        return [str(tile) for tile in self._data["tile_id"].values]

    @cached_property
    def status(self) -> npt.NDArray[np.uint8]:
        """One a row."""
        return np.asarray(self._data["status"].values, np.uint8)

    @property
    def fetched(self) -> Int64:
        """Rows that hold pixels."""
        return np.flatnonzero(self.status == FETCHED)

    @cached_property
    def seasons(self) -> tuple[str, ...]:
        """Their names; one empty name where the store has none."""
        return tuple(map(str, self._data["season"].values)) if "season" in self._data.dims else ("",)

    @cached_property
    def bands(self) -> dict[str, tuple[str, ...]]:
        """Of each sensor."""
        return {name: tuple(map(str, self._data[f"{name}_band"].values)) for name in SENSORS if name in self._data}

    @cached_property
    def layers(self) -> dict[str, dict[str, Any]]:
        """Attributes of each array of pixels, `_FillValue`, `scale_factor` and `units` among them."""
        return {name: dict(self._data[name].attrs) for name in _PIXELS if name in self._data}

    def failures(self) -> list[dict[str, str]]:
        """Tile and reason of every row without pixels, in the order of the rows."""
        said: dict[str, list[str]] = {}
        for entry in self.metadata.get("failed", []):
            said.setdefault(entry["tile_id"], []).append(f"{entry['sensor']} {entry['item']}: {entry['reason']}")
        failed: Bool = self.status != FETCHED
        return [
            {
                "tile_id": self.tile_ids[row],
                "reason": "; ".join(said.get(self.tile_ids[row], []))
                or ("failed" if self.status[row] == FAILED else "not fetched"),
            }
            for row in np.flatnonzero(failed).tolist()
        ]

    def read(self, rows: Int64) -> Iterator[ChipRow]:
        """The chips of some rows, season by season; one row at a time is in memory."""
        for row in rows.tolist():
            arrays = self._pixels.read(row)
            for season, name in enumerate(self.seasons):
                yield ChipRow(
                    row=row,
                    tile_id=self.tile_ids[row],
                    season=name,
                    arrays={key: array[season] if name else array for key, array in arrays.items()},
                    facts=self._facts(row, season),
                )

    @cached_property
    def _columns(self) -> dict[str, tuple[bool, npt.NDArray[Any]]]:
        """Coordinates of the rows, and whether they differ from season to season."""
        found = {str(name): column for name, column in self._data.coords.items() if "sample" in column.dims}
        return {name: ("season" in column.dims, column.values) for name, column in found.items() if name != "sample"}

    def _facts(self, row: int, season: int) -> dict[str, Any]:
        return {
            name: _plain(np.asarray(values[row, season] if seasonal else values[row]))
            for name, (seasonal, values) in self._columns.items()
        }


def masked(values: npt.NDArray[Any], attributes: dict[str, Any]) -> Float32:
    """Stored values as float32 with NaN where they are the fill value; not scaled."""
    floats = values.astype(np.float32)
    if values.dtype.kind in "iu" and "_FillValue" in attributes:
        floats[values == attributes["_FillValue"]] = np.nan
    return floats


def _plain(value: npt.NDArray[Any]) -> Any:
    """JSON-able; times in ISO 8601, what is missing None."""
    if value.dtype.kind == "M":
        texts = np.datetime_as_string(value, unit="ms")
        return None if np.isnat(value).any() else texts.tolist() + "Z" if value.ndim == 0 else texts.tolist()
    if value.dtype.kind == "f":
        return np.where(np.isfinite(value), value.astype(object), np.array(None, dtype=object)).tolist()
    return value.tolist() if value.dtype.kind in "iub" or value.ndim else str(value)
