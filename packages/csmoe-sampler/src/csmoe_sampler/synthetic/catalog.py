"""A static STAC catalogue of the synthetic land cover, its items laid out like those of ESA WorldCover.

Every collection is a folder beside `catalog.json`; the catalogue links to those of `_COLLECTIONS` that are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from csmoe_sampler.legend import load_legend
from csmoe_sampler.storage import write_json
from csmoe_sampler.synthetic.layers import TILE_DEG, tile_name

COLLECTION = "esa-worldcover"
MAP_FOLDER = f"{COLLECTION}/map"

_COLLECTIONS = (COLLECTION, "sentinel-2-l2a", "sentinel-1-rtc")
_STAC_VERSION = "1.0.0"
_EXTENSIONS = "https://stac-extensions.github.io"
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_START, _END = "2021-01-01T00:00:00Z", "2021-12-31T23:59:59Z"
_COVERAGE = (-180.0, -60.0, 180.0, 84.0)
_METRES_PER_DEG = 111_319.49
_TITLES = {
    10: "Tree cover",
    20: "Shrubland",
    30: "Grassland",
    40: "Cropland",
    50: "Built-up",
    60: "Bare / sparse vegetation",
    70: "Snow and ice",
    80: "Permanent water bodies",
    90: "Herbaceous wetland",
    95: "Mangroves",
    100: "Moss and lichen",
}


def write_catalog(root: Path, tiles: Sequence[tuple[int, int]], tile_px: int) -> list[str]:
    """Names, relative to `root`, of the catalogue's files; `tiles` are south-west corners.

    The hrefs are relative and there are no `self` links: the folder may be moved.

    Raises:
        StorageError: The disk is full, or the place is not writable.
    """
    items = [_item(west, south, tile_px) for west, south in tiles]
    files = {f"{COLLECTION}/collection.json": _collection(items, tile_px)}
    files |= {f"{COLLECTION}/items/{item['id']}.json": item for item in items}
    for name, content in files.items():
        write_json(root / name, content)
    link_collections(root)
    return ["catalog.json", *files]


def link_collections(root: Path) -> None:
    """Write `catalog.json` with links to the collections in `root`.

    Raises:
        StorageError: The disk is full, or the place is not writable.
    """
    write_json(
        root / "catalog.json", _catalog([name for name in _COLLECTIONS if (root / name / "collection.json").exists()])
    )


def _catalog(collections: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "Catalog",
        "id": "csmoe-synthetic-earth",
        "stac_version": _STAC_VERSION,
        "title": "Synthetic Earth",
        "description": "An invented Earth to try csmoe-sampler without network; nothing in it was observed.",
        "links": [
            _link("root", "./catalog.json"),
            *(_link("child", f"./{name}/collection.json") for name in collections),
        ],
    }


def _collection(items: Sequence[dict[str, Any]], tile_px: int) -> dict[str, Any]:
    boxes = [item["bbox"] for item in items] or [_COVERAGE]
    union = [min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes)]
    asset = {key: value for key, value in _map_asset(tile_px).items() if not key.startswith("proj:")}
    return {
        "type": "Collection",
        "id": COLLECTION,
        "stac_version": _STAC_VERSION,
        "title": "Synthetic land cover",
        "description": "Synthetic land cover in the layout of ESA WorldCover 2021 (v200).",
        "license": "Apache-2.0",
        "extent": {"spatial": {"bbox": [union]}, "temporal": {"interval": [[_START, _END]]}},
        "summaries": {"esa_worldcover:product_version": ["2.0.0"]},
        "item_assets": {"map": asset},
        "links": [
            _link("root", "../catalog.json"),
            _link("parent", "../catalog.json"),
            *(_link("item", f"./items/{item['id']}.json", "application/geo+json") for item in items),
        ],
        "stac_extensions": [
            f"{_EXTENSIONS}/item-assets/v1.0.0/schema.json",
            f"{_EXTENSIONS}/raster/v1.1.0/schema.json",
            f"{_EXTENSIONS}/classification/v1.0.0/schema.json",
        ],
    }


def _item(west: int, south: int, tile_px: int) -> dict[str, Any]:
    tile, east, north = tile_name(west, south), west + TILE_DEG, south + TILE_DEG
    corners = ((west, south), (east, south), (east, north), (west, north), (west, south))
    pixel_deg = TILE_DEG / tile_px
    name = f"ESA_WorldCover_10m_2021_v200_{tile}"
    return {
        "type": "Feature",
        "stac_version": _STAC_VERSION,
        "id": name,
        "properties": {
            "esa_worldcover:product_version": "2.0.0",
            "esa_worldcover:product_tile": tile,
            "start_datetime": _START,
            "end_datetime": _END,
            "description": "Synthetic land cover in the layout of ESA WorldCover",
            "mission": "sentinel-1, sentinel-2",
            "platform": "sentinel-1a, sentinel-1b, sentinel-2a, sentinel-2b",
            "instruments": ["c-sar", "msi"],
            "proj:epsg": 4326,
            "grid:code": f"ESAWORLDCOVER-{tile}",
            "datetime": None,
        },
        "geometry": {"type": "Polygon", "coordinates": [[[float(x), float(y)] for x, y in corners]]},
        "links": [
            _link("root", "../../catalog.json"),
            _link("collection", "../collection.json"),
            _link("parent", "../collection.json"),
        ],
        "assets": {
            "map": {"href": f"../map/{name}_Map.tif"}
            | _map_asset(tile_px)
            | {"proj:transform": [pixel_deg, 0.0, float(west), 0.0, -pixel_deg, float(north)]}
        },
        "bbox": [float(west), float(south), float(east), float(north)],
        "stac_extensions": [
            f"{_EXTENSIONS}/projection/v1.1.0/schema.json",
            f"{_EXTENSIONS}/grid/v1.1.0/schema.json",
            f"{_EXTENSIONS}/raster/v1.1.0/schema.json",
            f"{_EXTENSIONS}/classification/v1.0.0/schema.json",
        ],
        "collection": COLLECTION,
    }


def _map_asset(tile_px: int) -> dict[str, Any]:
    legend = load_legend("worldcover")
    colors = {code: color for color, codes in zip(legend.colors, legend.codes, strict=True) for code in codes}
    return {
        "type": _COG,
        "title": "Land Cover Classes",
        "description": "Discrete classification according to the Land Cover Classification System scheme",
        "raster:bands": [
            {
                "name": "Band1",
                "description": "Classification values",
                "nodata": 0,
                "sampling": "area",
                "data_type": "uint8",
                "spatial_resolution": round(_METRES_PER_DEG * TILE_DEG / tile_px),
            }
        ],
        "classification:classes": [
            {"value": code, "description": title, "color-hint": colors[code].removeprefix("#").upper()}
            for code, title in _TITLES.items()
        ],
        "proj:shape": [tile_px, tile_px],
        "created": _END,
        "roles": ["data"],
    }


def _link(rel: str, href: str, kind: str = "application/json") -> dict[str, str]:
    return {"rel": rel, "href": href, "type": kind}
