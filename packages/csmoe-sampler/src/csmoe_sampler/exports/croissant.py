"""Croissant (ML Commons): JSON-LD that describes a manifest, its columns, and the files of its chip store.

Every file stands with its SHA-256 and its size; paths are relative to the JSON-LD where they lie below its folder.
What nobody has told the sampler (licence, address of publication, authors) is not in it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa

from csmoe_sampler.chips.export import check_tiles
from csmoe_sampler.chips.rows import ChipRows
from csmoe_sampler.exports.task import Task
from csmoe_sampler.storage import file_digest, write_json

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_ABOUT = {
    "tile_id": "Cell of the Major TOM grid.",
    "geometry": "Footprint as WKB, longitude and latitude on WGS 84.",
    "lon": "Longitude of the centre of the footprint.",
    "lat": "Latitude of the centre of the footprint.",
    "crs": "UTM zone of the footprint.",
    "landcover": "Land-cover class with the largest share.",
    "climate": "Köppen-Geiger class with the largest share.",
    "stratum": "Climate x land cover, sparse ones pooled.",
    "inclusion_probability": "Probability with which the design has drawn the tile; null where it is purposive.",
    "weight": "Tiles of the stratum that the row stands for.",
    "rank": "Position in the sample; every prefix is a smaller sample.",
    "split": "train, validation, test, or buffer: left out between them.",
    "chip": "Row of the chip store.",
}
_JSON = "application/json"


def write(task: Task, out: Path) -> str:
    """Writes the JSON-LD; every file is read once for its digest."""
    files = [task.path]
    if task.chips:
        with ChipRows(task.chips) as rows:
            check_tiles(task.manifest, rows)
        files += sorted(path for path in task.chips.rglob("*") if path.is_file() and not path.name.startswith("."))
    task.progress.start("export", len(files), "files")
    objects = []
    for path in files:
        objects.append(_file_object(path, task, out.parent))
        task.progress.advance(1)
    task.progress.finish()
    metadata = task.manifest.metadata
    write_json(
        out,
        {
            "@context": _CONTEXT,
            "@type": "sc:Dataset",
            "conformsTo": CONFORMS_TO,
            "name": task.path.stem,
            "description": _description(task),
            "version": "1.0.0",
            "identifier": f"csmoe:{metadata['config_digest']}",
            "distribution": objects,
            "recordSet": [_record_set(task.manifest.table.schema)],
        },
    )
    return f"{len(files):,} files described"


def _description(task: Task) -> str:
    metadata = task.manifest.metadata
    chips = " with their Sentinel pixels (Zarr v3)" if task.chips else ""
    return (
        f"{len(task.manifest):,} Earth-observation tiles of the Major TOM grid of {metadata['grid']['spacing_km']:g} km"
        f"{chips}, region {metadata['region']}, drawn from {len(metadata['strata'])} strata of climate x land cover "
        f"with the objective {metadata['objective']} and seed {metadata['seed']} by csmoe-sampler "
        f"{metadata['package_version']}."
    )


def _file_object(path: Path, task: Task, beside: Path) -> dict[str, Any]:
    own = path == task.path
    assert own or task.chips is not None, "files besides the manifest are those of a store"
    name = "manifest" if own else f"{(task.chips or path).name}/{path.relative_to(task.chips or path).as_posix()}"
    kind = "application/x-parquet" if own else _JSON if path.suffix == ".json" else "application/octet-stream"
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": Path(os.path.relpath(path.resolve(), beside.resolve())).as_posix(),
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": kind,
        "sha256": file_digest(path).removeprefix("sha256:"),
    }


def _record_set(schema: pa.Schema) -> dict[str, Any]:
    plain = [field for field in schema if not pa.types.is_struct(field.type)]
    return {
        "@type": "cr:RecordSet",
        "@id": "tiles",
        "name": "tiles",
        "description": "A row a tile, in the order of the rank.",
        "key": {"@id": "tiles/tile_id"},
        "field": [_field(field) for field in plain],
    }


def _field(field: pa.Field) -> dict[str, Any]:
    about = {"description": _ABOUT[field.name]} if field.name in _ABOUT else {}
    return {
        "@type": "cr:Field",
        "@id": f"tiles/{field.name}",
        "name": field.name,
        **about,
        "dataType": _data_type(field.type),
        "source": {"fileObject": {"@id": "manifest"}, "extract": {"column": field.name}},
    }


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return "sc:Integer"
    if pa.types.is_floating(kind):
        return "sc:Float"
    if pa.types.is_timestamp(kind):
        return "sc:DateTime"
    return "sc:Text"
