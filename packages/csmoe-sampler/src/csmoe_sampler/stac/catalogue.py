"""A STAC search -> the files of a raster: from an API or a static catalogue, signed late, with a snapshot."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pystac.errors import STACError
from pystac.utils import make_absolute_href
from pystac_client.conformance import ConformanceClasses
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO

from csmoe_sampler.config import StacConfig
from csmoe_sampler.errors import CatalogError
from csmoe_sampler.remote import (
    NOT_JSON,
    Patience,
    PatientSession,
    Signer,
    explain,
    explain_status,
    planetary_computer_signer,
)
from csmoe_sampler.stac.items import (
    GLOBE,
    Box,
    Item,
    RasterRecord,
    is_remote,
    local_path,
    portable_href,
    split_box,
    to_record,
    touches,
)

PLANETARY_COMPUTER = "planetarycomputer.microsoft.com"
_PAGE_ITEMS = 500
_PARALLEL_READS = 8


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a search has found."""

    records: tuple[RasterRecord, ...]
    """Sorted by item id."""
    provenance: dict[str, Any]
    """Catalogue, collection, query, number of items, and the digest of their ids and hrefs: it changes when the
    catalogue does."""
    sign: Callable[[str], str] | None
    """Turns an href into one that can be read now; None where hrefs can be read as they are."""


def search(
    stac: StacConfig,
    box: Box = GLOBE,
    *,
    sign_endpoint: str | None = None,
    patience: Patience | None = None,
) -> Search:
    """The files of a raster in a box.

    Args:
        stac: `url` is the landing page of an API, or a static catalogue: the URL or path of a catalogue, collection
            or item collection, or a folder with `collection.json` or `catalog.json`.
        box: Items that do not touch it are left out.
        sign_endpoint: Where to ask for tokens of Azure Blob Storage; default: the Planetary Computer for its own
            catalogue, nowhere for others.
        patience: How long the service may fail.

    Raises:
        CatalogError: The catalogue is out of reach, answers something unusable, does not know the collection or the
            asset, or holds no item of this kind in the box.
    """
    with _open(stac.url, patience or Patience()) as io:
        found = {item["id"]: item for item in _find_items(stac, box, io) if _matches(item, stac)}
        if not found:
            raise CatalogError(_why_nothing(stac, box, io))
        records = tuple(to_record(found[name], stac) for name in sorted(found))
    listing = "\n".join(f"{record.item_id}\t{portable_href(record.href)}" for record in records)
    provenance = {
        "catalogue": portable_href(stac.url),
        "collection": stac.collection,
        "asset": stac.asset,
        "query": dict(stac.query),
        "items": len(records),
        "snapshot": f"sha256:{hashlib.sha256(listing.encode()).hexdigest()}",
    }
    return Search(records=records, provenance=provenance, sign=_signer(stac.url, sign_endpoint))


def _signer(url: str, endpoint: str | None) -> Signer | None:
    if endpoint is not None:
        return Signer(endpoint=endpoint.rstrip("/"))
    return planetary_computer_signer() if urlsplit(url).hostname == PLANETARY_COMPUTER else None


@contextmanager
def _open(url: str, patience: Patience) -> Iterator[StacApiIO]:
    """Reads JSON of the catalogue at `url`; failures inside the block become `CatalogError`."""
    if urlsplit(url).scheme not in ("http", "https", "file", ""):
        raise CatalogError(f"STAC catalogue {url}: only http, https and file addresses and paths can be read")
    with PatientSession(patience) as session:
        io = StacApiIO(max_retries=None)
        io.session = session
        try:
            yield io
        except APIError as error:
            status = getattr(error, "status_code", None)
            reason = explain(error.__context__ or error) if status is None else explain_status(status)
            raise CatalogError(f"STAC catalogue {url} {reason}") from error
        except json.JSONDecodeError as error:
            raise CatalogError(f"STAC catalogue {url} {NOT_JSON}") from error
        except (KeyError, TypeError, ValueError, AttributeError, STACError) as error:
            raise CatalogError(f"STAC catalogue {url} answers malformed STAC ({error}): check it") from error
        except FileNotFoundError as error:
            raise CatalogError(f"STAC catalogue {url}: there is no file {error.filename}") from error


