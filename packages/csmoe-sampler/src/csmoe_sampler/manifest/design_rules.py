"""What the contract says about the sample as a design: ranks, strata, weights, probabilities, splits."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from scipy.spatial import cKDTree

from csmoe_sampler.grid_rows import EARTH_RADIUS_KM
from csmoe_sampler.manifest.rows import Rows, Rule, Violation
from csmoe_sampler.manifest.schema import PURPOSIVE_OBJECTIVES, SPLITS
from csmoe_sampler.types import Float64, Int64

RELATIVE_TOLERANCE = 1e-9


def _ranks(rows: Rows) -> Iterator[Violation]:
    expected = np.arange(rows.num_rows)
    yield from rows.flag("rank", rows["rank"] != expected, rows["rank"], expected, "0 to n-1, in the order of the rows")


def _strata(rows: Rows) -> Iterator[Violation]:
    """The strata table against itself and against the rows."""
    table = rows.metadata["strata"]
    names = [line["stratum"] for line in table]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        yield Violation.of_file("csmoe.strata", f"{', '.join(twice)} more than once", "a line a stratum")
    for line in table:
        bounds = f"0 <= taken <= quota <= size of {line['stratum']}"
        if not 0 <= line["taken"] <= line["quota"] <= line["size"]:
            found = f"taken {line['taken']}, quota {line['quota']}, size {line['size']}"
            yield Violation.of_file("csmoe.strata", found, bounds)
    wanted = min(int(rows.metadata["config"]["n"]), sum(line["size"] for line in table))
    quota = sum(line["quota"] for line in table)
    if quota > wanted:
        yield Violation.of_file("csmoe.strata", f"quotas that sum to {quota}", f"at most {wanted}")
    labels, codes = rows.coded("stratum")
    drawn = dict(zip(labels, np.bincount(codes, minlength=len(labels)).tolist(), strict=True))
    for line in table:
        if drawn.get(line["stratum"], 0) != line["taken"]:
            rule = f"taken of stratum {line['stratum']}"
            yield Violation.of_file(
                "csmoe.strata", line["taken"], f"{drawn.get(line['stratum'], 0)} as in the rows", rule
            )
    unknown = ~rows.among("stratum", names)
    yield from rows.flag("stratum", unknown, rows["stratum"], "a stratum of csmoe.strata", "strata table")


def _weights(rows: Rows) -> Iterator[Violation]:
    size, taken = _size_and_taken(rows)
    known = size > 0
    bad = known & (rows["stratum_size"] != size)
    yield from rows.flag("stratum_size", bad, rows["stratum_size"], size, "size of the stratum in csmoe.strata")
    expected = rows["stratum_size"] / taken
    bad = ~(np.abs(rows["weight"] - expected) <= RELATIVE_TOLERANCE * np.abs(expected))
    yield from rows.flag("weight", bad, rows["weight"], expected, "stratum_size / rows of the stratum")


def _probabilities(rows: Rows) -> Iterator[Violation]:
    found, null = rows["inclusion_probability"], rows.null("inclusion_probability")
    name = rows.metadata["config"]["selection"]["objective"]
    # Whether a class of the user's own is a probability design, its rows tell.
    if name in PURPOSIVE_OBJECTIVES or (":" in name and null.all()):
        yield from rows.flag("inclusion_probability", ~null, found, "null", f"objective {name} is purposive")
        return
    # Where scenes have decided which tiles stay, the probabilities of the design hold no more.
    chosen = rows.among("stratum", rows.metadata.get("scenes", {}).get("changed_strata", ()))
    yield from rows.flag("inclusion_probability", chosen & ~null, found, "null", "tiles of the stratum were replaced")
    if (null & ~chosen).any():
        rule = f"objective {name} is a probability design"
        first, number = int((null & ~chosen).argmax()), int((null & ~chosen).sum())
        yield Violation("inclusion_probability", first, "null", "above 0, up to 1", rule, number)
    outside = ~chosen & ~((found > 0) & (found <= 1))
    yield from rows.flag("inclusion_probability", outside, found, "above 0, up to 1", "a probability")
    size, taken = _size_and_taken(rows)
    expected = taken / np.maximum(size, 1)
    bad = ~chosen & ~outside & (size > 0) & ~(np.abs(found - expected) <= RELATIVE_TOLERANCE)
    yield from rows.flag("inclusion_probability", bad, found, expected, "rows of the stratum / stratum_size")


def _prefixes(rows: Rows) -> Iterator[Violation]:
    """The j-th row of a stratum of q stands in the places [floor(j n / q), ceil((j + 1) n / q))."""
    _, stratum = rows.coded("stratum")
    order = np.argsort(stratum, kind="stable")
    quota = np.bincount(stratum)
    item = np.empty(rows.num_rows, np.int64)
    item[order] = np.arange(rows.num_rows) - np.repeat(np.cumsum(quota) - quota, quota)
    place, own = np.arange(rows.num_rows), quota[stratum]
    first = item * rows.num_rows // own
    last = -(-(item + 1) * rows.num_rows // own) - 1
    bad = (place < first) | (place > last)
    rule = "every prefix holds each stratum in its proportion"
    found = np.char.add("place ", place.astype(np.str_))
    expected = np.char.add(np.char.add(first.astype(np.str_), " to "), last.astype(np.str_))
    yield from rows.flag("stratum", bad, found, expected, rule)


def _size_and_taken(rows: Rows) -> tuple[Int64, Int64]:
    """Of each row's stratum: its size in the strata table (0 where that has no such line), its number of rows."""
    labels, codes = rows.coded("stratum")
    sizes = {line["stratum"]: int(line["size"]) for line in rows.metadata["strata"]}
    size = np.array([sizes.get(label, 0) for label in labels], dtype=np.int64)
    return size[codes], np.bincount(codes, minlength=len(labels))[codes]


