"""Map layers as palette images, one palette for light and one for dark pages."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from csmoe_sampler.report.maps import MapLayers
from csmoe_sampler.report.png import encode_png
from csmoe_sampler.types import Float64

LAND = {"light": "#dcdbd2", "dark": "#2d3835"}
RAMP = {
    "light": ("#dcdbd2", "#b9d8ae", "#5fb89a", "#1f8a8c", "#175a7d", "#12264f"),
    "dark": ("#2d3835", "#1f5752", "#1f8a78", "#63c08a", "#c9e27a", "#fff6a8"),
}
DOT = {"light": "#0a2f45", "dark": "#fff3b0"}
SPLIT_COLORS = {
    "train": {"light": "#5b8f88", "dark": "#4f8f86"},
    "validation": {"light": "#e08a1e", "dark": "#f2a541"},
    "test": {"light": "#a8327e", "dark": "#e07bc0"},
    "buffer": {"light": "#9d9a8f", "dark": "#6d7572"},
}
_COVERAGE_STEPS = 4
_LEVELS = 60
_FIRST_DOT = 1 + _LEVELS * _COVERAGE_STEPS


def rgb(color: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of `#rrggbb`."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def density_images(layers: MapLayers, top: float) -> dict[str, bytes]:
    """PNG per colour scheme of the share drawn, 0 to `top` on a square-root scale, over grey land."""
    level = np.sqrt(np.clip(layers.density / max(top, 1e-9), 0.0, 1.0)) * (_LEVELS - 1)
    index = _on_land(layers, np.round(level).astype(np.uint8))
    if layers.draw_dots:
        index = np.where(layers.dots >= 0, np.uint8(_FIRST_DOT), index)
    return {scheme: encode_png(index, _palette(RAMP[scheme], (DOT[scheme],))) for scheme in RAMP}


def split_images(layers: MapLayers, splits: tuple[str, ...]) -> dict[str, bytes]:
    """PNG per colour scheme of the splits' rows over grey land."""
    index = _on_land(layers, np.zeros(layers.land.shape, np.uint8))
    index = np.where(layers.dots >= 0, (_FIRST_DOT + layers.dots).astype(np.uint8), index)
    return {
        scheme: encode_png(index, _palette((LAND[scheme],) * 2, tuple(SPLIT_COLORS[split][scheme] for split in splits)))
        for scheme in LAND
    }


def density_top(layers: MapLayers) -> float:
    """A round upper end of the density scale that few pixels exceed; 1 at most."""
    values = layers.density[layers.density > 0]
    if not values.size:
        return 1.0
    high = float(np.percentile(values, 99.0))
    nice = np.array([m * 10.0**e for e in range(-7, 1) for m in (1, 2, 5)])
    return float(min(1.0, nice[np.searchsorted(nice, high)] if high < 1 else 1.0))


def _on_land(layers: MapLayers, level: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    covered = np.ceil(np.clip(layers.land, 0.0, 1.0) * _COVERAGE_STEPS).astype(np.int64)
    index = 1 + level.astype(np.int64) * _COVERAGE_STEPS + covered - 1
    return np.where(covered > 0, index, 0).astype(np.uint8)


def _palette(ramp: tuple[str, ...], dots: tuple[str, ...]) -> npt.NDArray[np.uint8]:
    """(colours, 4): transparent, the ramp at each coverage, the dots."""
    levels = interpolate(ramp, np.linspace(0.0, 1.0, _LEVELS))
    opacity = np.arange(1, _COVERAGE_STEPS + 1) / _COVERAGE_STEPS * 255.0
    cells = np.empty((_LEVELS, _COVERAGE_STEPS, 4))
    cells[:, :, :3] = levels[:, None, :]
    cells[:, :, 3] = opacity
    spots = np.array([(*rgb(color), 255) for color in dots], dtype=np.float64)
    palette = np.concatenate([np.zeros((1, 4)), cells.reshape(-1, 4), spots])
    return np.round(palette).astype(np.uint8)


def interpolate(ramp: tuple[str, ...], at: Float64) -> Float64:
    """Colours, (positions, 3), at 0 to 1 along a ramp of evenly spaced stops."""
    stops = np.array([rgb(color) for color in ramp], dtype=np.float64)
    where = np.linspace(0.0, 1.0, len(stops))
    return np.column_stack([np.interp(at, where, stops[:, band]) for band in range(3)])
