"""The spectral descriptor: columns of tiles from the overviews of one Sentinel-2 scene each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from csmoe_sampler.grid import TileGrid
from csmoe_sampler.spectral.axes import axis_columns
from csmoe_sampler.spectral.choice import SceneChooser
from csmoe_sampler.spectral.overviews import Access
from csmoe_sampler.spectral.reading import CLEAR_CLASSES, MASK, OpenScene, Recipe
from csmoe_sampler.spectral.statistics import statistics_of
from csmoe_sampler.types import Int64, ReadCost

_FINEST_M = 10.0
_DEGREE_M = 111_320.0
_COSTED_SCENES = 3


@dataclass(frozen=True, kw_only=True)
class Spectral:
    """Spectral statistics of tiles.

    Columns: `spectral_entropy`, `spectral_texture`, `spectral_mean_<band>` (see `statistics`; NaN where no scene covers
    the tile or less than a tenth of it is clear) and `spectral_valid`, the share of its pixels that are clear.

    A tile is described from one scene, so what lies beyond that scene's edge counts as not clear.
    """

    chooser: SceneChooser
    recipe: Recipe
    access: Access = field(default_factory=Access)
    origin: Mapping[str, Any] | None = None
    """Where the scenes were searched for; a part of the provenance."""

    @property
    def name(self) -> str:
        """Prefix of the columns."""
        return "spectral"

    @property
    def columns(self) -> dict[str, str]:
        """Column name -> dtype."""
        return dict.fromkeys((*axis_columns(self.recipe.bands), "spectral_valid"), "float32")

    @property
    def pixel_deg(self) -> float:
        """Edge of a pixel as read, where Sentinel-2's finest are of 10 m."""
        return self.recipe.decimation * _FINEST_M / _DEGREE_M

    def provenance(self) -> dict[str, Any]:
        """The scenes to choose from, and the options; what their files hold is taken to follow from their names."""
        scenes = {"num_scenes": self.chooser.scenes.num_rows, "digest": self.chooser.digest()}
        return {
            "statistic": "spectral",
            "scenes": scenes | {"min_coverage": self.chooser.rule.min_coverage},
            "origin": None if self.origin is None else dict(self.origin),
            "bands": list(self.recipe.bands),
            "decimation": self.recipe.decimation,
            "units": self.recipe.units,
            "mask": {"asset": MASK, "clear": list(CLEAR_CLASSES)},
        }

    def describe(self, grid: TileGrid, tiles: Int64) -> dict[str, npt.NDArray[Any]]:
        """Columns of `tiles`.

        Raises:
            RasterError: A file of a scene cannot be read, or lacks the overview.
            CatalogError: A scene lacks a band.
        """
        columns = {name: np.full(tiles.size, np.nan, dtype) for name, dtype in self.columns.items()}
        columns["spectral_valid"][:] = 0
        chosen = self.chooser.choose(grid, tiles)
        for row in np.unique(chosen[chosen >= 0]):
            members = np.flatnonzero(chosen == row)
            with self._open(row) as scene:
                for part, tally in scene.count(grid, tiles[members]):
                    found = statistics_of(tally)
                    values = (found.entropy, found.texture, *found.means.T, found.valid)
                    for column, value in zip(columns.values(), values, strict=True):
                        column[members[part]] = value
        return columns

    def cost(self, grid: TileGrid, tiles: Int64) -> ReadCost:
        """The cost of describing `tiles` in one block; a scene that lies in several blocks is opened for each.

        Bytes and pixels follow from the headers of a few scenes.
        """
        chosen = self.chooser.choose(grid, tiles)
        rows, num_tiles = np.unique(chosen[chosen >= 0], return_counts=True)
        if not rows.size:
            return ReadCost(files=0, requests=0, bytes=0, pixels=0)
        sampled = np.unique(np.linspace(0, rows.size - 1, _COSTED_SCENES).astype(int))
        costs = []
        for row in rows[sampled]:
            with self._open(row) as scene:
                costs.append(scene.cost(grid, tiles[chosen == row]))
        share = num_tiles[sampled].sum() / num_tiles.sum()
        return ReadCost(
            files=costs[0].files * rows.size,
            requests=costs[0].requests * rows.size,
            bytes=round(sum(cost.bytes for cost in costs) / share),
            pixels=round(sum(cost.pixels for cost in costs) / share),
        )

    def _open(self, row: int) -> OpenScene:
        return OpenScene(self.chooser.scene(int(row)), self.recipe, self.access)
