"""A STAC search -> the files of a raster: from an API or a static catalogue, signed late, with a snapshot."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pystac_client.conformance import ConformanceClasses
from pystac_client.stac_api_io import StacApiIO

from csmoe_sampler.config import StacConfig
from csmoe_sampler.errors import CatalogError
from csmoe_sampler.remote import Patience, Signer, planetary_computer_signer
from csmoe_sampler.stac.items import GLOBE, Box, Item, RasterRecord, portable_href, split_box, to_record, touches
from csmoe_sampler.stac.reading import collections_below, open_catalogue, read_root, search_pages, walk_items

PLANETARY_COMPUTER = "planetarycomputer.microsoft.com"
_PAGE_ITEMS = 500


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
    with open_catalogue(stac.url, patience or Patience()) as io:
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


def _find_items(stac: StacConfig, box: Box, io: StacApiIO) -> Iterator[Item]:
    """Items of the collection in the box, with `self` as the address that their hrefs are relative to."""
    url, root = read_root(stac.url, io)
    if "conformsTo" in root:
        for part in split_box(box):
            yield from _search_api(io.stac_object_from_dict(root, href=url), stac, part)
    else:
        for item in walk_items(root, url, stac.collection, io):
            if touches(item, box):
                yield item


def _search_api(client: Any, stac: StacConfig, box: Box) -> Iterator[Item]:
    """Pages of a search; the filter goes along where the server says that it understands it."""
    request: dict[str, Any] = {"limit": _PAGE_ITEMS}
    if box != GLOBE:
        request["bbox"] = box
    if client.conforms_to(ConformanceClasses.QUERY):
        request["query"] = {key: {"eq": value} for key, value in stac.query.items()}
    for page in search_pages(client, stac.url, stac.collection, request):
        yield from page


def _matches(item: Item, stac: StacConfig) -> bool:
    """Not every server filters, and static catalogues never do."""
    properties = item["properties"]
    return item.get("collection", stac.collection) == stac.collection and all(
        key in properties and properties[key] == value for key, value in stac.query.items()
    )


def _why_nothing(stac: StacConfig, box: Box, io: StacApiIO) -> str:
    url, root = read_root(stac.url, io)
    known = collections_below(root, url, io)
    if known and stac.collection not in known:
        names = ", ".join(sorted(known)[:12]) + (", ..." if len(known) > 12 else "")
        return f"STAC catalogue {stac.url} has no collection '{stac.collection}': it has {names}"
    conditions = "".join(f" with {key} = {value!r}" for key, value in stac.query.items())
    return (
        f"STAC catalogue {stac.url} has no item of collection '{stac.collection}'{conditions} "
        f"in {', '.join(f'{edge:g}' for edge in box)}: check query and region"
    )
