"""Item tables behind an address: the files of an Azure container, listed over plain HTTPS, or a single file."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote, urlencode, urlsplit

import requests

from csmoe_sampler.errors import CatalogError
from csmoe_sampler.remote import PatientSession, Signer, explain

AZURE = ".blob.core.windows.net"
_BLOB = re.compile(r"<Blob>(.*?)</Blob>", re.DOTALL)
_NAME = re.compile(r"<Name>(.*?)</Name>", re.DOTALL)
_LENGTH = re.compile(r"<Content-Length>(\d+)</Content-Length>")
_MARKER = re.compile(r"<NextMarker>(.+?)</NextMarker>", re.DOTALL)
_SPAN = re.compile(r"_(\d{4}-\d\d-\d\dT[^_/]+)_(\d{4}-\d\d-\d\dT[^_/]+?)\.parquet$")


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """A file of items behind an address."""

    url: str
    """Unsigned."""
    size: int
    """Bytes."""

    @property
    def span(self) -> tuple[datetime, datetime] | None:
        """Start and end (UTC, without a zone) of the dates of its items, as its name tells; None where it does not."""
        match = _SPAN.search(unquote(urlsplit(self.url).path))
        if match is None:
            return None
        start, end = (datetime.fromisoformat(text) for text in match.groups())
        return _utc(start), _utc(end)

    def holds(self, start: datetime, end: datetime) -> bool:
        """Whether it may hold items from `start` until before `end`."""
        return self.span is None or (self.span[0] < end and self.span[1] >= start)


def _utc(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time


def list_tables(url: str, session: PatientSession, signer: Signer | None) -> list[TableFile]:
    """The Parquet files behind `url`, sorted by address.

    An address in a container of Azure Blob Storage, or at a host that is signed, is a file or the prefix of its
    partitions; any other is a file.

    Raises:
        CatalogError: The address is out of reach, or there is nothing behind it.
    """
    signed = signer is not None and signer(url) != url
    if not (signed or (urlsplit(url).hostname or "").endswith(AZURE)):
        return [TableFile(url=url, size=_size(url, session))]
    parts = urlsplit(url)
    container, _, prefix = unquote(parts.path).strip("/").partition("/")
    root = f"{parts.scheme}://{parts.netloc}/{container}"
    found: list[TableFile] = []
    marker = ""
    while True:
        query = {"restype": "container", "comp": "list", "prefix": prefix, "maxresults": "5000"}
        query |= {"marker": marker} if marker else {}
        page = _get(f"{root}?{urlencode(query)}", session, signer)
        for blob in _BLOB.findall(page):
            name, size = _NAME.search(blob), _LENGTH.search(blob)
            path = html.unescape(name[1]) if name else ""
            if size and path.endswith(".parquet") and (path == prefix or path.startswith(f"{prefix}/")):
                found.append(TableFile(url=f"{root}/{quote(path)}", size=int(size[1])))
        match = _MARKER.search(page)
        if match is None:
            break
        marker = html.unescape(match[1])
    if not found:
        raise CatalogError(f"{url}: no Parquet file there: check the address")
    return sorted(found, key=lambda file: file.url)


def _get(url: str, session: PatientSession, signer: Signer | None) -> str:
    plain = url.partition("?")[0]
    for last in (False, True):
        signed = signer(url) if signer else url
        try:
            response = session.get(signed)
            response.raise_for_status()
        except requests.RequestException as error:
            if not last and signer and is_refused(error):
                signer.forget(signed)
                continue
            raise CatalogError(f"{plain} {explain(error)}") from error
        return response.text
    raise AssertionError


def is_refused(error: BaseException | None) -> bool:
    """Whether a token may have been the reason."""
    response = getattr(error, "response", None)
    return response is not None and response.status_code in (401, 403)


def _size(url: str, session: PatientSession) -> int:
    try:
        response = session.head(url, allow_redirects=True, headers={"Accept-Encoding": "identity"})
        response.raise_for_status()
    except requests.RequestException as error:
        raise CatalogError(f"{url} {explain(error)}") from error
    if "Content-Length" not in response.headers:
        raise CatalogError(f"{url} does not tell its size: bring the file yourself, and give its path in scenes.items")
    return int(response.headers["Content-Length"])
