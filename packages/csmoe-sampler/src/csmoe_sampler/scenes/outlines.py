"""Outlines on the globe: valid, cut at the antimeridian, and how much of a footprint lies within a scene."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from csmoe_sampler.types import Float64, Int64

Geometries = npt.NDArray[np.object_]

KM_PER_DEG = 111.195
GRANULE_KM2 = 109.8**2
_NODATA_TOLERANCE = 0.05
_COVERAGE_DECIMALS = 6


def on_the_globe(geometry: Geometries) -> Geometries:
    """Polygons and multipolygons without holes in their validity, within -180..180, cut at the antimeridian.

    An outline wider than half the globe is one that reaches over the antimeridian with its longitudes wrapped.
    What is no polygon becomes an empty one.
    """
    geometry = np.array(geometry, object)
    geometry[shapely.is_missing(geometry)] = shapely.Polygon()
    deep = shapely.has_z(geometry)
    geometry[deep] = shapely.force_2d(geometry[deep])
    west, _, east, _ = shapely.bounds(geometry).T
    single = shapely.get_type_id(geometry) == shapely.GeometryType.POLYGON
    for row in np.flatnonzero(single & (east - west > 180)):
        geometry[row] = shapely.transform(geometry[row], _unwrapped)
    bad = np.flatnonzero(~shapely.is_valid(geometry))
    geometry[bad] = [_polygons_only(one) for one in shapely.make_valid(geometry[bad])]
    kinds = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)
    geometry[~np.isin(shapely.get_type_id(geometry), kinds)] = shapely.Polygon()
    west, _, east, _ = shapely.bounds(geometry).T
    for row in np.flatnonzero((west < -180) | (east > 180)):
        geometry[row] = _cut(geometry[row])
    return geometry


def _unwrapped(points: Float64) -> Float64:
    return np.column_stack([np.where(points[:, 0] < 0, points[:, 0] + 360, points[:, 0]), points[:, 1]])


def _polygons_only(geometry: Any) -> Any:
    parts = [part for part in shapely.get_parts(geometry) if shapely.area(part) > 0]
    polygons = [one for part in parts for one in shapely.get_parts(part) if shapely.area(one) > 0]
    return shapely.union_all(polygons) if polygons else shapely.Polygon()


def _cut(geometry: Any) -> Any:
    """Both sides of the antimeridian, brought back to -180..180."""
    sides = []
    for turn in (-360.0, 0.0, 360.0):
        moved = shapely.transform(geometry, lambda points, turn=turn: points + [turn, 0.0])  # noqa: RUF005
        sides.append(shapely.intersection(moved, shapely.box(-180, -90, 180, 90)))
    return _polygons_only(shapely.union_all(sides))


def data_share(geometry: Geometries, nodata_percent: Float64) -> Float64:
    """What to multiply coverages by, where the outline of a Sentinel-2 granule claims more than has data.

    Some catalogues give the outline of the whole granule although half of it is missing. Where the outline's area, as
    a share of a granule's (109.8 km squared), exceeds the share of pixels with data by more than 0.05, coverage
    is taken as spread evenly: the share with data over the share outlined. Elsewhere, and for small outlines, 1.
    """
    low, high = shapely.bounds(geometry)[:, [1, 3]].T
    width_scale = np.cos(np.radians((low + high) / 2))
    outlined = np.minimum(shapely.area(geometry) * KM_PER_DEG**2 * width_scale / GRANULE_KM2, 1.0)
    valid = 1 - np.where(np.isnan(nodata_percent), 0.0, nodata_percent) / 100
    claims_more = outlined - valid > _NODATA_TOLERANCE
    return np.where(claims_more, valid / np.maximum(outlined, 1e-9), 1.0)


class Cover:
    """Footprints in a tree, asked by many scenes for the share that each covers."""

    def __init__(self, footprints: Geometries) -> None:
        footprints = on_the_globe(footprints)
        self._parts, self._tile = shapely.get_parts(footprints, return_index=True)
        self._area = shapely.area(footprints)
        self._bounds = shapely.bounds(self._parts)
        self._cut = np.bincount(self._tile, minlength=len(footprints)) > 1
        self._tree = shapely.STRtree(self._parts)

    def pairs(
        self, scenes: Geometries, floor: Float64, settling: npt.NDArray[np.bool_] | None = None, settled: float = 0.0
    ) -> tuple[Int64, Int64, Float64]:
        """Scene, tile and share of the tile's footprint inside the scene, in [0, 1], to six decimals.

        Shares are of areas in degrees: at the size of a footprint the scale of longitude is a constant, which
        cancels. Pairs that meet in no area, or whose bounds already say that the share stays at or below `floor` of
        the tile, are left out.

        Args:
            scenes: As `on_the_globe` leaves them.
            floor: Shares by tile that are of no interest; at least 0.
            settling: Scenes (mask) that settle the tiles that they hold in whole: of those tiles no share up to
                `settled` is of interest.
            settled: See there.
        """
        parts, owner = shapely.get_parts(scenes, return_index=True)
        shapely.prepare(parts)
        part, other = self._tree.query(parts)
        scene, tile = owner[part], self._tile[other]
        west, south, east, north = shapely.bounds(parts)[part].T
        left, low, right, high = self._bounds[other].T
        within = (west <= left) & (south <= low) & (east >= right) & (north >= high)
        overlap = np.maximum(np.minimum(east, right) - np.maximum(west, left), 0)
        overlap *= np.maximum(np.minimum(north, high) - np.maximum(south, low), 0)
        many = self._cut[tile] | (np.bincount(owner, minlength=len(scenes)) > 1)[scene]
        holds = within.copy()
        holds[within] = shapely.covers(parts[part[within]], self._parts[other[within]])
        if settling is not None:
            floor = floor.copy()
            done = tile[holds & ~many & settling[scene]]
            floor[done] = np.maximum(floor[done], settled)
        possible = holds | many | (overlap > self._area[tile] * floor[tile])
        scene, tile, part, other, holds, many = (values[possible] for values in (scene, tile, part, other, holds, many))
        inside = np.where(holds, shapely.area(self._parts[other]), 0.0)
        rest = np.flatnonzero(~holds)
        rest = rest[shapely.intersects(parts[part[rest]], self._parts[other[rest]])]
        inside[rest] = shapely.area(shapely.intersection(parts[part[rest]], self._parts[other[rest]]))
        share = np.where(holds & ~many, 1.0, inside / self._area[tile])
        return _add_up(scene, tile, share, many)


def _add_up(scene: Int64, tile: Int64, share: Float64, many: npt.NDArray[np.bool_]) -> tuple[Int64, Int64, Float64]:
    """One row a pair: parts of cut footprints and of scenes in pieces are added."""
    if many.any():
        pair = np.column_stack([scene[many], tile[many]])
        unique, group = np.unique(pair, axis=0, return_inverse=True)
        sums = np.bincount(group.ravel(), weights=share[many], minlength=len(unique))
        scene = np.concatenate([scene[~many], unique[:, 0]])
        tile = np.concatenate([tile[~many], unique[:, 1]])
        share = np.concatenate([share[~many], sums])
    share = np.minimum(share, 1.0).round(_COVERAGE_DECIMALS)
    kept = share > 0
    return scene[kept], tile[kept], share[kept]
