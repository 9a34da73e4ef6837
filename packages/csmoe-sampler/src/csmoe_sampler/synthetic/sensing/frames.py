"""Where the pixels of a scene are, and where of them there are data: rasters in UTM and the swath across them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyproj
import rasterio
import shapely

from csmoe_sampler.types import Bool, Float64

_NODES = 7
_NODE_UNITS = 1e9
_EDGE_PARTS = 4


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A raster in a UTM zone."""

    epsg: int
    x_min: float
    y_max: float
    pixel_m: float
    width: int
    height: int

    @property
    def transform(self) -> rasterio.Affine:
        """From (column, row) to metres."""
        return rasterio.Affine(self.pixel_m, 0.0, self.x_min, 0.0, -self.pixel_m, self.y_max)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in metres."""
        return (
            self.x_min,
            self.y_max - self.pixel_m * self.height,
            self.x_min + self.pixel_m * self.width,
            self.y_max,
        )

    def coarser(self, factor: int) -> Frame:
        """The same raster with pixels `factor` times as large."""
        return Frame(
            epsg=self.epsg,
            x_min=self.x_min,
            y_max=self.y_max,
            pixel_m=self.pixel_m * factor,
            width=self.width // factor,
            height=self.height // factor,
        )

    def places(self) -> tuple[Float64, Float64]:
        """Longitude and latitude of the pixel centres, (H, W) each, to about a millimetre.

        A polynomial through a few points, each rounded: what PROJ computes may differ in its last bits from machine
        to machine, and additions and products do not.
        """
        west, south, east, north = self.bounds
        x, y = np.linspace(west, east, _NODES), np.linspace(north, south, _NODES)
        to_globe = pyproj.Transformer.from_crs(self.epsg, 4326, always_xy=True)
        lon, lat = to_globe.transform(*np.meshgrid(x, y))
        along, down = _weights(self.width), _weights(self.height)
        return _blend(np.round(lon * _NODE_UNITS) / _NODE_UNITS, along, down), _blend(
            np.round(lat * _NODE_UNITS) / _NODE_UNITS, along, down
        )

    def inside(self, outline: Float64) -> Bool:
        """Which pixel centres lie in a convex outline, (H, W); its corners (K, 2) in metres, counterclockwise."""
        x = self.x_min + self.pixel_m * (np.arange(self.width) + 0.5)[None, :]
        y = self.y_max - self.pixel_m * (np.arange(self.height) + 0.5)[:, None]
        inside = np.ones((self.height, self.width), bool)
        for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
            inside &= (x1 - x0) * (y - y0) >= (y1 - y0) * (x - x0)
        return inside


def box_outline(frame: Frame) -> Float64:
    """Corners of a frame, (4, 2) in metres, counterclockwise from the south-west."""
    west, south, east, north = frame.bounds
    return np.array([(west, south), (east, south), (east, north), (west, north)])


def clip_outline(outline: Float64, clip: Float64) -> Float64:
    """What two convex outlines have in common, corners rounded to metres, counterclockwise."""
    common = shapely.Polygon(outline).intersection(shapely.Polygon(clip))
    corners = np.round(shapely.get_coordinates(shapely.orient_polygons(common))[:-1])
    keep = np.any(corners != np.roll(corners, 1, axis=0), axis=1)
    return np.asarray(corners[keep])


def globe_polygon(epsg: int, outline: Float64) -> shapely.Polygon:
    """An outline in longitude and latitude to 1e-7 degrees, with a few points on its edges, which are not straight."""
    parts = np.arange(_EDGE_PARTS)[:, None] / _EDGE_PARTS
    ends = np.roll(outline, -1, axis=0)
    points = np.concatenate([start + (end - start) * parts for start, end in zip(outline, ends, strict=True)])
    to_globe = pyproj.Transformer.from_crs(epsg, 4326, always_xy=True)
    lon, lat = to_globe.transform(points[:, 0], points[:, 1])
    return shapely.Polygon(np.round(np.column_stack((lon, lat)), 7))


def _weights(count: int) -> Float64:
    """Share of every node in the polynomial at the pixel centres of a line, (nodes, count)."""
    at = (np.arange(count) + 0.5) * ((_NODES - 1) / count)
    weights = np.ones((_NODES, count))
    for i in range(_NODES):
        for k in range(_NODES):
            if k != i:
                weights[i] *= (at - k) / (i - k)
    return weights


def _blend(nodes: Float64, along: Float64, down: Float64) -> Float64:
    """The polynomial's values, (H, W)."""
    lines = np.zeros((down.shape[1], _NODES))
    for i in range(_NODES):
        lines += down[i][:, None] * nodes[i][None, :]
    values = np.zeros((down.shape[1], along.shape[1]))
    for k in range(_NODES):
        values += lines[:, k][:, None] * along[k][None, :]
    return values
