"""A look at embeddings: a map whose colours are their first three principal components."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from csmoe_model.train.pictures import save_figure

Floats = npt.NDArray[np.float64]
_FITTED, _SHOWN = 20_000, 200_000
"""Embeddings from which components are found, and points that are drawn, at most."""
_PERCENTILES = (2, 98)


def draw_quicklook(embeddings: Path, path: Path) -> None:
    """Writes a PNG beside others: for each sensor a map of its embeddings.

    Equal colours mean like embeddings, within a map only: each sensor has components of its own. Of very many
    embeddings some are shown, evenly.
    """
    save_figure(quicklook_figure(embeddings), path)


def quicklook_figure(embeddings: Path) -> Figure:
    """The figure of `draw_quicklook`; one axes a sensor."""
    sensors = _sensors(embeddings)
    maps = {name: _points(embeddings, name) for name in sensors}
    extent = _extent(np.concatenate([lon_lat for lon_lat, _ in maps.values()]))
    west, south, east, north = extent
    stretch = 1 / np.cos(np.radians(np.clip((south + north) / 2, -75, 75)))
    shape = (north - south) * stretch / (east - west)
    width = 7.0 if shape < 1 else 4.5
    figure = Figure(figsize=(width * len(maps), width * shape + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, (lon_lat, features)) in zip(
        np.atleast_1d(figure.subplots(1, len(maps))), maps.items(), strict=True
    ):
        colours, shares = principal_colours(features)
        size = float(np.clip(20_000 / len(lon_lat), 1.0, 40.0))
        axes.scatter(*lon_lat.T, c=colours, s=size, linewidths=0)
        axes.set_title(f"{name}: {len(lon_lat):,} embeddings, {shares.sum():.0%} of variance shown", fontsize=10)
        _draw_graticule(axes, extent, stretch)
    return figure


def principal_colours(features: Floats) -> tuple[Floats, Floats]:
    """(n, 3) In [0, 1], first three principal components between robust percentiles, and their shares of variance.

    The sign of a component is that which makes its largest loading positive, so that equal embeddings look alike.
    """
    some = features[:: max(1, len(features) // _FITTED)]
    mean = some.mean(0)
    _, scales, axes = np.linalg.svd(some - mean, full_matrices=False)
    axes = axes[:3] * np.sign(axes[:3][np.arange(len(axes[:3])), np.abs(axes[:3]).argmax(1)])[:, None]
    values = np.zeros((len(features), 3))
    values[:, : len(axes)] = (features - mean) @ axes.T
    low, high = np.percentile(values, _PERCENTILES, axis=0)
    variance = scales**2
    shares = variance[:3] / max(variance.sum(), 1e-30)
    return np.clip((values - low) / np.maximum(high - low, 1e-12), 0, 1), shares


def _sensors(path: Path) -> list[str]:
    return sorted(set(pq.read_table(path, columns=["sensor"])["sensor"].to_pylist()))


def _points(path: Path, sensor: str) -> tuple[Floats, Floats]:
    """Places (n, 2) and embeddings (n, D) of a sensor, every so many."""
    file = pq.ParquetFile(path)
    step = max(1, file.metadata.num_rows // _SHOWN)
    places, features = [], []
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, ["sensor", "centre_lon", "centre_lat", "embedding"])
        own = np.flatnonzero(np.asarray(table["sensor"]) == sensor)[::step]
        dim = table.schema.field("embedding").type.list_size
        flat = np.asarray(table["embedding"].combine_chunks().values).reshape(-1, dim)
        places.append(np.stack([np.asarray(table[name])[own] for name in ("centre_lon", "centre_lat")], 1))
        features.append(flat[own].astype(np.float32))
    return np.concatenate(places).astype(float), np.concatenate(features).astype(float)


def _extent(lon_lat: Floats) -> tuple[float, float, float, float]:
    """West, south, east, north with a margin, at least half as wide as high; the world where places are all over it."""
    (west, south), (east, north) = lon_lat.min(0), lon_lat.max(0)
    if east - west > 180:
        return -180.0, -90.0, 180.0, 90.0
    margin = max(0.03 * max(east - west, north - south), 0.05)
    wide = max(0.0, (north - south) / 2 - (east - west)) / 2
    high = max(0.0, (east - west) / 3 - (north - south)) / 2
    return (
        max(west - margin - wide, -180.0),
        max(south - margin - high, -90.0),
        min(east + margin + wide, 180.0),
        min(north + margin + high, 90.0),
    )


def _draw_graticule(axes: Axes, extent: tuple[float, float, float, float], stretch: float) -> None:
    west, south, east, north = extent
    axes.set_xlim(west, east)
    axes.set_ylim(south, north)
    axes.set_aspect(stretch)
    axes.set_facecolor("#f4f4f2")
    axes.grid(color="#c9c9c4", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    axes.xaxis.set_major_formatter(lambda value, _: _degrees(value, "EW"))
    axes.yaxis.set_major_formatter(lambda value, _: _degrees(value, "NS"))


def _degrees(value: Any, sides: str) -> str:
    return f"{abs(value):g}°{sides[int(value < 0)] if value else ''}"
