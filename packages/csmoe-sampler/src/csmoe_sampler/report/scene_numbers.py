"""The scenes of a manifest -> the numbers of their section."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from csmoe_sampler.manifest import Manifest
from csmoe_sampler.report.data import Counts, SceneSummary, Unfilled
from csmoe_sampler.report.quantities import THIN, number, setting
from csmoe_sampler.types import Float64

_CLOUD_EDGES = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
_DAY_EDGES = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 15.0)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MAX_VALUES = 8


def summarise_scenes(manifest: Manifest) -> SceneSummary | None:
    """The numbers of a paired manifest; None where it has no scenes."""
    endings = [name.removeprefix("s2_item") for name in manifest.table.column_names if name.startswith("s2_item")]
    if not endings:
        return None
    about: dict[str, Any] = manifest.metadata.get("scenes", {})
    config: dict[str, Any] = about.get("config", {})
    items = [manifest.table[f"s2_item{ending}"] for ending in endings]
    return SceneSummary(
        provider=str(config.get("url") or config.get("provider") or "unknown"),
        window=f"{config['start']} to {config['end']}" if {"start", "end"} <= set(config) else "",
        seasons=tuple(
            (ending.removeprefix("_") or "year", len(item) - item.null_count)
            for ending, item in zip(endings, items, strict=True)
        ),
        redrawn=int(about.get("redrawn", 0)),
        distributions=tuple(_distributions(manifest.table, endings)),
        unfilled=tuple(
            Unfilled(
                stratum=str(line["stratum"]),
                quota=int(line["quota"]),
                taken=int(line["taken"]),
                reason=str(line["reason"] or ""),
            )
            for line in about.get("unfilled", ())
        ),
    )


def _distributions(table: pa.Table, endings: Sequence[str]) -> list[Counts]:
    found = [
        _ranges("Cloud cover", "of the Sentinel-2 scene", "%", _pooled(table, "s2_cloud_cover", endings), _CLOUD_EDGES),
        _ranges(
            "Time apart", "Sentinel-1 from Sentinel-2", "days", abs(_pooled(table, "dt_days", endings)), _DAY_EDGES
        ),
        _months(_texts(table, "s2_datetime", endings)),
    ]
    named = (
        ("Processing baseline", "Sentinel-2", "s2_baseline"),
        ("Platform", "Sentinel-2", "s2_platform"),
        ("Platform", "Sentinel-1", "s1_platform"),
        ("Orbit", "Sentinel-1", "s1_orbit"),
        ("Relative orbit", "Sentinel-1", "s1_relative_orbit"),
    )
    found += [_values(title, note, _texts(table, column, endings)) for title, note, column in named]
    return [counts for counts in found if sum(counts.counts)]


def _pooled(table: pa.Table, column: str, endings: Sequence[str]) -> Float64:
    """Values of all seasons; missing ones are left out."""
    parts = [table[column + ending].drop_null() for ending in endings if column + ending in table.column_names]
    return np.concatenate([np.empty(0), *[np.asarray(part.to_numpy(), np.float64) for part in parts]])


def _texts(table: pa.Table, column: str, endings: Sequence[str]) -> list[str]:
    parts = [table[column + ending].drop_null() for ending in endings if column + ending in table.column_names]
    return [str(text) for part in parts for text in pc.cast(part, pa.string()).to_pylist()]


def _ranges(title: str, note: str, unit: str, values: Float64, edges: Sequence[float]) -> Counts:
    """Counts between edges, each range with its lower edge; empty ranges at the end are left out."""
    counts = np.histogram(values, [*edges, np.inf])[0]
    used = max(1, int(np.flatnonzero(counts).max(initial=0)) + 1)
    labels = [f"{setting(low)}–{setting(high)}{THIN}{unit}" for low, high in pairwise(edges)]
    labels.append(f"{setting(edges[-1])}{THIN}{unit} and more")
    middle = f"; median {number(float(np.median(values)))}{THIN}{unit}" if values.size else ""
    return _all_shown(title, note + middle, labels[:used], counts[:used].tolist())


def _all_shown(title: str, note: str, labels: Sequence[str], counts: Sequence[int]) -> Counts:
    return Counts(title=title, note=note, labels=tuple(labels), counts=tuple(counts), num_shown=len(counts))


def _months(times: Sequence[str]) -> Counts:
    counts = np.bincount([int(time[5:7]) - 1 for time in times] or [0], minlength=12)
    counts = counts if times else np.zeros(12, np.int64)
    return _all_shown("Month", "of the Sentinel-2 scene", _MONTHS, counts.tolist())


def _values(title: str, note: str, values: Sequence[str]) -> Counts:
    """The most frequent values in their own order, and the rest together."""
    found = Counter(values)
    frequent = [name for name, _ in found.most_common(_MAX_VALUES)]
    labels = sorted(frequent, key=lambda name: (int(name) if name.isdecimal() else 0, name))
    numbers = [found[name] for name in labels]
    num_shown = len(labels)
    if len(found) > num_shown:
        labels.append(f"{len(found) - num_shown} others")
        numbers.append(len(values) - sum(numbers))
    return Counts(title=title, note=note, labels=tuple(labels), counts=tuple(numbers), num_shown=num_shown)
