"""The area in which tiles have scenes of both sensors."""

from __future__ import annotations

from collections.abc import Sequence

import shapely

from csmoe_sampler.synthetic.noise import sine_cosine
from csmoe_sampler.synthetic.sensing.frames import box_outline, globe_polygon
from csmoe_sampler.synthetic.sensing.layouts import Box
from csmoe_sampler.synthetic.sensing.plan import Scene, Sentinel1Scene, Sentinel2Scene

_HALF_M = 7_600.0
"""Half the diagonal of the footprint of a tile, which is 10.68 km wide, and a little more."""
_METRES_PER_DEG = 111_000.0
_DIGITS = 6


def common_area(scenes: Sequence[Scene], boxes: Sequence[Box]) -> shapely.MultiPolygon:
    """Where the middle of a footprint may lie, in longitude and latitude.

    The footprint is then wholly inside a granule of Sentinel-2, inside the ascending frames of Sentinel-1 of that
    granule, and inside one of `boxes`, where there is land cover.
    """
    parts = []
    for granule in sorted({scene.granule for scene in scenes}, key=lambda granule: granule.name):
        own = [scene for scene in scenes if scene.granule == granule]
        frames = {scene.frame.epsg: scene.frame for scene in own if isinstance(scene, Sentinel2Scene)}
        area = shapely.union_all([_inner(epsg, box_outline(frame)) for epsg, frame in frames.items()])
        for scene in own:
            if isinstance(scene, Sentinel1Scene) and scene.ascending:
                area = area.intersection(_inner(scene.frame.epsg, scene.outline))
        parts.append(area.intersection(_inner_boxes(boxes, area)))
    common = shapely.set_precision(shapely.union_all(parts), 10.0**-_DIGITS)
    return shapely.MultiPolygon([part for part in shapely.get_parts(common) if part.geom_type == "Polygon"])


def _inner_boxes(boxes: Sequence[Box], area: shapely.Geometry) -> shapely.Geometry:
    """Boxes less half the diagonal of a footprint, which spans most degrees at the end of `area` next to a pole."""
    lat = max(abs(area.bounds[1]), abs(area.bounds[3]))
    margin = _HALF_M / _METRES_PER_DEG
    aside = margin / sine_cosine(lat)[1]
    return shapely.union_all([shapely.box(w + aside, s + margin, e - aside, n - margin) for w, s, e, n in boxes])


def _inner(epsg: int, outline: object) -> shapely.Polygon:
    """An outline less half the diagonal of a footprint."""
    inner = shapely.Polygon(outline).buffer(-_HALF_M, join_style="mitre")
    return globe_polygon(epsg, shapely.get_coordinates(shapely.orient_polygons(inner))[:-1])
