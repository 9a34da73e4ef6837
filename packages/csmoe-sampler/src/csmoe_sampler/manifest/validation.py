"""Validation: every way in which a manifest departs from its contract, by row, column, found and expected."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from csmoe_sampler.errors import SamplerError
from csmoe_sampler.manifest.descriptor_rules import DESCRIPTOR_RULES
from csmoe_sampler.manifest.design_rules import DESIGN_RULES
from csmoe_sampler.manifest.files import GEOPARQUET_VERSION, load
from csmoe_sampler.manifest.place_rules import PLACE_RULES
from csmoe_sampler.manifest.rows import Rows, Violation
from csmoe_sampler.manifest.scene_rules import SCENE_RULES
from csmoe_sampler.manifest.schema import NULLABLE, SCHEMA_VERSION, Manifest, schema_for

_FIELDS: dict[str, type | tuple[type, ...]] = {
    "schema_version": int,
    "package_version": str,
    "config": dict,
    "config_digest": str,
    "seed": int,
    "objective": str,
    "grid": dict,
    "region": str,
    "sources": dict,
    "legends": dict,
    "strata": list,
    "candidates": dict,
    "extra_columns": dict,
    "notes": list,
}
_STRATUM_FIELDS = ("stratum", "size", "target", "quota", "taken", "reason")


def validate(manifest: Path | Manifest) -> list[Violation]:
    """All violations of the contract, alike ones grouped; an empty list for a sound manifest.

    Raises:
        ManifestError: The file is missing, truncated, not Parquet, or has no `csmoe` metadata at all.
    """
    if isinstance(manifest, Manifest):
        return list(_violations(manifest))
    loaded, geo = load(Path(manifest))
    return [*_geo_violations(geo), *_violations(loaded)]


def _violations(manifest: Manifest) -> Iterator[Violation]:
    wrong_metadata = list(_metadata_violations(manifest.metadata))
    yield from wrong_metadata
    unusable = {violation.column for violation in wrong_metadata}
    if unusable & {"csmoe.grid", "csmoe.legends", "csmoe.strata", "csmoe.config"}:
        return  # nothing can be held against a grid, legend, table or configuration that is not there
    if not len(manifest):
        yield Violation.of_file("rows", 0, "one or more")
        return
    schema = schema_for(manifest.landcover_labels)
    sound: set[str] = set()
    for violation, name in _column_violations(manifest.table, schema, manifest.metadata["extra_columns"]):
        if violation:
            yield violation
        else:
            sound.add(name)
    rows = Rows(manifest, sound)
    for rule in (*PLACE_RULES, *DESCRIPTOR_RULES, *DESIGN_RULES, *SCENE_RULES):
        if rule.applies(rows):
            yield from rule.check(rows)


def _metadata_violations(metadata: dict[str, Any]) -> Iterator[Violation]:
    for field, kind in _FIELDS.items():
        if not isinstance(metadata.get(field), kind):
            found = f"{type(metadata[field]).__name__}" if field in metadata else "nothing"
            yield Violation.of_file(f"csmoe.{field}", found, _type_name(kind))
    if metadata.get("schema_version") != SCHEMA_VERSION:
        yield Violation.of_file("csmoe.schema_version", metadata.get("schema_version"), SCHEMA_VERSION)
    for name in ("landcover", "climate"):
        legend = metadata["legends"].get(name) if isinstance(metadata.get("legends"), dict) else None
        if not isinstance(legend, dict) or not isinstance(legend.get("labels"), list):
            yield Violation.of_file("csmoe.legends", f"no labels for '{name}'", "a legend with labels")
    for position, line in enumerate(metadata.get("strata") or []):
        missing = [field for field in _STRATUM_FIELDS if field not in line]
        if missing:
            yield Violation.of_file(
                "csmoe.strata", f"line {position} without {', '.join(missing)}", ", ".join(_STRATUM_FIELDS)
            )
    yield from _config_violations(metadata)


def _config_violations(metadata: dict[str, Any]) -> Iterator[Violation]:
    """The configuration must be one, and the fields drawn from it must agree with it."""
    from csmoe_sampler.config import BuildConfig
    from csmoe_sampler.grid import TileGrid

    if isinstance(metadata.get("config"), dict):
        try:
            config = BuildConfig.model_validate(metadata["config"])
        except ValueError as error:
            problem = str(error).splitlines()[0]
            yield Violation.of_file("csmoe.config", problem, "a configuration of csmoe-sampler")
        else:
            drawn = {
                "config_digest": config.digest(),
                "seed": config.seed,
                "objective": config.selection.objective,
                "grid": config.grid.model_dump(mode="json"),
                "region": config.region,
            }
            for field, expected in drawn.items():
                if metadata.get(field) != expected:
                    yield Violation.of_file(f"csmoe.{field}", metadata.get(field), expected)
    if isinstance(metadata.get("grid"), dict):
        try:
            TileGrid(**metadata["grid"])
        except (SamplerError, TypeError) as error:
            yield Violation.of_file("csmoe.grid", f"{metadata['grid']} ({error})", "spacing_km and lat_max_deg")


def _column_violations(
    table: pa.Table, schema: pa.Schema, declared: dict[str, str]
) -> Iterator[tuple[Violation | None, str]]:
    """A violation and the column it concerns, or None and a column that is sound."""
    found = {field.name: field.type for field in table.schema}
    expected = {field.name: str(field.type) for field in schema} | declared
    for name, kind in expected.items():
        if name not in found:
            yield Violation.of_file(name, "no such column", f"a column of type {kind}"), name
        elif _plain(found[name]) != kind:
            yield Violation.of_file(name, f"type {found[name]}", f"type {kind}"), name
        elif name in schema.names and name not in NULLABLE and table[name].null_count:
            row = int(table[name].is_null().to_numpy().argmax())
            yield Violation(name, row, "null", "a value", "no nulls", table[name].null_count), name
        else:
            yield None, name
    for name in found.keys() - expected.keys():
        yield Violation.of_file(name, "a column of no schema", "declared in csmoe.extra_columns, or absent"), name


def _plain(kind: pa.DataType) -> str:
    """The type without what other writers add to it: dictionaries, 64-bit offsets, nullability of fields."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_struct(kind):
        fields = [pa.field(field.name, field.type, nullable=False) for field in kind]
        kind = pa.struct(fields)
    wide = {pa.large_string(): pa.string(), pa.string_view(): pa.string(), pa.large_binary(): pa.binary()}
    return str(wide.get(kind, kind))


def _geo_violations(geo: dict[str, Any]) -> Iterator[Violation]:
    column = geo.get("columns", {}).get("geometry", {})
    facts = {
        "geo.version": (geo.get("version"), GEOPARQUET_VERSION),
        "geo.primary_column": (geo.get("primary_column"), "geometry"),
        "geo.columns.geometry.encoding": (column.get("encoding"), "WKB"),
    }
    for field, (found, expected) in facts.items():
        if found != expected:
            yield Violation.of_file(field, found, expected)
    crs = (column.get("crs") or {}).get("id", {})
    if (crs.get("authority"), crs.get("code")) not in {("EPSG", 4326), ("OGC", "CRS84")}:
        yield Violation.of_file("geo.columns.geometry.crs", crs or "no id", "EPSG:4326 or OGC:CRS84")


def _type_name(kind: type | tuple[type, ...]) -> str:
    return {dict: "an object", list: "a list", str: "text", int: "a whole number"}.get(kind, str(kind))  # type: ignore[arg-type]