def _splits(rows: Rows) -> Iterator[Violation]:
    known = rows.among("split", SPLITS)
    yield from rows.flag("split", ~known, rows["split"], f"one of {', '.join(SPLITS)}", "split")


def _leaks(rows: Rows) -> Iterator[Violation]:
    """No two rows of different splits are nearer than the buffer; rows of the split `buffer` belong to none."""
    buffer_km = float(rows.metadata["config"]["split"]["buffer_km"])
    points = _unit_vectors(rows["lon"], rows["lat"])
    placed = np.isfinite(points).all(axis=1)
    chord = 2.0 * np.sin(min(buffer_km / EARTH_RADIUS_KM, np.pi) / 2.0)
    members = {name: np.flatnonzero(placed & rows.among("split", [name])) for name in SPLITS[:3]}
    for one, two in combinations(members, 2):
        few, many = sorted((members[one], members[two]), key=len)
        if not len(few) or not buffer_km:
            continue
        reach, _ = cKDTree(points[many]).query(points[few], distance_upper_bound=chord * (1.0 - RELATIVE_TOLERANCE))
        arc_km = 2.0 * EARTH_RADIUS_KM * np.arcsin(np.minimum(reach, 2.0) / 2.0)
        rule = f"distance of {one} from {two}, km"
        yield from rows.flag("split", np.isfinite(reach), arc_km, f"at least {buffer_km:g}", rule, rows=few)


def _unit_vectors(lon: Float64, lat: Float64) -> Float64:
    """Points, (n, 3), of the unit sphere."""
    lon, lat = np.radians(lon), np.radians(lat)
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


DESIGN_RULES = (
    Rule(_ranks, ("rank",)),
    Rule(_strata, ("stratum",)),
    Rule(_weights, ("stratum", "stratum_size", "weight")),
    Rule(_probabilities, ("stratum", "inclusion_probability")),
    Rule(_prefixes, ("stratum",)),
    Rule(_splits, ("split",)),
    Rule(_leaks, ("split", "lon", "lat")),
)
