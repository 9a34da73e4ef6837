"""Maps of a sample over its population: layers of a raster in an equal-area projection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from csmoe_sampler.grid_rows import EARTH_RADIUS_KM
from csmoe_sampler.report.projection import Projection, projection_for
from csmoe_sampler.types import Float32, Float64, Int16, Int64

WIDTH_PX = 1600
MAX_HEIGHT_PX = 1500
_MARGIN_PX = 12
_MAX_TILE_PX = 24.0
_SAMPLES_PER_KERNEL = 30.0
_DOTS_UP_TO = 20_000
_GLOBAL_STRETCH = 1.35
"""Equal Earth stretches tiles one way or the other; squares this much larger leave no gaps."""


@dataclass(frozen=True)
class Frame:
    """Where a map's pixels are: the projection, its window and its scale."""

    projection: Projection
    west: float
    """Easting of the left edge, on the unit sphere."""
    north: float
    """Northing of the upper edge, on the unit sphere."""
    pixels_per_unit: float
    width: int
    height: int

    def pixels(self, lon: Float64, lat: Float64) -> tuple[Float64, Float64]:
        """Columns and rows, continuous, of coordinates in degrees."""
        return self.place(*self.projection.forward(lon, lat))

    def place(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        """Columns and rows, continuous, of projected coordinates."""
        return (x - self.west) * self.pixels_per_unit, (self.north - y) * self.pixels_per_unit


@dataclass(frozen=True)
class MapLayers:
    """What the maps draw; every array has the shape (height, width) of the frame."""

    frame: Frame
    land: Float32
    """Share of the pixel that candidates cover, 0 to 1."""
    density: Float32
    """Share of the candidates drawn near the pixel, 0 to 1; 0 away from land."""
    dots: Int16
    """Position of the split whose rows lie here, -1 where no row does."""
    draw_dots: bool
    """The rows are so few that the density map marks each."""


def frame_for(lon: Float64, lat: Float64, tile_km: float) -> Frame:
    """The frame that holds tiles with these centres (degrees), of an edge of `tile_km`."""
    projection = projection_for(lon)
    half = tile_km / EARTH_RADIUS_KM / 2.0
    if projection.is_global:
        edge = float(projection.forward_turned(np.array([np.pi]), np.zeros(1))[0][0])
        y = projection.forward(np.zeros(2), np.array([-90.0, 90.0]))[1]
        west, east = -edge, edge
    else:
        x, y = projection.forward(lon, lat)
        west, east = float(x.min()) - half, float(x.max()) + half
    south, north = float(y.min()) - half, float(y.max()) + half
    inner = WIDTH_PX - 2 * _MARGIN_PX
    scale = min(inner / (east - west), MAX_HEIGHT_PX / (north - south), _MAX_TILE_PX / (2.0 * half))
    margin = _MARGIN_PX / scale
    return Frame(
        projection=projection,
        west=west - margin,
        north=north + margin,
        pixels_per_unit=scale,
        width=int(np.ceil((east - west) * scale)) + 2 * _MARGIN_PX,
        height=int(np.ceil((north - south) * scale)) + 2 * _MARGIN_PX,
    )


def draw_layers(
    population: tuple[Float64, Float64],
    sample: tuple[Float64, Float64],
    split: Int16,
    *,
    num_splits: int,
    tile_km: float,
) -> MapLayers:
    """The layers of a sample over its population.

    Args:
        population: Longitudes and latitudes of the centres of all candidates.
        sample: The same of the rows.
        split: Position of each row's split.
        num_splits: How many splits there are.
        tile_km: Edge of a tile.
    """
    frame = frame_for(*population, tile_km)
    edge_px = tile_km / EARTH_RADIUS_KM * frame.pixels_per_unit
    candidates = _count(frame, *population, edge_px)
    drawn = _count(frame, *sample, edge_px)
    full = max(1.0, 0.5 * float(edge_px) ** -2.0)  # whole rows of tiles fall into a pixel or beside it
    land = np.minimum(candidates / np.float32(full), 1.0, dtype=np.float32)
    per_split = np.stack(
        [_count(frame, sample[0][split == s], sample[1][split == s], edge_px) for s in range(num_splits)]
    )
    per_pixel = len(sample[0]) / max(1, int(np.count_nonzero(candidates)))
    return MapLayers(
        frame=frame,
        land=land,
        density=_density(candidates, drawn, per_pixel, edge_px),
        dots=_dots(per_split, per_pixel, edge_px),
        draw_dots=len(sample[0]) <= _DOTS_UP_TO,
    )


def _count(frame: Frame, lon: Float64, lat: Float64, edge_px: float) -> Float32:
    """How many tiles touch each pixel: by their centre where they are smaller than a pixel, else by their square."""
    column, row = frame.pixels(lon, lat)
    shape = (frame.height + 1, frame.width + 1)
    if edge_px <= 1.0:
        flat = np.ravel_multi_index((_clip(row, shape[0]), _clip(column, shape[1])), shape)
        counts = np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)
        return counts[:-1, :-1].astype(np.float32)
    half = edge_px / 2.0 * (_GLOBAL_STRETCH if frame.projection.is_global else 1.0)
    west, east = _clip(np.round(column - half), shape[1]), _clip(np.round(column + half), shape[1])
    north, south = _clip(np.round(row - half), shape[0]), _clip(np.round(row + half), shape[0])
    corners = np.zeros(shape, dtype=np.int64)
    for rows, columns, sign in ((north, west, 1), (north, east, -1), (south, west, -1), (south, east, 1)):
        np.add.at(corners, (rows, columns), sign)
    return corners.cumsum(axis=0).cumsum(axis=1)[:-1, :-1].astype(np.float32)


def _clip(position: Float64, size: int) -> Int64:
    return np.clip(np.floor(position).astype(np.int64), 0, size - 1)


def _density(candidates: Float32, drawn: Float32, per_pixel: float, edge_px: float) -> Float32:
    """Share drawn, smoothed over a neighbourhood that holds some tens of rows."""
    wanted = np.sqrt(_SAMPLES_PER_KERNEL / (4.0 * np.pi * max(per_pixel, 1e-9)))
    sigma = float(np.clip(wanted, 1.2, max(12.0, 2.5 * edge_px)))
    around = ndimage.gaussian_filter(candidates, sigma, mode="constant")
    share = ndimage.gaussian_filter(drawn, sigma, mode="constant") / np.maximum(around, np.float32(1e-6))
    return np.where(candidates > 0, np.clip(share, 0.0, 1.0), 0.0).astype(np.float32)


def _dots(per_split: Float32, per_pixel: float, edge_px: float) -> Int16:
    """The split with most rows within a dot's radius; the dots grow as rows get fewer."""
    radius = 0.0
    if edge_px < 5.0:
        radius = float(np.clip(np.sqrt(0.6 / (np.pi * max(per_pixel, 1e-9))), 0.0, 3.0))
    reach = int(np.floor(radius))
    offsets = np.arange(-reach, reach + 1)
    disc = ((offsets[:, None] ** 2 + offsets[None, :] ** 2) <= radius**2).astype(np.float32)
    disc[reach, reach] = 1.0
    near = np.stack([ndimage.convolve(counts, disc, mode="constant") for counts in per_split])
    return np.where(near.max(axis=0) > 0.5, near.argmax(axis=0), -1).astype(np.int16)
