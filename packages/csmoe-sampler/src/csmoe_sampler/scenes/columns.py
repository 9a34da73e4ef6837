"""Scenes as their catalogue tells them: STAC items or rows of STAC-GeoParquet -> columns under one set of names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from csmoe_sampler.scenes.provider import Product
from csmoe_sampler.stac.items import Item
from csmoe_sampler.types import Bool

Times = npt.NDArray[np.datetime64]
Values = npt.NDArray[np.object_]

_CRS_FIELDS = ("proj:code", "proj:epsg")
_NO_TIME = np.datetime64("NaT", "us")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """n scenes, not yet checked: whatever the catalogue says, None where it says nothing."""

    item: Values
    collection: Values
    time: Times
    """UTC; the middle where only start and end are given; NaT where neither is."""
    geometry: Values
    """Shapely, in longitude and latitude."""
    platform: Values
    orbit: Values
    relative_orbit: Values
    cloud_cover: Values
    nodata_percent: Values
    baseline: Values
    offset_applied: Values
    polarizations: Values
    crs: Values
    """`proj:code`, or the number of `proj:epsg`, of the item or else of a band."""
    hrefs: Values
    """(n, assets) in the order of `asset_names`, as written in the catalogue."""
    base: Values
    """What a relative href is relative to."""

    def take(self, keep: npt.NDArray[Any]) -> Columns:
        """Some of the rows: a mask, or row numbers."""
        return Columns(**{field.name: getattr(self, field.name)[keep] for field in fields(self)})


def asset_names(product: Product) -> list[str]:
    """Assets of the bands and of the mask, each once."""
    names = [asset.partition("#")[0] for asset in product.bands.values()]
    return list(dict.fromkeys([*names, product.mask] if product.mask else names))


def columns_of_items(items: Sequence[Item], product: Product) -> Columns:
    """The columns of STAC items; `item["self"]` is the address that its hrefs are relative to."""
    names = asset_names(product)
    properties = [item.get("properties") or {} for item in items]
    assets = [item.get("assets") or {} for item in items]

    def said(name: str | None) -> Values:
        return _objects(value.get(name) for value in properties)

    return Columns(
        item=_objects(item.get("id") for item in items),
        collection=_objects(item.get("collection") or product.collection for item in items),
        time=_middle(*(_parse_times(said(name)) for name in ("datetime", "start_datetime", "end_datetime"))),
        geometry=_parse_geojson(item.get("geometry") for item in items),
        crs=_objects(_crs_of_item(*pair, names) for pair in zip(properties, assets, strict=True)),
        hrefs=_objects_2d([[(asset.get(name) or {}).get("href") for name in names] for asset in assets], len(names)),
        base=_objects(item.get("self", "") for item in items),
        **{name: said(source) for name, source in _sources(product).items()},
    )


def _crs_of_item(properties: dict[str, Any], assets: dict[str, Any], names: Iterable[str]) -> Any:
    places = (properties, *(assets.get(name) or {} for name in names))
    return next((place[field] for place in places for field in _CRS_FIELDS if place.get(field)), None)


def table_columns(schema: pa.Schema, product: Product) -> list[str]:
    """What to read of a STAC-GeoParquet file: its columns, those within the assets as `assets.B02.href`."""
    wanted = ["id", "collection", "datetime", "start_datetime", "end_datetime", "geometry", *_CRS_FIELDS]
    wanted += [name for name in _sources(product).values() if name]
    found = [name for name in dict.fromkeys(wanted) if name in schema.names]
    for name, kind in _asset_structs(schema, product).items():
        inner = [kind.field(i).name for i in range(kind.num_fields)]
        found += [f"assets.{name}.{field}" for field in ("href", *_CRS_FIELDS) if field in inner]
    return found


def columns_of_table(table: pa.Table, product: Product, base: str) -> Columns:
    """The columns of rows of STAC-GeoParquet; `base` is the address of the file."""
    names = asset_names(product)
    structs = _asset_structs(table.schema, product)

    def said(name: str | None) -> Values:
        return _values(table[name]) if name in table.column_names else np.full(len(table), None, object)

    def of_asset(name: str, field: str) -> Values:
        if name not in structs or structs[name].get_field_index(field) < 0:
            return np.full(len(table), None, object)
        return _values(pc.struct_field(table["assets"].combine_chunks(), [name, field]))

    times = (_table_times(table, name) for name in ("datetime", "start_datetime", "end_datetime"))
    places = [said(field) for field in _CRS_FIELDS]
    places += [of_asset(name, field) for name in names for field in _CRS_FIELDS if name in structs]
    return Columns(
        item=said("id"),
        collection=said("collection") if "collection" in table.column_names else _fill(table, product.collection),
        time=_middle(*times),
        geometry=shapely.from_wkb(said("geometry"), on_invalid="ignore"),
        crs=_first(places),
        hrefs=np.column_stack([of_asset(name, "href") for name in names]),
        base=_fill(table, base),
        **{name: said(source) for name, source in _sources(product).items()},
    )


def _sources(product: Product) -> dict[str, str | None]:
    """Field of `Columns` -> item property, where nothing but the name matters."""
    return {
        "platform": "platform",
        "orbit": "sat:orbit_state",
        "relative_orbit": "sat:relative_orbit",
        "cloud_cover": product.properties.cloud_cover,
        "nodata_percent": product.properties.nodata_percent,
        "baseline": product.properties.baseline,
        "offset_applied": product.offset_applied,
        "polarizations": "sar:polarizations",
    }


def _asset_structs(schema: pa.Schema, product: Product) -> dict[str, pa.StructType]:
    """Wanted asset -> its type in the table."""
    index = schema.get_field_index("assets")
    if index < 0 or not pa.types.is_struct(schema.field(index).type):
        return {}
    assets = schema.field(index).type
    found = {name: assets.get_field_index(name) for name in asset_names(product)}
    kinds = {name: assets.field(i).type for name, i in found.items() if i >= 0}
    return {name: kind for name, kind in kinds.items() if pa.types.is_struct(kind)}


def _table_times(table: pa.Table, name: str) -> Times:
    if name not in table.column_names:
        return np.full(len(table), _NO_TIME)
    column = table[name]
    if not pa.types.is_timestamp(column.type):
        return _parse_times(_values(column))
    return np.asarray(column.cast(pa.timestamp("us"), safe=False).to_numpy(), "datetime64[us]")


def _parse_times(texts: Values) -> Times:
    return np.array([_parse_time(text) for text in texts], "datetime64[us]")


def _parse_time(text: Any) -> np.datetime64:
    """NaT where there is none; a time without a zone is UTC."""
    try:
        time = text if isinstance(text, datetime) else datetime.fromisoformat(str(text).strip())
    except ValueError:
        return _NO_TIME
    return np.datetime64(time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time, "us")


def _middle(time: Times, start: Times, end: Times) -> Times:
    """`time`, or what lies between `start` and `end`."""
    between = np.where(np.isnat(end), start, start + (end - start) // 2)
    return np.asarray(np.where(np.isnat(time), between, time), "datetime64[us]")


def _parse_geojson(geometries: Iterable[Any]) -> Values:
    texts = [json.dumps(geometry) if geometry else None for geometry in geometries]
    return np.asarray(shapely.from_geojson(np.array(texts, object), on_invalid="ignore"), object)


def _values(column: pa.Array | pa.ChunkedArray) -> Values:
    return _objects(column.to_pylist())


def _objects(values: Iterable[Any]) -> Values:
    """An array of objects, which numpy would otherwise take lists apart for."""
    items = list(values)
    array = np.empty(len(items), object)
    array[:] = items
    return array


def _objects_2d(rows: list[list[Any]], width: int) -> Values:
    return np.array(rows, object).reshape(len(rows), width)


def absent(values: Values) -> Bool:
    """Where there is None."""
    return np.array([value is None for value in values], bool)


def _fill(table: pa.Table, value: str) -> Values:
    return np.full(len(table), value, object)


def _first(columns: Sequence[Values]) -> Values:
    """Row by row the first value that is there."""
    found = columns[0].copy()
    for column in columns[1:]:
        found = np.where(absent(found), column, found)
    return found
