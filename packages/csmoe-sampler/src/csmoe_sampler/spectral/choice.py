"""Which Sentinel-2 scene describes a tile: a function of the tile and of a frozen table of scenes alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

from csmoe_sampler.config import SceneConfig
from csmoe_sampler.errors import CatalogError
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.scenes.assets import SceneFiles
from csmoe_sampler.scenes.items import superseded
from csmoe_sampler.scenes.matching import Matcher, Tiles
from csmoe_sampler.scenes.table import SCENES
from csmoe_sampler.stac.items import is_remote
from csmoe_sampler.types import Bool, Float64, Int64

_IDENTITY = (
    *("item", "collection", "datetime", "geometry", "cloud_cover", "nodata_percent"),
    *("offset", "crs", "stem", "files"),
)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What reading a scene takes."""

    item: str
    offset: float
    """DN to subtract."""
    files: dict[str, str]
    """Band, or mask, -> address."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneChooser:
    """The scenes to choose from, and the rule: that of `scenes.matching`, without Sentinel-1."""

    scenes: pa.Table
    """Columns of `SCENES`, rows sorted by item; those that are too cloudy are left out already."""
    rule: SceneConfig
    folder: Path | None = None
    """What relative addresses are relative to."""

    @classmethod
    def of(cls, scenes: pa.Table, rule: SceneConfig, *, folder: Path | None = None) -> SceneChooser:
        """Among the scenes that are clear enough, and not there in a newer generation.

        Raises:
            CatalogError: There is none, or one whose offset is not known.
        """
        cloud = np.nan_to_num(scenes["cloud_cover"].to_numpy().astype(np.float64), nan=100.0)
        old = superseded(zip(scenes["item"].to_pylist(), scenes["baseline"].to_pylist(), strict=True))
        newest = np.array([item not in old for item in scenes["item"].to_pylist()], np.bool_)
        kept = scenes.select(SCENES.names).filter(pa.array((cloud <= rule.max_cloud_percent) & newest)).sort_by("item")
        if kept.num_rows == 0:
            raise CatalogError(
                f"of {scenes.num_rows} Sentinel-2 scenes, none has at most {rule.max_cloud_percent:g} % clouds: widen "
                "spectral.start and spectral.end, or raise spectral.max_cloud_percent"
            )
        unknown = kept.filter(kept["offset"].is_null())
        if unknown.num_rows:
            raise CatalogError(
                f"scene {unknown['item'][0]}: the offset of its digital numbers is not known: choose a provider that "
                "gives the processing baseline"
            )
        return cls(scenes=kept.combine_chunks(), rule=rule, folder=folder)

    def choose(self, grid: TileGrid, tiles: Int64) -> Int64:
        """Row of the best scene of each tile's cell, -1 where none covers `min_coverage` of it."""
        cells = outlines_of(grid, tiles)
        lon, lat = grid.centre(tiles)
        crs = np.char.add("EPSG:", grid.epsg(tiles).astype(str))
        matcher = Matcher(Tiles(ids=grid.ids(tiles), geometry=cells, lat=lat, lon=lon, crs=crs), self.rule)
        matcher.add_optical(self.scenes.filter(pa.array(self._near(cells))))
        items = matcher.result()["s2_item"].to_numpy()
        return np.array([self._row.get(item, -1) for item in items], np.int64)

    def scene(self, row: int) -> Scene:
        """One scene."""
        values = self.scenes.slice(row, 1).to_pylist()[0]
        files = SceneFiles(values["href"], values["stem"], values["files"]).unpack()
        if self.folder is not None:
            files = {band: path if is_remote(path) else str(self.folder / path) for band, path in files.items()}
        return Scene(item=values["item"], offset=values["offset"], files=files)

    def digest(self) -> str:
        """Of all that decides which scenes there are and which is chosen; folders do not matter."""
        text = "\n".join(repr(tuple(row[name] for name in _IDENTITY)) for row in self.scenes.to_pylist())
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    def _near(self, cells: npt.NDArray[np.object_]) -> Bool:
        """Scenes whose bounds touch those of the cells."""
        west, south, east, north = self._bounds.T
        left, low, right, high = shapely.total_bounds(cells)
        return np.asarray((west <= right) & (east >= left) & (south <= high) & (north >= low), np.bool_)

    @cached_property
    def _row(self) -> dict[str, int]:
        return {item: row for row, item in enumerate(self.scenes["item"].to_pylist())}

    @cached_property
    def _bounds(self) -> Float64:
        return np.asarray(shapely.bounds(shapely.from_wkb(self.scenes["geometry"].to_numpy(zero_copy_only=False))))

    def __getstate__(self) -> dict[str, object]:
        return {"scenes": self.scenes, "rule": self.rule, "folder": self.folder}


def outlines_of(grid: TileGrid, tiles: Int64) -> npt.NDArray[np.object_]:
    """Cells of tiles in longitude and latitude, cut at the antimeridian."""
    west, south, east, north = grid.bounds(tiles)
    cells = np.asarray(shapely.box(west, south, np.minimum(east, 180.0), north), object)
    for k in np.flatnonzero(east > 180):
        beyond = shapely.box(-180.0, south[k], east[k] - 360, north[k])
        cells[k] = shapely.MultiPolygon([cells[k], beyond])
    return cells
