"""What the contract says about where a row is: its tile, its footprint, its geometry."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import shapely

from csmoe_sampler.manifest.rows import Rows, Rule, Violation
from csmoe_sampler.types import Float64

METRE_TOLERANCE = 0.01
DEGREE_TOLERANCE = 1e-7


def _tile_ids(rows: Rows) -> Iterator[Violation]:
    ids = rows["tile_id"]
    spacing = f"a tile of the {rows.grid.spacing_km:g} km grid within ±{rows.grid.lat_max_deg:g}°"
    yield from rows.flag("tile_id", rows.tiles < 0, ids, spacing, "tile of the grid")
    _, codes = rows.coded("tile_id")
    _, first = np.unique(codes, return_index=True)
    earlier = first[codes]
    repeated = earlier != np.arange(rows.num_rows)
    yield from rows.flag("tile_id", repeated, ids, "another tile than any row before", "one row a tile")


def _places(rows: Rows) -> Iterator[Violation]:
    placed, footprints = rows.placed, rows.footprints
    epsg = np.char.add("EPSG:", footprints.epsg.astype(np.str_))
    found = rows["crs"][placed]
    yield from rows.flag("crs", found != epsg, found, epsg, "UTM zone of the tile", rows=placed)
    for name, tolerance, unit in (
        ("x_min", METRE_TOLERANCE, "m"),
        ("y_min", METRE_TOLERANCE, "m"),
        ("x_max", METRE_TOLERANCE, "m"),
        ("y_max", METRE_TOLERANCE, "m"),
        ("lat", DEGREE_TOLERANCE, "°"),
        ("lon", DEGREE_TOLERANCE, "°"),
    ):
        found, expected = rows[name][placed], getattr(footprints, name)
        bad = ~(np.abs(found - expected) <= tolerance)
        if name == "lon":
            bad &= ~(np.abs(np.abs(found - expected) - 360.0) <= tolerance)
        rule = f"footprint of the tile, to {tolerance:g} {unit}"
        yield from rows.flag(name, bad, found, expected, rule, rows=placed)


def _geometries(rows: Rows) -> Iterator[Violation]:
    shapes, placed = rows.shapes, rows.placed
    expected = rows.footprints.geometry
    same = shapely.equals_exact(shapes[placed], expected, DEGREE_TOLERANCE)
    other = np.flatnonzero(~same)  # the same ring may begin at another corner
    same[other] = shapely.equals_exact(
        shapely.normalize(shapes[placed[other]]), shapely.normalize(expected[other]), DEGREE_TOLERANCE
    )
    yield from rows.flag("geometry", ~same, shapes[placed], expected, "footprint of the tile", rows=placed)


def _boxes(rows: Rows) -> Iterator[Violation]:
    expected = shapely.bounds(rows.shapes)
    column = rows.manifest.table["bbox"].combine_chunks()
    found = np.column_stack([_child(column, edge) for edge in ("xmin", "ymin", "xmax", "ymax")])
    known = ~np.isnan(expected).any(axis=1)
    bad = known & ~(np.abs(found - expected) <= DEGREE_TOLERANCE).all(axis=1)
    yield from rows.flag("bbox", bad, found, expected, "bounds of the geometry")


def _child(column: pa.Array | pa.ChunkedArray, name: str) -> Float64:
    column = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(column.field(name).to_numpy(zero_copy_only=False), dtype=np.float64)


PLACE_RULES = (
    Rule(_tile_ids, ("tile_id",)),
    Rule(_places, ("tile_id", "crs", "x_min", "y_min", "x_max", "y_max", "lat", "lon")),
    Rule(_geometries, ("tile_id", "geometry")),
    Rule(_boxes, ("geometry", "bbox")),
)