def _find_items(stac: StacConfig, box: Box, io: StacApiIO) -> Iterator[Item]:
    """Items of the collection in the box, with `self` as the address that their hrefs are relative to."""
    url, root = _read_root(stac, io)
    if "conformsTo" in root:
        for part in split_box(box):
            yield from _search_api(io.stac_object_from_dict(root, href=url), stac, part)
    else:
        for item in _walk(root, url, stac, io):
            if touches(item, box):
                yield item


def _read_root(stac: StacConfig, io: StacApiIO) -> tuple[str, Item]:
    """Address and content of the landing page or the topmost file."""
    url = local_path(stac.url)
    if not is_remote(url) and Path(url).is_dir():
        collection = Path(url) / "collection.json"
        url = str(collection if collection.exists() else Path(url) / "catalog.json")
    root = io.read_json(url)
    if not isinstance(root, dict) or root.get("type") not in ("Catalog", "Collection", "FeatureCollection"):
        raise CatalogError(f"STAC catalogue {url} answers JSON that is no STAC catalogue: check the address")
    return url, root


def _search_api(client: Any, stac: StacConfig, box: Box) -> Iterator[Item]:
    """Pages of a search; the filter goes along where the server says that it understands it."""
    request: dict[str, Any] = {"collections": [stac.collection], "limit": _PAGE_ITEMS}
    if box != GLOBE:
        request["bbox"] = box
    if client.conforms_to(ConformanceClasses.QUERY):
        request["query"] = {key: {"eq": value} for key, value in stac.query.items()}
    seen: set[str] = set()
    for page in client.search(**request).pages_as_dicts():
        items = {item["id"]: item for item in page["features"]}
        if items.keys() <= seen:
            raise CatalogError(f"STAC catalogue {stac.url} serves the same page again: it cannot be searched")
        seen |= items.keys()
        for item in items.values():
            link = next((link["href"] for link in item.get("links", ()) if link["rel"] == "self"), None)
            fallback = f"{stac.url.rstrip('/')}/collections/{stac.collection}/items/{item['id']}"
            yield {**item, "self": link or fallback}


def _walk(node: Item, href: str, stac: StacConfig, io: StacApiIO) -> Iterator[Item]:
    """Items of a static catalogue and of what is linked below it."""
    if node["type"] == "FeatureCollection":
        for item in node["features"]:
            link = next((link["href"] for link in item.get("links", ()) if link["rel"] == "self"), href)
            yield {**item, "self": make_absolute_href(link, href)}
        return
    if node["type"] == "Catalog" or node["id"] == stac.collection:
        addresses = _linked(node, href, "item")
        with ThreadPoolExecutor(_PARALLEL_READS) as pool:
            for address, item in zip(addresses, pool.map(io.read_json, addresses), strict=True):
                yield {**item, "self": address}
    for address in _linked(node, href, "child"):
        yield from _walk(io.read_json(address), address, stac, io)


def _linked(node: Item, href: str, relation: str) -> list[str]:
    return [make_absolute_href(link["href"], href) for link in node["links"] if link["rel"] == relation]


def _matches(item: Item, stac: StacConfig) -> bool:
    """Not every server filters, and static catalogues never do."""
    properties = item["properties"]
    return item.get("collection", stac.collection) == stac.collection and all(
        key in properties and properties[key] == value for key, value in stac.query.items()
    )


def _why_nothing(stac: StacConfig, box: Box, io: StacApiIO) -> str:
    url, root = _read_root(stac, io)
    known = _collections(root, url, io)
    if known and stac.collection not in known:
        names = ", ".join(sorted(known)[:12]) + (", ..." if len(known) > 12 else "")
        return f"STAC catalogue {stac.url} has no collection '{stac.collection}': it has {names}"
    conditions = "".join(f" with {key} = {value!r}" for key, value in stac.query.items())
    return (
        f"STAC catalogue {stac.url} has no item of collection '{stac.collection}'{conditions} "
        f"in {', '.join(f'{edge:g}' for edge in box)}: check query and region"
    )


def _collections(node: Item, href: str, io: StacApiIO) -> set[str]:
    """Names of the collections at and below `node`; none for a bare list of items."""
    if node["type"] == "FeatureCollection":
        return set()
    if "conformsTo" in node:
        lists = [io.read_json(address)["collections"] for address in _linked(node, href, "data")]
        return {collection["id"] for collections in lists for collection in collections}
    children = [(io.read_json(address), address) for address in _linked(node, href, "child")]
    own = {node["id"]} if node["type"] == "Collection" else set()
    return own.union(*(_collections(child, address, io) for child, address in children))
