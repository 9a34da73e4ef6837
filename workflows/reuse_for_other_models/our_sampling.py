"""A descriptor and an objective of one's own: plain classes that run.toml names; nothing is inherited or registered."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from csmoe_sampler.features import Features
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.types import Int64, ReadCost

EARTH_RADIUS_KM = 6371.0


class Novelty:
    """How far a tile is from the nearest place of a list, in kilometres: what would be new to a data set."""

    pixel_deg = 1.0
    """No raster is read."""

    def __init__(self, name: str, source: tuple[str, ...]) -> None:
        self.name = name
        self.columns = {f"{name}_km": "float32"}
        self._list = Path(source[0])

    def provenance(self) -> dict[str, Any]:
        """The list, by its digest: another one makes other columns."""
        return {"list": "sha256:" + hashlib.sha256(self._list.read_bytes()).hexdigest(), "version": 1}

    def cost(self, grid: TileGrid, tiles: Int64) -> ReadCost:
        """Nothing."""
        return ReadCost(files=1, requests=1, bytes=0, pixels=0)

    def describe(self, grid: TileGrid, tiles: Int64) -> dict[str, Any]:
        """Distances along the great circle."""
        from scipy.spatial import cKDTree

        with self._list.open(newline="") as file:
            places = np.array([(float(line["lon"]), float(line["lat"])) for line in csv.DictReader(file)])
        chord, _ = cKDTree(_on_sphere(*places.T)).query(_on_sphere(*grid.centre(tiles)))
        return {f"{self.name}_km": (2 * EARTH_RADIUS_KM * np.arcsin(np.minimum(chord / 2, 1))).astype(np.float32)}


class Evenly:
    """Tiles evenly along the feature that varies most in their stratum."""

    name = "workflows.reuse_for_other_models.our_sampling:Evenly"
    probability_design = False
    """Tiles have no equal, known probability: rows carry none."""
    nested = False
    """A larger quota draws others."""
    alpha = None
    """The exponent of the allocation stays the configuration's."""

    def order(self, features: Features, quota: int, rng_seed: int) -> Int64:
        """Rows of the chosen tiles; ties are broken by the keys, so that equal runs give equal samples."""
        axis = int(features.values.astype(np.int64).var(axis=0).argmax())
        along = np.lexsort((features.keys, features.values[:, axis]))
        return along[(2 * np.arange(quota) + 1) * len(along) // (2 * quota)]


def _on_sphere(lon: Any, lat: Any) -> Any:
    """Unit vectors (n, 3) of degrees."""
    lon, lat = np.radians(lon), np.radians(lat)
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
