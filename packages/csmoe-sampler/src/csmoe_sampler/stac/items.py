"""STAC items: the file and the grid of an asset, addresses, boxes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pystac.utils import make_absolute_href

from csmoe_sampler.config import StacConfig
from csmoe_sampler.errors import CatalogError

Box = tuple[float, float, float, float]
"""West, south, east, north in degrees; east beyond 180 or west > east where it crosses the antimeridian."""
Item = dict[str, Any]

GLOBE: Box = (-180.0, -90.0, 180.0, 90.0)
_REMOTE = ("http", "https", "s3")
_LON_LAT = ("EPSG:4326", "OGC:CRS84")


@dataclass(frozen=True, kw_only=True)
class RasterRecord:
    """One file of a raster, as far as its STAC item describes it."""

    item_id: str
    href: str
    """URL or local path, unsigned."""
    transform: tuple[float, ...] | None
    """Affine from (column, row) to (lon, lat); None where unknown, or in another CRS."""
    shape: tuple[int, ...] | None
    """Rows and columns; None together with `transform`."""


def to_record(item: Item, stac: StacConfig) -> RasterRecord:
    """The record of an item's file; `item["self"]` is the address that its hrefs are relative to.

    Raises:
        CatalogError: The item lacks the asset, or its href must not be read.
    """
    assets = item["assets"]
    if stac.asset not in assets:
        raise CatalogError(
            f"item {item['id']} of collection '{stac.collection}' has no asset '{stac.asset}': "
            f"it has {', '.join(sorted(assets))}"
        )
    asset = assets[stac.asset]
    fields = {**item["properties"], **asset}
    code = fields.get("proj:code") or f"EPSG:{fields.get('proj:epsg')}"
    transform, shape = fields.get("proj:transform"), fields.get("proj:shape")
    if code not in _LON_LAT or transform is None or shape is None:
        transform = shape = None
    return RasterRecord(
        item_id=item["id"],
        href=checked_href(asset["href"], item),
        transform=None if transform is None else tuple(float(number) for number in transform[:6]),
        shape=None if shape is None else tuple(int(number) for number in shape),
    )


def _item_bounds(item: Item) -> Box:
    box = item.get("bbox")
    if box is None or len(box) not in (4, 6):
        raise CatalogError(f"item {item['id']} has no usable 'bbox': ask the provider of the catalogue to add it")
    return (box[0], box[1], box[len(box) // 2], box[len(box) // 2 + 1])


def checked_href(href: str, item: Item) -> str:
    """An absolute address; an item from the network cannot name files of this machine."""
    address = make_absolute_href(href, item["self"])
    scheme = urlsplit(address).scheme
    allowed = scheme in _REMOTE if is_remote(item["self"]) else scheme in (*_REMOTE, "file", "")
    if not allowed or address.startswith("/vsi"):
        raise CatalogError(
            f"item {item['id']} names the file {href}: only {', '.join(_REMOTE)} addresses can be read from "
            f"{item['self']}"
        )
    return local_path(address)


def is_remote(address: str) -> bool:
    """Whether an address is read through the network."""
    return urlsplit(address).scheme in _REMOTE


def portable_href(address: str) -> str:
    """An address without what differs from machine to machine or must stay secret: folders, users, tokens."""
    if not is_remote(address):
        return Path(local_path(address)).name
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def local_path(address: str) -> str:
    """`file:` addresses as paths, others as they are."""
    return url2pathname(urlsplit(address).path) if urlsplit(address).scheme == "file" else address


def split_box(box: Box) -> Iterator[Box]:
    """The box, or its two halves where it crosses the antimeridian."""
    west, south, east, north = box
    if east - west >= 360:
        west, east = -180.0, 180.0
    if east > 180:
        east -= 360
    if west <= east:
        yield (west, south, east, north)
    else:
        yield (west, south, 180.0, north)
        yield (-180.0, south, east, north)


def touches(item: Item, box: Box) -> bool:
    """Whether the data of an item and a box have a point in common."""
    west, south, east, north = _item_bounds(item)
    return any(
        low <= part[3] and high >= part[1] and left <= part[2] and right >= part[0]
        for part in split_box(box)
        for left, low, right, high in split_box((west, south, east, north))
    )
