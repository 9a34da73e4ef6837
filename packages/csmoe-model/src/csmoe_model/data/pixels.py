"""What the metadata of a store say of a sensor's array: where its pixels are, and what the stored numbers mean."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

Float32 = npt.NDArray[np.float32]
REFLECTANCE = 10_000.0
"""Values without a unit are reflectances; a model takes them as digital numbers, so many times as large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """The array of a sensor, (sample, [season,] band, y, x)."""

    name: str
    array: zarr.Array[Any]
    bands: tuple[str, ...]
    unit: str
    """Of the values that `decode` gives; `DN`: reflectance x 10,000."""
    factor: float
    offset: float
    fill: float | None
    """Stored value of missing pixels, beside what is not finite."""
    shard_chips: int
    """Rows in a shard file of the sampler's own layout; 0: another layout, which Zarr has to read."""

    @property
    def seasonal(self) -> bool:
        """Whether chips have a season axis."""
        return len(self.array.shape) == 5

    @property
    def chip_shape(self) -> tuple[int, ...]:
        """(bands, H, W)."""
        return tuple(self.array.shape[-3:])

    def shard_key(self, shard: int) -> str:
        """Path of a shard file below the store."""
        return "/".join([self.name, "c", str(shard), *["0"] * (len(self.array.shape) - 1)])

    def decode(self, stored: npt.NDArray[Any], bands: list[int], out: Float32) -> Float32:
        """`out`, (bands, h, w), filled with the values of some bands of a stored chip; NaN where missing."""
        for target, band in zip(out, bands, strict=True):
            source = stored[band]
            np.copyto(target, source, casting="unsafe")
            if self.fill is not None and (gone := source == self.fill).any():
                target[gone] = np.nan
            if source.dtype.kind == "f" and (gone := np.isinf(source)).any():
                target[gone] = np.nan
            if self.factor != 1.0:
                target *= np.float32(self.factor)
            if self.offset:
                target += np.float32(self.offset)
        return out


def describe(name: str, array: zarr.Array[Any], bands: tuple[str, ...]) -> Pixels:
    """An array as its metadata describe it.

    Raises:
        ValueError: Its axes are not those of chips; the message says what is wrong.
    """
    metadata: dict[str, Any] = dict(array.metadata.to_dict())
    axes = metadata.get("dimension_names") or ()
    wanted = ("sample", *(("season",) if len(array.shape) == 5 else ()), f"{name}_band", "y", "x")
    if len(array.shape) not in (4, 5) or (axes and tuple(axes) != wanted):
        raise ValueError(f"has the axes {axes or array.shape}, not (sample, [season,] {name}_band, y, x)")
    if array.shape[-3] != len(bands) or array.shape[-1] != array.shape[-2]:
        raise ValueError(f"is {array.shape}: that is not {len(bands)} bands of square chips")
    attributes = array.attrs
    unit = str(attributes.get("units", ""))
    scale = REFLECTANCE if unit == "1" else 1.0
    return Pixels(
        name=name,
        array=array,
        bands=bands,
        unit="DN" if unit == "1" else unit,
        factor=_number(attributes.get("scale_factor"), 1.0) * scale,
        offset=_number(attributes.get("add_offset"), 0.0) * scale,
        fill=_fill(attributes.get("_FillValue")),
        shard_chips=_shard_chips(metadata, array.shape),
    )


def _number(value: Any, default: float) -> float:
    return float(value) if isinstance(value, int | float) else default


def _fill(value: Any) -> float | None:
    """A fill value as CF writes it, or xarray, which packs floats into base64."""
    if isinstance(value, str):
        try:
            (value,) = struct.unpack("<d", base64.b64decode(value, validate=True))
        except (ValueError, struct.error):
            return None
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


def _shard_chips(metadata: Mapping[str, Any], shape: tuple[int, ...]) -> int:
    """Rows in a shard if every inner chunk is one chip with all bands, compressed with zstd alone; else 0."""
    try:
        (sharding,) = metadata["codecs"]
        inner = sharding["configuration"]
        outer = tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"])
        key = metadata["chunk_key_encoding"]
        ours = (
            sharding["name"] == "sharding_indexed"
            and tuple(inner["chunk_shape"]) == (*(1,) * (len(shape) - 3), *shape[-3:])
            and outer[1:] == shape[1:]
            and [codec["name"] for codec in inner["codecs"]] == ["bytes", "zstd"]
            and inner["codecs"][0].get("configuration", {}).get("endian", "little") == "little"
            and [codec["name"] for codec in inner["index_codecs"]] == ["bytes", "crc32c"]
            and inner.get("index_location", "end") == "end"
            and (key["name"], key["configuration"]["separator"]) == ("default", "/")
        )
    except (KeyError, TypeError, ValueError):
        return 0
    return int(outer[0]) if ours else 0
