"""A chip store written in this process, from chips in the order of its rows.

The form is that of `csmoe-sample fetch` (docs/decisions/0005-chip-store.md): an array a sensor, a chip with all bands
an inner chunk. Optical numbers are int16, all else float32 with NaN where invalid.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import ZstdCodec
from zarr.errors import ZarrUserWarning

from csmoe_model.data.pixels import Float32
from csmoe_model.data.store import FORMAT, VERSION

SHARD_CHIPS = 64
_MISSING = -32768
_LARGEST = 32767
Chips = Mapping[str, Float32]
"""Of a row, (C, H, W) by sensor, NaN where invalid; what the row lacks is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """An array of a store."""

    bands: tuple[str, ...]
    unit: str
    """Of the chips; `DN` (reflectance x 10,000) is rounded, `reflectance` comes back as DN, all else as it is."""

    @property
    def whole(self) -> bool:
        """Whether values are stored as integers."""
        return self.unit == "DN"

    @property
    def attributes(self) -> dict[str, Any]:
        """What tells a reader the meaning of the numbers."""
        if self.whole:
            return {"units": "1", "scale_factor": 1e-4, "_FillValue": _MISSING}
        return {"units": "1" if self.unit == "reflectance" else self.unit}

    def encoded(self, chips: Float32) -> npt.NDArray[Any]:
        """As they are stored."""
        if not self.whole:
            return chips
        values = np.clip(np.round(chips), -_LARGEST, _LARGEST)
        return np.where(np.isfinite(chips), values, _MISSING).astype(np.int16)


def write_store(
    path: Path,
    layers: Mapping[str, Layer],
    tile_ids: npt.NDArray[np.str_],
    size_px: int,
    chips: Iterable[Chips],
    about: Mapping[str, Any],
) -> npt.NDArray[np.bool_]:
    """(N,) Which rows have a pixel; the store is whole afterwards.

    Args:
        path: Must not be there.
        layers: By sensor.
        tile_ids: (N,) Of the rows.
        size_px: Edge of the chips.
        chips: Of the rows, in their order; 64 are held in memory.
        about: Further attributes of the store: its manifest, its pixels' size.
    """
    group = zarr.create_group(path)
    arrays = {name: _create(group, name, layer, len(tile_ids), size_px) for name, layer in layers.items()}
    valid = {name: np.zeros(len(tile_ids), np.float32) for name in layers}
    first = 0
    for part in _parts(chips):
        rows = slice(first, first + len(part))
        for name, array in arrays.items():
            nothing = np.full(array.shape[1:], np.nan, np.float32)
            block = np.stack([own.get(name, nothing) for own in part])
            array[rows] = layers[name].encoded(block)
            valid[name][rows] = np.isfinite(block).mean((1, 2, 3))
        first += len(part)
    for name, layer in layers.items():
        _column(group, f"{name}_band", np.array(layer.bands, object), f"{name}_band")
        _column(group, f"{name}_valid", valid[name], "sample")
    _column(group, "tile_id", tile_ids.astype(object), "sample")
    sensors = {name: {"bands": list(layer.bands), "unit": layer.unit} for name, layer in layers.items()}
    group.attrs["csmoe"] = {"format": FORMAT, "version": VERSION, "size_px": size_px, "sensors": sensors, **about}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)  # consolidated metadata are not in the specification yet
        zarr.consolidate_metadata(path)
    filled: npt.NDArray[np.bool_] = np.any([shares > 0 for shares in valid.values()], axis=0)
    return filled


def _parts(chips: Iterable[Chips]) -> Iterator[list[Chips]]:
    """A shard's worth at a time."""
    rest = iter(chips)
    while part := list(islice(rest, SHARD_CHIPS)):
        yield part


def _create(group: zarr.Group, name: str, layer: Layer, num: int, size_px: int) -> zarr.Array[Any]:
    chip = (len(layer.bands), size_px, size_px)
    return group.create_array(
        name,
        shape=(num, *chip),
        chunks=(1, *chip),
        shards=(SHARD_CHIPS, *chip),
        dtype="<i2" if layer.whole else "<f4",
        fill_value=_MISSING if layer.whole else np.nan,
        compressors=ZstdCodec(level=3, checksum=True),
        filters=None,
        dimension_names=("sample", f"{name}_band", "y", "x"),
        attributes=layer.attributes,
    )


def _column(group: zarr.Group, name: str, values: npt.NDArray[Any], axis: str) -> None:
    dtype = "string" if values.dtype == object else values.dtype
    group.create_array(name, shape=values.shape, dtype=dtype, dimension_names=(axis,))[:] = values
