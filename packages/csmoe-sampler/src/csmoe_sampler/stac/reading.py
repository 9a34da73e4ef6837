"""Catalogues as they come: a landing page or a file, pages of a search, links to follow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pystac.errors import STACError
from pystac.utils import make_absolute_href
from pystac_client.conformance import ConformanceClasses
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO

from csmoe_sampler.errors import CatalogError
from csmoe_sampler.remote import NOT_JSON, Patience, PatientSession, explain, explain_status
from csmoe_sampler.stac.items import Item, is_remote, local_path

_PARALLEL_READS = 8


@contextmanager
def open_catalogue(url: str, patience: Patience) -> Iterator[StacApiIO]:
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


def read_root(url: str, io: StacApiIO) -> tuple[str, Item]:
    """Address and content of the landing page or the topmost file; a bare list of items becomes a collection of them.

    Raises:
        CatalogError: It is no STAC.
    """
    url = local_path(url)
    if not is_remote(url) and Path(url).is_dir():
        collection = Path(url) / "collection.json"
        url = str(collection if collection.exists() else Path(url) / "catalog.json")
    root: Any = io.read_json(url)
    if isinstance(root, list) and all(isinstance(item, dict) and item.get("type") == "Feature" for item in root):
        root = {"type": "FeatureCollection", "features": root}
    if not isinstance(root, dict) or root.get("type") not in ("Catalog", "Collection", "FeatureCollection"):
        raise CatalogError(f"STAC catalogue {url} answers JSON that is no STAC catalogue: check the address")
    return url, root


def search_pages(client: Any, url: str, collection: str, request: Mapping[str, Any]) -> Iterator[list[Item]]:
    """Pages of a search in one collection, each item with `self` as the address that its hrefs are relative to.

    Raises:
        CatalogError: The server serves the same page for ever.
    """
    seen: set[str] = set()
    for page in client.search(collections=[collection], **request).pages_as_dicts():
        items = {item["id"]: item for item in page["features"]}
        if items.keys() <= seen:
            if not items:
                return
            raise CatalogError(f"STAC catalogue {url} serves the same page again: it cannot be searched")
        seen |= items.keys()
        yield [{**item, "self": _self_link(item) or _item_address(url, collection, item)} for item in items.values()]


def at_most(client: Any, name: str, value: float) -> dict[str, Any]:
    """What to add to a search for items with a property of at most `value`, in the server's own language, if any."""
    if client.conforms_to(ConformanceClasses.QUERY):
        return {"query": {name: {"lte": value}}}
    if client.conforms_to(ConformanceClasses.FILTER):
        return {"filter": {"op": "<=", "args": [{"property": name}, value]}, "filter_lang": "cql2-json"}
    return {}


def _item_address(url: str, collection: str, item: Item) -> str:
    return f"{url.rstrip('/')}/collections/{collection}/items/{item['id']}"


def walk_items(node: Item, href: str, collection: str, io: StacApiIO) -> Iterator[Item]:
    """Items of a collection in a static catalogue and what is linked below it, each with `self` as its own address."""
    if node["type"] == "FeatureCollection":
        for item in node["features"]:
            yield {**item, "self": make_absolute_href(_self_link(item) or href, href)}
        return
    if node["type"] == "Catalog" or node["id"] == collection:
        addresses = linked(node, href, "item")
        with ThreadPoolExecutor(_PARALLEL_READS) as pool:
            for address, item in zip(addresses, pool.map(io.read_json, addresses), strict=True):
                yield {**item, "self": address}
    for address in linked(node, href, "child"):
        yield from walk_items(io.read_json(address), address, collection, io)


def linked(node: Item, href: str, relation: str) -> list[str]:
    """Absolute addresses of the links of that relation."""
    return [make_absolute_href(link["href"], href) for link in node["links"] if link["rel"] == relation]


def collections_below(node: Item, href: str, io: StacApiIO) -> set[str]:
    """Names of the collections at and below `node`; none for a bare list of items."""
    if node["type"] == "FeatureCollection":
        return set()
    if "conformsTo" in node:
        lists = [io.read_json(address)["collections"] for address in linked(node, href, "data")]
        return {collection["id"] for collections in lists for collection in collections}
    children = [(io.read_json(address), address) for address in linked(node, href, "child")]
    own = {node["id"]} if node["type"] == "Collection" else set()
    return own.union(*(collections_below(child, address, io) for child, address in children))


def _self_link(item: Item) -> str | None:
    return next((link["href"] for link in item.get("links") or () if link["rel"] == "self"), None)
