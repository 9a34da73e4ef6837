"""The arrays of a chip store, as data: shapes, chunks, types, attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import ZstdCodec
from zarr.storage import MemoryStore

from csmoe_sampler.chips.radiometry import MISSING_DN
from csmoe_sampler.chips.shards import ZSTD_LEVEL

Columns = Mapping[str, npt.NDArray[Any]]

_NO_TIME = -(2**63)
_SCL = {
    0: "no_data",
    1: "saturated_or_defective",
    2: "dark_area",
    3: "cloud_shadow",
    4: "vegetation",
    5: "not_vegetated",
    6: "water",
    7: "unclassified",
    8: "cloud_medium_probability",
    9: "cloud_high_probability",
    10: "thin_cirrus",
    11: "snow",
}
_COORDINATES: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "tile_id": ("str", "", {"long_name": "tile of the manifest"}),
    "lon": ("float64", np.nan, {"standard_name": "longitude", "units": "degrees_east"}),
    "lat": ("float64", np.nan, {"standard_name": "latitude", "units": "degrees_north"}),
    "crs": ("str", "", {"long_name": "coordinate reference system of the chip"}),
    "bounds": ("float64", np.nan, {"long_name": "edges of the chip in its crs"}),
    "status": (
        "uint8",
        2,
        {
            "flag_values": [0, 1, 2],
            "flag_meanings": "fetched failed not_fetched",
            "long_name": "what became of the tile",
        },
    ),
    "time": ("time", _NO_TIME, {"long_name": "acquisition"}),
    "item": ("str", "", {"long_name": "STAC item"}),
    "offset": ("float32", np.nan, {"long_name": "digital numbers subtracted"}),
    "valid": ("float32", np.nan, {"units": "1", "long_name": "share of pixels valid in all bands"}),
    "shift_x_px": ("float32", np.nan, {"long_name": "Sentinel-2 against Sentinel-1, columns to the right"}),
    "shift_y_px": ("float32", np.nan, {"long_name": "Sentinel-2 against Sentinel-1, rows downwards"}),
    "shift_quality": ("float32", np.nan, {"long_name": "peak of the correlation, in standard deviations"}),
}
"""Name (after that of the sensor) -> type, fill value, attributes."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What decides the shapes of a store."""

    num_rows: int
    size_px: int
    shard_chips: int
    s2_bands: tuple[str, ...]
    s1_bands: tuple[str, ...] = ()
    seasons: tuple[str, ...] = ("year",)
    mask: bool = False
    alignment: bool = False

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of the arrays of pixels."""
        return ("s2", *(("s1",) if self.s1_bands else ()), *(("scl",) if self.mask else ()))

    @property
    def num_shards(self) -> int:
        """Shards of each array."""
        return -(-self.num_rows // self.shard_chips)

    def chip_shape(self, array: str) -> tuple[int, ...]:
        """Shape of one chip of one season."""
        bands = {"s2": (len(self.s2_bands),), "s1": (len(self.s1_bands),), "scl": ()}[array]
        return (*bands, self.size_px, self.size_px)

    def dtype(self, array: str) -> str:
        """Type of the pixels, as numpy names it."""
        return {"s2": "int16", "s1": "float32", "scl": "uint8"}[array]

    def fill(self, array: str) -> float | int:
        """Value of missing pixels."""
        return {"s2": MISSING_DN, "s1": float("nan"), "scl": 0}[array]

    def rows_of(self, shard: int) -> range:
        """Rows of the store that a shard holds."""
        return range(shard * self.shard_chips, min(self.num_rows, (shard + 1) * self.shard_chips))

    def shard_key(self, array: str, shard: int) -> str:
        """Path of a shard below the store."""
        zeros = len(self.seasons_axis) + len(self.chip_shape(array))
        return "/".join([array, "c", str(shard), *["0"] * zeros])

    @property
    def seasons_axis(self) -> tuple[int, ...]:
        """Shape of the season axis: none with one season."""
        return (len(self.seasons),) if len(self.seasons) > 1 else ()

    @property
    def coordinates(self) -> dict[str, str]:
        """Coordinates that go with the rows -> their kind in the table."""
        sensors = ("s2", *(("s1",) if self.s1_bands else ()))
        names = {name: name for name in ("tile_id", "lon", "lat", "crs", "bounds", "status")}
        names |= {f"{sensor}_{kind}": kind for sensor in sensors for kind in ("time", "item", "valid")}
        names["s2_offset"] = "offset"
        return names | {name: name for name in _COORDINATES if name.startswith("shift") and self.alignment}


def encode_arrays(layout: Layout) -> dict[str, bytes]:
    """Metadata of the arrays of pixels and what names their axes: path below the store -> content."""
    files: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(files), zarr_format=3)
    axis = ("season",) if layout.seasons_axis else ()
    for name in layout.arrays:
        shape, bands = layout.chip_shape(name), (f"{name}_band",) if name != "scl" else ()
        inner = (1,) * len(axis) + shape
        group.create_array(
            name,
            shape=(layout.num_rows, *layout.seasons_axis, *shape),
            chunks=(1, *inner),
            shards=(layout.shard_chips, *layout.seasons_axis, *shape),
            dtype=layout.dtype(name),
            fill_value=layout.fill(name),
            dimension_names=("sample", *axis, *bands, "y", "x"),
            attributes=_attributes(layout, name),
            compressors=ZstdCodec(level=ZSTD_LEVEL, checksum=True),
        )
    _name_axis(group, "s2_band", layout.s2_bands)
    if layout.s1_bands:
        _name_axis(group, "s1_band", layout.s1_bands)
    if axis:
        _name_axis(group, "season", layout.seasons)
    _name_axis(group, "edge", ("x_min", "y_min", "x_max", "y_max"))
    return _contents(files)


def encode_coordinates(layout: Layout, columns: Columns) -> dict[str, bytes]:
    """Coordinates that go with the rows: path below the store -> content.

    `columns` has an array of shape (rows,), (rows, seasons) or, for `bounds`, (rows, 4) for each of
    `layout.coordinates`; times as int64 microseconds since 1970.
    """
    files: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(files), zarr_format=3)
    for name, kind in layout.coordinates.items():
        dtype, fill, attributes = _COORDINATES[kind]
        values = columns[name]
        axes = ["sample", *(["edge"] if kind == "bounds" else ["season"] if values.ndim > 1 else [])]
        if dtype == "time":
            attributes = attributes | {
                "units": "microseconds since 1970-01-01",
                "calendar": "proleptic_gregorian",
                "_FillValue": fill,
            }
        array = group.create_array(
            name,
            shape=values.shape,
            chunks=values.shape,
            dtype=str if dtype == "str" else "int64" if dtype == "time" else dtype,
            fill_value=fill,
            dimension_names=axes,
            attributes=attributes,
            compressors=ZstdCodec(level=ZSTD_LEVEL, checksum=True),
        )
        array[...] = values.astype(object) if dtype == "str" else values
    return _contents(files)


def _attributes(layout: Layout, array: str) -> dict[str, Any]:
    coordinates = " ".join(layout.coordinates)
    if array == "s2":
        own: dict[str, Any] = {"_FillValue": MISSING_DN, "scale_factor": 1e-4, "units": "1"}
        return own | {"long_name": "surface reflectance", "coordinates": coordinates}
    if array == "s1":
        return {"units": "dB", "long_name": "backscatter", "coordinates": coordinates}
    flags = {"flag_values": list(_SCL), "flag_meanings": " ".join(_SCL.values())}
    return flags | {"long_name": "scene classification", "coordinates": coordinates}


def _name_axis(group: zarr.Group, axis: str, names: tuple[str, ...]) -> None:
    array = group.create_array(
        axis,
        shape=(len(names),),
        chunks=(len(names),),
        dtype=str,
        fill_value="",
        dimension_names=(axis,),
        compressors=ZstdCodec(level=ZSTD_LEVEL, checksum=True),
    )
    array[...] = np.array(names, object)


def _contents(files: Mapping[str, Any]) -> dict[str, bytes]:
    """Without the group's own metadata."""
    return {key: value.to_bytes() for key, value in sorted(files.items()) if key != "zarr.json"}
