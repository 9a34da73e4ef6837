"""A look at embeddings: where they are and how they lie, coloured by their first three principal components."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

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
    """Writes a PNG beside others: for each sensor a map of its embeddings, and their first two components.

    Equal colours mean like embeddings, within a sensor only: each has components of its own. Of very many embeddings
    some are shown, evenly.
    """
    save_figure(quicklook_figure(embeddings), path)


def quicklook_figure(embeddings: Path) -> Figure:
    """The figure of `draw_quicklook`; a column a sensor, the map above."""
    found = {name: _points(embeddings, name) for name in _sensors(embeddings)}
    extent = _extent(np.concatenate([lon_lat for lon_lat, _ in found.values()]))
    west, south, east, north = extent
    stretch = 1 / np.cos(np.radians(np.clip((south + north) / 2, -75, 75)))
    shape = (north - south) * stretch / (east - west)
    width = 7.0 if shape < 1 else 4.5
    figure = Figure(figsize=(width * len(found), width * shape + 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, len(found), squeeze=False, height_ratios=(width * shape, 3.2))
    for (name, (lon_lat, features)), (above, below) in zip(found.items(), panels.T, strict=True):
        components = principal_components(features)
        colours = components.colours()
        size = float(np.clip(20_000 / len(lon_lat), 1.0, 40.0))
        above.scatter(*lon_lat.T, c=colours, s=size, linewidths=0)
        above.set_title(f"{name}: {len(lon_lat):,} embeddings, {components.shares.sum():.0%} of variance shown")
        _draw_graticule(above, extent, stretch)
        below.scatter(*components.values[:, :2].T, c=colours, s=size, linewidths=0)
        below.set_xlabel(f"component 1, {components.shares[0]:.0%}", fontsize=9)
        below.set_ylabel(f"component 2, {components.shares[1]:.0%}", fontsize=9)
    for axes in panels.flat:
        axes.title.set_fontsize(10)
        axes.tick_params(labelsize=8)
        axes.set_facecolor("#f4f4f2")
        axes.grid(color="#c9c9c4", linewidth=0.5)
        axes.set_axisbelow(True)
    return figure


class Components(NamedTuple):
    """Embeddings on their first three principal axes."""

    values: Floats
    """(n, 3)"""
    shares: Floats
    """(3,) Of the variance."""

    def colours(self) -> Floats:
        """(n, 3) In [0, 1], between robust percentiles."""
        low, high = np.percentile(self.values, _PERCENTILES, axis=0)
        shown: Floats = np.clip((self.values - low) / np.maximum(high - low, 1e-12), 0, 1)
        return shown


def principal_components(features: Floats) -> Components:
    """Of embeddings (n, D), found from some of them; 0 where there are fewer than three.

    The sign of a component is that which makes its largest loading positive, so that equal embeddings look alike.
    """
    some = features[:: max(1, len(features) // _FITTED)]
    mean = some.mean(0)
    _, scales, axes = np.linalg.svd(some - mean, full_matrices=False)
    axes = axes[:3] * np.sign(axes[:3][np.arange(len(axes[:3])), np.abs(axes[:3]).argmax(1)])[:, None]
    values, shares = np.zeros((len(features), 3)), np.zeros(3)
    values[:, : len(axes)] = (features - mean) @ axes.T
    shares[: len(axes)] = scales[:3] ** 2 / max((scales**2).sum(), 1e-30)
    return Components(values, shares)


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
    """West, south, east, north with a margin, not far from a square; the world where places are all over it."""
    (west, south), (east, north) = lon_lat.min(0), lon_lat.max(0)
    if east - west > 180:
        return -180.0, -90.0, 180.0, 90.0
    margin = max(0.03 * max(east - west, north - south), 0.05)
    wide = max(0.0, (north - south) - (east - west)) / 2
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
    axes.xaxis.set_major_formatter(lambda value, _: _degrees(value, "EW"))
    axes.yaxis.set_major_formatter(lambda value, _: _degrees(value, "NS"))


def _degrees(value: Any, sides: str) -> str:
    return f"{abs(value):g}°{sides[int(value < 0)] if value else ''}"
