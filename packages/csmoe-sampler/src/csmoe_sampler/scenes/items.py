"""Scenes of any catalogue -> `SCENES` tables: checked, with one spelling for everything."""

from __future__ import annotations

import os.path
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from csmoe_sampler.errors import CatalogError
from csmoe_sampler.scenes.assets import SceneFiles
from csmoe_sampler.scenes.columns import Columns, Values, absent, asset_names
from csmoe_sampler.scenes.outlines import on_the_globe
from csmoe_sampler.scenes.provider import Product
from csmoe_sampler.scenes.table import SCENES
from csmoe_sampler.stac.items import GLOBE, Box, checked_href, split_box
from csmoe_sampler.types import Bool

POLARIZATIONS = ("VV", "VH", "HH", "HV")
FIRST_OFFSET_BASELINE = 4.0
OFFSET_DN = 1000.0
_REMOTE = ("https://", "http://", "s3://")
_GENERATION = re.compile(r"^(S2[A-Z]_MSIL2A_\d{8}T\d{6})_(?:N\d{4}_)?(R\d{3}_T\w{5})_(\d{8}T\d{6})")
_BASELINE = re.compile(r"^N?(\d{1,2})[.]?(\d{2})$")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which scenes of a product count."""

    product: Product
    start: datetime
    """UTC, without a zone."""
    end: datetime
    """The first moment that does not count any more."""
    max_cloud_percent: float | None = None
    """None: clouds do not matter."""
    box: Box = GLOBE
    folder: Path | None = None
    """Of a local catalogue: local addresses become relative to it."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """Scenes that can be used, and what became of the others."""

    table: pa.Table
    """As `SCENES`."""
    read: int
    """Scenes of the collection, the dates, the clouds and the box that were asked for."""
    left_out: Counter[str]
    """Reason -> scenes that cannot be used."""


def normalise(columns: Columns, wanted: Wanted) -> Found:
    """The usable scenes of `columns`, sorted by item, each once.

    A scene without an id, a date, a geometry with an area, or a needed file is left out and counted. Sentinel-2 needs
    all bands of the provider's table and the mask; Sentinel-1 one band at least. Of an acquisition that is there in
    several generations, all stay: `superseded` tells which are out of date.
    """
    columns = columns.take(_asked_for(columns, wanted))
    columns = columns.take(_inside(columns.geometry, wanted.box))
    reasons = np.full(len(columns.item), None, object)
    # The first that applies is the one that counts.
    reasons[absent(columns.item)] = "no id"
    _note(reasons, np.isnat(columns.time), "no date")
    geometry = on_the_globe(columns.geometry)
    _note(reasons, ~(shapely.area(geometry) > 0), "no usable geometry")
    files = _pack_files(columns, wanted, reasons)
    keep = np.flatnonzero(absent(reasons))
    keep = keep[np.unique(columns.item[keep].astype(str), return_index=True)[1]] if len(keep) else keep
    table = _to_table(columns.take(keep), geometry[keep], files[keep], wanted.product)
    left_out = Counter(reason for reason in reasons if reason is not None)
    return Found(table=table, read=len(reasons), left_out=left_out)


def _asked_for(columns: Columns, wanted: Wanted) -> Bool:
    start, end = np.datetime64(wanted.start, "us"), np.datetime64(wanted.end, "us")
    dated = (columns.time >= start) & (columns.time < end) | np.isnat(columns.time)
    asked = np.equal(columns.collection, wanted.product.collection) & dated
    if wanted.max_cloud_percent is not None:
        asked &= clouds(columns.cloud_cover) <= wanted.max_cloud_percent
    return np.asarray(asked, bool)


def clouds(values: Values) -> Any:
    """Cloud cover in percent; a scene that does not tell it counts as clouded all over."""
    numbers = _numbers(values)
    return np.where(np.isnan(numbers), 100.0, numbers)


def _inside(geometry: Values, box: Box) -> Bool:
    """Whether bounds touch the box; what has none, or odd ones at the antimeridian, is looked at later."""
    west, south, east, north = shapely.bounds(geometry).T
    odd = np.isnan(west) | (west < -180) | (east > 180) | (east - west > 180)
    touching = np.zeros(len(geometry), bool)
    for left, low, right, high in split_box(box):
        touching |= (west <= right) & (east >= left) & (south <= high) & (north >= low)
    inside: Bool = touching | odd
    return inside


def _note(reasons: Values, where: Bool, reason: str) -> None:
    reasons[where & absent(reasons)] = reason


def _pack_files(columns: Columns, wanted: Wanted, reasons: Values) -> Values:
    """Packed addresses (n, 3) as text, and the polarisations behind them; notes what is missing in `reasons`."""
    product = wanted.product
    position = {name: number for number, name in enumerate(asset_names(product))}
    bands = {band: asset.partition("#") for band, asset in product.bands.items()}
    if product.mask:
        bands["SCL"] = (product.mask, "", "")
    packed = np.full((len(reasons), 4), None, object)
    for row in np.flatnonzero(absent(reasons)):
        hrefs, said = columns.hrefs[row], _upper(columns.polarizations[row])
        addresses = {}
        for band, (asset, mark, number) in bands.items():
            href = hrefs[position[asset]]
            if href and not (product.sensor == "s1" and said and band not in said):
                addresses[band] = f"{href}{mark}{number}"
            elif product.sensor == "s2":
                reasons[row] = f"no asset '{asset}'"
                break
        if reasons[row] is None and not addresses:
            reasons[row] = "no band"
        if reasons[row] is None:
            try:
                resolved = {band: _address(href, columns.base[row], wanted.folder) for band, href in addresses.items()}
                files = SceneFiles.pack(resolved)
            except CatalogError:
                reasons[row] = "an address that must not be read"
            else:
                here = ",".join(name for name in POLARIZATIONS if name in addresses)
                packed[row] = (files.href, files.stem, files.files, here or None)
    return packed


def _upper(names: Any) -> tuple[str, ...]:
    parts = names.split(",") if isinstance(names, str) else names or ()
    return tuple(str(name).strip().upper() for name in parts)


def _address(href: str, base: str, folder: Path | None) -> str:
    """An absolute address on the network, unsigned; or a path relative to the folder of the catalogue."""
    if not href.startswith(_REMOTE):
        href = checked_href(href, {"id": base, "self": base})
    if href.startswith(_REMOTE):
        return href.partition("?")[0] if "sig=" in href else href
    return os.path.relpath(href, folder).replace(os.sep, "/") if folder else href


def _to_table(columns: Columns, geometry: Values, files: Values, product: Product) -> pa.Table:
    baselines = [_baseline(value) for value in columns.baseline] if product.sensor == "s2" else [None] * len(geometry)
    optical = product.sensor == "s2"
    nothing = np.full(len(geometry), np.nan)
    data: dict[str, Any] = {
        "item": columns.item,
        "collection": columns.collection,
        "datetime": pa.array(columns.time).cast(pa.timestamp("us", "UTC")),
        "geometry": shapely.to_wkb(geometry),
        "platform": [_lower(value) for value in columns.platform],
        "orbit": [_lower(value) for value in columns.orbit],
        "relative_orbit": [None if np.isnan(n) else int(n) for n in _numbers(columns.relative_orbit)],
        "cloud_cover": pa.array(_numbers(columns.cloud_cover) if optical else nothing, from_pandas=True),
        "nodata_percent": pa.array(_numbers(columns.nodata_percent) if optical else nothing, from_pandas=True),
        "baseline": baselines,
        "offset": [_offset(product, *pair) for pair in zip(baselines, columns.offset_applied, strict=True)],
        "polarizations": files[:, 3],
        "crs": [_crs(value) for value in columns.crs],
        "href": files[:, 0],
        "stem": files[:, 1],
        "files": files[:, 2],
    }
    arrays = []
    for field in SCENES:
        value = data[field.name]
        array = value if isinstance(value, pa.Array | pa.ChunkedArray) else pa.array(list(value), _wide(field.type))
        arrays.append(array.cast(field.type))
    return pa.table(arrays, schema=SCENES)


def _wide(kind: pa.DataType) -> pa.DataType:
    return pa.float64() if pa.types.is_floating(kind) else kind


def _numbers(values: Iterable[Any]) -> Any:
    """Float64; NaN where there is no number."""
    return np.array([_number(value) for value in values], np.float64)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _lower(text: Any) -> str | None:
    return str(text).strip().lower() or None if text is not None else None


def _crs(value: Any) -> str | None:
    """`EPSG:32631`, from that or from its number."""
    if isinstance(value, str) and ":" in value:
        return value.upper()
    number = _number(value)
    return None if np.isnan(number) else f"EPSG:{int(number)}"


def _baseline(value: Any) -> str | None:
    """As 05.10, from `05.10`, `N0510` or a number."""
    text = f"{value:05.2f}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value or "")
    match = _BASELINE.match(text.strip().upper())
    return None if match is None else f"{int(match[1]):02d}.{match[2]}"


def _offset(product: Product, baseline: str | None, applied: Any) -> float | None:
    """DN to subtract from the pixels; None where unknown."""
    if product.sensor == "s1" or product.offset == "unknown":
        return None
    if isinstance(product.offset, float):
        return product.offset
    if str(applied).lower() in ("true", "1", "1.0"):
        return 0.0
    return None if baseline is None else OFFSET_DN * (float(baseline) >= FIRST_OFFSET_BASELINE)


def generation(item: str, baseline: str | None) -> tuple[str, str, str] | None:
    """Acquisition, baseline and time of processing of a Sentinel-2 granule, by ESA's names; None for other names."""
    match = _GENERATION.match(item)
    return None if match is None else (f"{match[1]}_{match[2]}", baseline or "", match[3])


def superseded(items: Iterable[tuple[str, str | None]]) -> set[str]:
    """Of (item, baseline), the items of which a newer generation is there too.

    Two parts of one acquisition that were processed together, with one baseline on one day, are no generations.
    """
    newest: dict[str, tuple[str, str]] = {}
    known = [(item, made) for item, baseline in items if (made := generation(item, baseline))]
    for _, (acquisition, baseline, time) in known:
        newest[acquisition] = max(newest.get(acquisition, ("", "")), (baseline, time))
    last = {key: (baseline, time[:8]) for key, (baseline, time) in newest.items()}
    return {item for item, (key, baseline, time) in known if (baseline, time[:8]) != last[key]}
