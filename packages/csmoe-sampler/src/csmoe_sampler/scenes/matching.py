"""Tiles x scenes -> the best Sentinel-2 scene of each tile and season, with the Sentinel-1 scene nearest to it in time.

The rule. A Sentinel-2 scene is a candidate of a tile and season if its date lies in the window and the season of the
tile's hemisphere, its cloud cover is at most `max_cloud_percent`, and it covers at least `min_coverage` of the
footprint with data. Its partner is the Sentinel-1 scene with VV and VH that covers as much and is nearest in time, at
most `max_dt_days` away; a candidate without a partner drops out. Then

    score = coverage x (1 - cloud cover / 100) x exp(-|dt| / dt_scale_days)

to six decimals, without the last factor where no Sentinel-1 is wanted. The highest score wins; among equals a scene in
the tile's own CRS, then the smaller |dt|, then the smaller item id. This is the optimum over all pairs: the time is all
that distinguishes partners, so that only the nearest can win, and it is known for every candidate because all of
Sentinel-1 is seen first. Scenes may come in any order, in any portions, and more than once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from csmoe_sampler.config import SceneConfig, Season
from csmoe_sampler.scenes.items import clouds
from csmoe_sampler.scenes.outlines import Cover, data_share
from csmoe_sampler.scenes.pool import Pool
from csmoe_sampler.scenes.table import CHOSEN, choice_schema
from csmoe_sampler.scenes.visits import Visits
from csmoe_sampler.types import Bool, Float64, Int64

SEASONS: tuple[Season, ...] = ("winter", "spring", "summer", "autumn")
DAY_US = 86_400_000_000
SCORE_STEPS = 1_000_000
_BLOCK_SCENES = 4096
_POOL_SCENES = 200_000
_ROUNDING = 1e-6

Exclusions = Mapping[str, frozenset[str] | None]
"""Item -> tiles for which it must not be chosen; None: for all."""


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """n tiles that want scenes."""

    ids: npt.NDArray[np.str_]
    geometry: npt.NDArray[np.object_]
    """Footprints, in longitude and latitude; may be cut at the antimeridian."""
    lat: Float64
    lon: Float64
    crs: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.ids)


class Matcher:
    """Takes scenes in portions, Sentinel-1 first, and keeps the best pair of every tile and season."""

    def __init__(self, tiles: Tiles, config: SceneConfig, exclusions: Exclusions | None = None) -> None:
        self._tiles = tiles
        self._config = config
        self._exclusions = exclusions or {}
        self._number = {tile: row for row, tile in enumerate(tiles.ids.tolist())} if self._exclusions else {}
        self._cover = Cover(tiles.geometry)
        self._radar = Pool(CHOSEN["s1"])
        self._optical = Pool(CHOSEN["s2"])
        self._visits = Visits(self._radar)
        self._visited = np.zeros(len(tiles))
        self._best = {season: _Best(len(tiles)) for season in config.seasons}

    def add_radar(self, table: pa.Table) -> None:
        """Sentinel-1 scenes; only before the first of Sentinel-2."""
        both = [bool(names) and {"VV", "VH"} <= set(names.split(",")) for names in table["polarizations"].to_pylist()]
        for block in self._blocks(table.filter(pa.array(both, pa.bool_()))):
            geometry = shapely.from_wkb(block["geometry"].to_numpy(zero_copy_only=False))
            scene, tile, coverage = self._pairs(block, geometry, self._visited, np.ones(len(block), bool))
            np.maximum.at(self._visited, tile, coverage)
            enough = coverage >= self._config.min_coverage
            self._visits.add(block, scene[enough], tile[enough], coverage[enough])

    def close_radar(self) -> None:
        """All of Sentinel-1 is there."""
        self._visits.close()

    def add_optical(self, table: pa.Table) -> None:
        """Sentinel-2 scenes, without superseded ones."""
        cloud = clouds(table["cloud_cover"].to_numpy(zero_copy_only=False))
        clear = cloud <= self._config.max_cloud_percent
        for block in self._blocks(table.filter(pa.array(clear))):
            self._match(block)
        if len(self._optical) > _POOL_SCENES:
            self._compact()

    def _blocks(self, table: pa.Table) -> list[pa.Table]:
        if self._exclusions:
            nowhere = [item for item, tiles in self._exclusions.items() if tiles is None]
            table = table.filter(pc.invert(pc.is_in(table["item"], pa.array(nowhere, pa.string()))))
        return [table.slice(start, _BLOCK_SCENES) for start in range(0, len(table), _BLOCK_SCENES)]

    def _pairs(
        self, block: pa.Table, geometry: npt.NDArray[np.object_], best: Float64, settling: Bool
    ) -> tuple[Int64, Int64, Float64]:
        """Pairs that matter: enough, or better than the `best` coverage so far of a tile that has not enough."""
        enough = max(self._config.min_coverage - _ROUNDING, 0.0)
        settling = settling & (not self._exclusions)
        scene, tile, coverage = self._cover.pairs(geometry, np.minimum(best, enough), settling, enough)
        drop = np.zeros(len(scene), bool)
        for row, item in enumerate(block["item"].to_pylist() if self._exclusions else []):
            if tiles := self._exclusions.get(item):
                drop |= (scene == row) & np.isin(tile, [self._number[name] for name in tiles if name in self._number])
        return scene[~drop], tile[~drop], coverage[~drop]

    def _match(self, block: pa.Table) -> None:
        geometry = shapely.from_wkb(block["geometry"].to_numpy(zero_copy_only=False))
        covered = np.min([best.coverage for best in self._best.values()], axis=0)
        share = data_share(geometry, block["nodata_percent"].to_numpy(zero_copy_only=False).astype(np.float64))
        settling = (share == 1) & (self._config.seasons == ("year",))
        scene, tile, coverage = self._pairs(block, geometry, covered, settling)
        coverage = (coverage * share[scene]).round(6)
        time = np.asarray(block["datetime"].cast(pa.int64()).to_numpy())
        month = block["datetime"].to_numpy().astype("datetime64[M]").astype(int)[scene] % 12
        for season, best in self._best.items():
            if season == "year":
                rows = np.arange(len(scene))
            else:
                rows = np.flatnonzero(season_of(month, self._tiles.lat[tile]) == SEASONS.index(season))
            np.maximum.at(best.coverage, tile[rows], coverage[rows])
            rows = rows[coverage[rows] >= self._config.min_coverage]
            best.enough[tile[rows]] = True
            self._update(best, block, _Pairs(scene[rows], tile[rows], coverage[rows], time[scene[rows]]))

    def _update(self, best: _Best, block: pa.Table, pairs: _Pairs) -> None:
        config = self._config
        clear = 1 - clouds(block["cloud_cover"].to_numpy(zero_copy_only=False))[pairs.scene] / 100
        score, dt = pairs.coverage * clear, np.zeros(len(pairs.scene), np.int64)
        partner, partner_coverage = np.full(len(dt), -1), np.zeros(len(dt), np.float32)
        possible = np.ones(len(dt), bool)
        if config.sentinel1 != "none":
            nearest = self._visits.nearest(pairs.tile, pairs.time_us)
            partner, dt, partner_coverage = nearest.scene, nearest.dt_us, nearest.coverage
            possible = (partner >= 0) & (np.abs(dt) <= config.max_dt_days * DAY_US)
            score = score * np.exp(-np.abs(dt) / (config.dt_scale_days * DAY_US))
        steps = np.rint(score * SCORE_STEPS).astype(np.int64)
        crs = block["crs"].to_numpy(zero_copy_only=False)
        foreign = np.asarray(crs[pairs.scene] != self._tiles.crs[pairs.tile], bool)
        possible &= steps >= best.steps[pairs.tile]
        rows = np.flatnonzero(possible)
        order = rows[np.lexsort([pairs.scene[rows], np.abs(dt[rows]), foreign[rows], -steps[rows], pairs.tile[rows]])]
        order = order[np.diff(pairs.tile[order], prepend=-1) > 0]
        items = block["item"].to_numpy(zero_copy_only=False)
        order = order[
            self._beats(best, pairs.tile[order], (steps[order], foreign[order], dt[order]), items[pairs.scene[order]])
        ]
        tile, scene = pairs.tile[order], pairs.scene[order]
        used, place = np.unique(scene, return_inverse=True)
        best.optical[tile] = self._optical.add(block.take(pa.array(used)))[place]
        best.radar[tile], best.dt_us[tile], best.steps[tile] = partner[order], dt[order], steps[order]
        best.foreign[tile] = foreign[order]
        best.optical_coverage[tile], best.radar_coverage[tile] = pairs.coverage[order], partner_coverage[order]

    def _beats(self, best: _Best, tile: Int64, new: tuple[Int64, Bool, Int64], items: npt.NDArray[np.object_]) -> Bool:
        """Whether the new pair of a tile comes before the one it has."""
        steps, foreign, dt = new
        beats = np.zeros(len(tile), bool)
        tied = np.ones(len(tile), bool)
        differences = (
            best.steps[tile] - steps,
            foreign.astype(int) - best.foreign[tile],
            np.abs(dt) - np.abs(best.dt_us[tile]),
        )
        for difference in differences:
            beats |= tied & (difference < 0)
            tied &= difference == 0
        rows = np.flatnonzero(tied)
        if len(rows):
            beats[rows] = items[rows] < self._optical.items()[best.optical[tile[rows]]]
        return beats

    def _compact(self) -> None:
        """Forgets scenes that were the best of a tile once and are not any more."""
        used = np.unique(np.concatenate([best.optical for best in self._best.values()]))
        moved = self._optical.keep(used[used >= 0])
        for best in self._best.values():
            best.optical = moved[best.optical]

    def result(self) -> pa.Table:
        """Columns of `choice_schema`, and `scene_missing`: why a tile has no scenes, null where it has."""
        sensors = ("s2",) if self._config.sentinel1 == "none" else ("s2", "s1")
        schema = choice_schema(self._config.seasons, sensors)
        columns: dict[str, pa.Array] = {}
        for season, best in self._best.items():
            end = "" if len(self._best) == 1 else f"_{season}"
            columns |= {f"{name}{end}": column for name, column in self._columns_of(best, sensors).items()}
        table = pa.table([columns[field.name].cast(field.type) for field in schema], schema=schema)
        return table.append_column("scene_missing", pa.array(self._missing(), pa.string()))

    def _columns_of(self, best: _Best, sensors: tuple[str, ...]) -> dict[str, pa.Array]:
        nothing = best.optical < 0
        columns = {f"s2_{name}": column for name, column in self._optical.take(best.optical).items()}
        columns["s2_coverage"] = pa.array(best.optical_coverage, mask=nothing)
        columns["scene_score"] = pa.array(best.steps / SCORE_STEPS, mask=nothing)
        if "s1" in sensors:
            columns |= {f"s1_{name}": column for name, column in self._radar.take(best.radar).items()}
            columns["s1_coverage"] = pa.array(best.radar_coverage, mask=nothing)
            columns["dt_days"] = pa.array(best.dt_us / DAY_US, mask=nothing)
        return columns

    def _missing(self) -> list[str | None]:
        reasons: list[str | None] = [None] * len(self._tiles)
        for season, best in self._best.items():
            for tile in np.flatnonzero(best.optical < 0).tolist():
                reason = self._why(season, best, tile)
                reason = reason if len(self._best) == 1 else f"{season}: {reason}"
                reasons[tile] = reason if reasons[tile] is None else f"{reasons[tile]}; {reason}"
        return reasons

    def _why(self, season: Season, best: _Best, tile: int) -> str:
        """The furthest that any pair has come."""
        config = self._config
        share = f"{config.min_coverage * 100:g} %"
        if best.coverage[tile] == 0:
            when = "in the window" if season == "year" else f"in {season} of the window"
            clear = "" if config.max_cloud_percent == 100 else f" with cloud cover <= {config.max_cloud_percent:g} %"
            return f"no Sentinel-2 scene{clear} {when}"
        if not best.enough[tile]:
            return f"no Sentinel-2 scene covers {share} of the footprint (best {_percent(best.coverage[tile])})"
        if self._visited[tile] == 0:
            return "no Sentinel-1 scene with VV and VH in the window"
        if self._visited[tile] < config.min_coverage:
            return f"no Sentinel-1 scene covers {share} of the footprint (best {_percent(self._visited[tile])})"
        return f"no Sentinel-1 scene with VV and VH within {config.max_dt_days:g} days"


def season_of(month: Int64, lat: Float64) -> Int64:
    """Number in `SEASONS`; months from 0, winter is December to February north of the equator, June to August south."""
    return np.asarray((month + 1) % 12 // 3 + np.where(lat < 0, 2, 0)) % 4


def _percent(share: float) -> str:
    """Rounded down, so that it never looks like enough."""
    return f"{np.floor(share * 1000) / 10:g} %"


@dataclass(frozen=True)
class _Pairs:
    scene: Int64
    """Row of the block."""
    tile: Int64
    coverage: Float64
    time_us: Int64


class _Best:
    """The best pair of every tile so far, and how far the others have come."""

    def __init__(self, count: int) -> None:
        self.steps: Int64 = np.full(count, -1)
        self.foreign: Bool = np.ones(count, bool)
        self.dt_us: Int64 = np.zeros(count, np.int64)
        self.optical: Int64 = np.full(count, -1)
        self.radar: Int64 = np.full(count, -1)
        self.optical_coverage: Float64 = np.zeros(count)
        self.radar_coverage: Float64 = np.zeros(count)
        self.coverage: Float64 = np.zeros(count)
        self.enough: Bool = np.zeros(count, bool)
