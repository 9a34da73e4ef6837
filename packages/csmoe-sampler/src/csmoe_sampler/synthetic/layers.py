"""Rasters of the synthetic Earth as Cloud Optimized GeoTIFFs, in the layout of the products that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
from rasterio.io import MemoryFile
from rasterio.windows import Window

from csmoe_sampler.koppen import classify
from csmoe_sampler.legend import Legend, load_legend
from csmoe_sampler.storage import write_bytes
from csmoe_sampler.synthetic.earth import Planet
from csmoe_sampler.types import Float64

TILE_DEG = 3
_KOPPEN_DEG = 0.1

Values = npt.NDArray[Any]
Field = Callable[[Float64, Float64], Values]
"""Values at `lon` (1, W) and `lat` (H, 1): (H, W), or (bands, H, W)."""

_WINDOW_PIXELS = 1 << 20
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A raster in longitude and latitude: where it lies, and what is in it."""

    west: int
    north: int
    width: int
    height: int
    pixel_deg: float
    sample: Field
    dtype: str
    nodata: float
    options: Mapping[str, object]
    """Of GDAL's COG driver."""
    bands: tuple[str, ...] = ("",)
    """Description of each band."""
    colors: Mapping[int, tuple[int, int, int, int]] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    def values(self, row: int, rows: int) -> Values:
        """(bands, rows, width) from a row on."""
        lon = self.west + np.arange(0.5, self.width) * np.float64(self.pixel_deg)
        lat = self.north - np.arange(row + 0.5, row + rows) * np.float64(self.pixel_deg)
        return np.asarray(self.sample(lon[None, :], lat[:, None])).reshape(len(self.bands), rows, self.width)


def landcover_tile(planet: Planet, west: int, south: int, tile_px: int) -> Layer:
    """A tile in the layout of ESA WorldCover 2021 (v200), with `tile_px` pixels in the place of 36,000."""
    legend = load_legend("worldcover")
    return Layer(
        west=west,
        north=south + TILE_DEG,
        width=tile_px,
        height=tile_px,
        pixel_deg=TILE_DEG / tile_px,
        sample=planet.landcover,
        dtype="uint8",
        nodata=0,
        options={"compress": "deflate", "blocksize": 1024, "overview_resampling": "mode", "overview_count": 6},
        colors=_colors(legend),
        tags={
            "title": "Synthetic land cover in the layout of the ESA WorldCover product for 2021",
            "product_type": "LandCover Map",
            "product_version": "V2.0.0",
            "product_tile": tile_name(west, south),
            "product_grid": "3x3 degree tiling grid",
            "product_crs": "EPSG:4326",
            "time_start": "2021-01-01T00:00:00Z",
            "time_end": "2021-12-31T23:59:59Z",
        },
    )


def tile_name(west: int, south: int) -> str:
    """As ESA names tiles by their south-west corner: `N00E006`."""
    return f"{'S' if south < 0 else 'N'}{abs(south):02d}{'W' if west < 0 else 'E'}{abs(west):03d}"


def koppen_layer(planet: Planet) -> Layer:
    """The map of climate classes, like that of Beck et al. (2023)."""

    def codes(lon: Float64, lat: Float64) -> Values:
        return classify(*planet.climate(lon, lat))

    legend = load_legend("koppen")
    return _global_layer(
        _KOPPEN_DEG,
        sample=codes,
        dtype="uint8",
        nodata=0,
        options={"compress": "deflate", "overview_resampling": "mode"},
        colors=_colors(legend),
        tags={"title": "Synthetic Köppen-Geiger classes"},
    )


def temperature_layer(planet: Planet, pixel_deg: float) -> Layer:
    """Monthly mean temperature in °C, January first."""
    title = "Synthetic monthly mean temperature in °C"
    return _normals_layer(title, pixel_deg, lambda lon, lat: planet.climate(lon, lat)[0])


def precipitation_layer(planet: Planet, pixel_deg: float) -> Layer:
    """Precipitation in mm a month, January first."""
    title = "Synthetic precipitation in mm a month"
    return _normals_layer(title, pixel_deg, lambda lon, lat: planet.climate(lon, lat)[1])


def elevation_layer(planet: Planet, pixel_deg: float) -> Layer:
    """Elevation of land in metres."""

    def metres(lon: Float64, lat: Float64) -> Values:
        height = planet.elevation(lon, lat)
        return np.where(height > 0, np.floor(height + 0.5), -32768).astype(np.int16)

    return _global_layer(
        pixel_deg,
        sample=metres,
        dtype="int16",
        nodata=-32768,
        options={"compress": "deflate", "predictor": "yes", "overview_resampling": "average"},
        tags={"title": "Synthetic elevation in metres"},
    )


def _normals_layer(title: str, pixel_deg: float, values: Field) -> Layer:
    return _global_layer(
        pixel_deg,
        sample=values,
        dtype="float32",
        nodata=float("nan"),
        options={"compress": "deflate", "predictor": "yes", "overview_resampling": "average"},
        bands=_MONTHS,
        tags={"title": title},
    )


def _global_layer(pixel_deg: float, **rest: Any) -> Layer:
    width, height = round(360 / pixel_deg), round(180 / pixel_deg)
    return Layer(west=-180, north=90, width=width, height=height, pixel_deg=pixel_deg, **rest)


def _colors(legend: Legend) -> dict[int, tuple[int, int, int, int]]:
    table = {}
    for color, codes in zip(legend.colors, legend.codes, strict=True):
        red, green, blue = bytes.fromhex(color.removeprefix("#"))
        table.update(dict.fromkeys(codes, (red, green, blue, 255)))
    return table


def write_layer(path: Path, layer: Layer) -> None:
    """Write a layer atomically, window by window; in memory, so that a killed writer leaves nothing behind.

    Raises:
        StorageError: The disk is full, or the place is not writable.
    """
    rows = max(1, min(layer.height, _WINDOW_PIXELS // layer.width))
    profile = {
        "driver": "GTiff",
        "width": layer.width,
        "height": layer.height,
        "count": len(layer.bands),
        "dtype": layer.dtype,
        "nodata": layer.nodata,
        "crs": "EPSG:4326",
        "transform": rasterio.Affine(layer.pixel_deg, 0, layer.west, 0, -layer.pixel_deg, layer.north),
    }
    with MemoryFile() as draft, MemoryFile(filename="cog.tif") as final:
        with draft.open(**profile, blockysize=rows, compress="deflate", zlevel=1) as dataset:
            for row in range(0, layer.height, rows):
                values = layer.values(row, min(rows, layer.height - row))
                dataset.write(values, window=Window(0, row, layer.width, values.shape[1]))
            if layer.colors:
                dataset.write_colormap(1, dict(layer.colors))
            if len(layer.bands) > 1:
                dataset.descriptions = layer.bands
            dataset.update_tags(**layer.tags)
        rasterio.shutil.copy(draft.name, final.name, driver="COG", **layer.options)
        write_bytes(path, final.getbuffer())
