"""Small rasters on disk, and plain loops that say what their tiles hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from csmoe_sampler.grid import TileGrid
from csmoe_sampler.placement import Lattice

COARSE_GRID = TileGrid(spacing_km=250.0)
"""81 rows of 2.2 degrees: rasters of 0.1 degrees are fine for it, of 0.5 degrees coarse."""


def write_raster(
    path: Path, pixels: np.ndarray, west: float, north: float, pixel_deg: float | tuple[float, float], **options: Any
) -> Path:
    """A GeoTIFF of one band, north-up in EPSG:4326 unless `options` say otherwise; (width, height) of a pixel."""
    width, height = (pixel_deg, pixel_deg) if isinstance(pixel_deg, float) else pixel_deg
    profile = {
        "driver": "GTiff",
        "crs": "EPSG:4326",
        "transform": Affine(width, 0, west, 0, -height, north),
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "count": 1,
        "dtype": pixels.dtype.name,
        "compress": "deflate",
    } | options
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(pixels, 1)
    return path


def lattice_of(pixels: np.ndarray, west: float, north: float, pixel_deg: float) -> Lattice:
    return Lattice(west, north, pixel_deg, pixel_deg, *pixels.shape)


def patches(shape: tuple[int, int], codes: list[int], seed: int, dtype: str = "uint8") -> np.ndarray:
    """Blobs of codes with some noise, so that both uniform and mixed stretches occur."""
    random = np.random.default_rng(seed)
    rows, cols = shape
    coarse = random.integers(0, len(codes), (rows // 9 + 2, cols // 40 + 2))
    blobs = np.kron(coarse, np.ones((9, 40), np.int64))[:rows, :cols]
    noise = random.integers(0, len(codes), shape)
    return np.array(codes, dtype)[np.where(random.random(shape) < 0.15, noise, blobs)]


def locate_centres(lattice: Lattice, grid: TileGrid) -> np.ndarray:
    """(rows, cols) Tile index of every pixel centre, -1 outside the grid."""
    lon = lattice.lon(np.arange(lattice.num_cols))
    lat = lattice.lat(np.arange(lattice.num_rows))
    lon = np.where(lon < -180, lon + 360, np.where(lon > 360, lon - 360, lon))
    low, high = grid.bounds(np.array([0]))[1][0], grid.bounds(np.array([grid.size - 1]))[3][0]
    inside = (lat >= low) & (lat < high)
    found = np.full((lattice.num_rows, lattice.num_cols), -1)
    found[inside] = grid.locate_index(lon[None, :], lat[inside, None])
    return found


def overlaps(lattice: Lattice, grid: TileGrid, tile: int) -> list[tuple[int, int, float]]:
    """Row, column and share of the tile's area, for every pixel that the tile overlaps."""
    west, south, east, north = (float(edge[0]) for edge in grid.bounds(np.array([tile])))
    found = []
    for row in range(lattice.num_rows):
        top = min(lattice.north - row * lattice.height_deg, north)
        bottom = max(lattice.north - (row + 1) * lattice.height_deg, south)
        if top <= bottom:
            continue
        height = (np.sin(np.radians(top)) - np.sin(np.radians(bottom))) / (
            np.sin(np.radians(north)) - np.sin(np.radians(south))
        )
        for col in range(lattice.num_cols):
            left = lattice.west + col * lattice.width_deg
            for turn in (-360, 0, 360):
                width = min(left + lattice.width_deg, east + turn) - max(left, west + turn)
                if width > 0:
                    found.append((row, col, height * width / (east - west)))
    return found
