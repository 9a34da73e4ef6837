"""What the contract says about scenes and chips: what `pair` and `fetch` have added to the rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from csmoe_sampler.manifest.rows import Rows, Rule, Violation

_SECOND_D = 1.2e-5
_SIGNATURES = r"[?&](sig|X-Amz-Signature|token)="


def _scenes(rows: Rows) -> Iterator[Violation]:
    """The columns that pairing has declared, and a scene in every row unless tiles without scenes are kept."""
    scenes = rows.metadata.get("scenes")
    if scenes is None:
        return
    names = scenes.get("columns")
    config = scenes.get("config", {})
    if not isinstance(names, list):
        yield Violation.of_file("csmoe.scenes.columns", names, "a list of columns")
        return
    for name in sorted(set(names) - rows.usable):
        yield Violation.of_file(name, "no such column", "a column of csmoe.scenes.columns")
    reason = "scene_missing"
    excused = ~rows.null(reason) if reason in rows.usable else np.zeros(rows.num_rows, np.bool_)
    for name in names:
        if name.startswith(("s1_item", "s2_item")) and name in rows.usable:
            empty = rows.null(name) & ~excused
            if empty.any():
                rule = "every tile has its scenes"
                yield Violation(name, int(empty.argmax()), "null", "a scene", rule, int(empty.sum()))
        elif name.endswith("_href") or "_href_" in name:
            yield from _unsigned(rows, name)
        elif name.startswith("s2_cloud_cover"):
            yield from _within(rows, name, 0.0, config.get("max_cloud_percent", 100.0), "percent")
        elif "_coverage" in name:
            yield from _within(rows, name, config.get("min_coverage", 0.0), 1.0, "share of the footprint")
        elif name.startswith("dt_days"):
            yield from _time_differences(rows, name, config.get("max_dt_days", np.inf))


def _within(rows: Rows, name: str, low: float, high: float, rule: str) -> Iterator[Violation]:
    if name in rows.usable:
        value = rows[name]
        slack = 1e-5 * max(1.0, abs(high))
        yield from rows.flag(
            name, ~((value >= low - slack) & (value <= high + slack)), value, f"{low:g} to {high:g}", rule
        )


def _unsigned(rows: Rows, name: str) -> Iterator[Violation]:
    if name in rows.usable:
        found = pc.match_substring_regex(rows.manifest.table[name].cast(pa.string()).fill_null(""), _SIGNATURES)
        signed: npt.NDArray[Any] = np.asarray(found.to_numpy())
        yield from rows.flag(name, signed, np.full(rows.num_rows, "a signed address"), "unsigned", "addresses")


def _time_differences(rows: Rows, name: str, longest: float) -> Iterator[Violation]:
    end = name.removeprefix("dt_days")
    times = [f"s2_datetime{end}", f"s1_datetime{end}"]
    if name not in rows.usable or not rows.usable.issuperset(times):
        return
    yield from _within(rows, name, -longest, longest, "days")
    s2, s1 = (rows.manifest.table[time].cast(pa.int64()).fill_null(0).to_numpy() for time in times)
    days = (s1 - s2) / 86_400e6
    bad = ~(np.abs(rows[name] - days) <= _SECOND_D + 1e-6 * np.abs(days))
    yield from rows.flag(name, bad, rows[name], days, "Sentinel-1 minus Sentinel-2")


def _chips(rows: Rows) -> Iterator[Violation]:
    """Rows of the store are ranks."""
    bad = rows["chip"] != rows["rank"]
    yield from rows.flag("chip", bad, rows["chip"], rows["rank"], "row of the store = rank")


SCENE_RULES = (Rule(_scenes, ("rank",)), Rule(_chips, ("rank", "chip")))
