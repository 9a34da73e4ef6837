"""HTTP with patience: requests that are tried again, downloads that resume, hrefs that are signed late."""

from __future__ import annotations

import random
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from pydantic import ValidationError
from requests.adapters import HTTPAdapter
from urllib3 import Retry
from urllib3.exceptions import ProtocolError, ReadTimeoutError

from csmoe_sampler.errors import CatalogError, SamplerError, StorageError

with warnings.catch_warnings():  # its models are declared in the manner of pydantic 1
    warnings.simplefilter("ignore", DeprecationWarning)
    from planetary_computer.sas import SASToken
    from planetary_computer.settings import Settings

Result = TypeVar("Result")

NOT_JSON = "answers something else than JSON: check the address"
_CHUNK_BYTES = 1 << 20
_BUSY = (429, 500, 502, 503, 504)
_BROKEN = (ProtocolError, ReadTimeoutError)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a service may fail before it counts as out of reach."""

    retries: int = 6
    """How often a request is tried again. For a download: in a row without a byte."""
    backoff_s: float = 0.5
    """Pause before the first retry; every further one doubles it. A random part of up to one pause is added."""
    backoff_max_s: float = 60.0
    timeout_s: float = 60.0
    """Longest wait for a connection, and for the next bytes."""

    def pause_s(self, attempt: int) -> float:
        """Pause before retry `attempt` = 0, 1, ...; the random part keeps clients from retrying in step."""
        pause: float = min(self.backoff_s * 2**attempt, self.backoff_max_s)
        return pause * (1 + random.random())  # noqa: S311


class PatientSession(requests.Session):
    """A session that tries again after busy answers (honouring `Retry-After`), lost connections and cut bodies."""

    def __init__(self, patience: Patience) -> None:
        super().__init__()
        self.patience = patience
        retry = Retry(
            total=patience.retries,
            connect=min(patience.retries, 3),  # an address that does not exist should not take minutes
            backoff_factor=patience.backoff_s,
            backoff_max=patience.backoff_max_s,
            backoff_jitter=patience.backoff_s,
            status_forcelist=_BUSY,
            allowed_methods=None,  # a search is a POST that changes nothing
            raise_on_status=False,
        )
        for scheme in ("https://", "http://"):
            self.mount(scheme, HTTPAdapter(max_retries=retry))

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """As `requests.Session.send`, within the patience of the session."""
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self.patience.timeout_s
        attempt = 0
        while True:
            try:
                return super().send(request, **kwargs)
            except requests.exceptions.ChunkedEncodingError:
                if attempt == self.patience.retries:
                    raise
            time.sleep(self.patience.pause_s(attempt))
            attempt += 1


def insist(action: Callable[[], Result], patience: Patience) -> Result:
    """What `action` returns; whatever its library raises is tried again, and raised in the end."""
    for attempt in range(patience.retries):
        try:
            return action()
        except (SamplerError, ImportError):  # no patience gives what is not installed
            raise
        except Exception:  # noqa: BLE001 - readers of remote stores have no common family of errors
            time.sleep(patience.pause_s(attempt))
    return action()


def read_json(url: str, session: requests.Session) -> dict[str, Any]:
    """The JSON object at `url`; raises CatalogError."""
    try:
        response = session.get(url)
        response.raise_for_status()
        value = response.json()
    except requests.RequestException as error:
        raise CatalogError(f"{url} {explain(error)}") from error
    if not isinstance(value, dict):
        raise CatalogError(f"{url} answers JSON that is not an object: check the address")
    return value


def download(url: str, path: Path, size: int, session: PatientSession, advance: Callable[[int], object]) -> None:
    """Brings `size` bytes to `path`, continuing behind the bytes that are there already.

    Args:
        url: The file.
        path: Kept when the download fails, so that the next call continues.
        size: Bytes of the whole file.
        session: Gives the patience.
        advance: Told the number of bytes as they come.

    Raises:
        CatalogError: The server fails beyond patience, or holds another number of bytes.
        StorageError: The disk is full, or the place is not writable.
    """
    attempt = 0
    while (have := path.stat().st_size if path.exists() else 0) != size:
        if have > size:
            path.unlink()
            raise CatalogError(f"{url} holds more than the {size} bytes announced: try again later")
        try:
            _append(url, path, have, session, advance)
            stalled = path.stat().st_size == have
            reason = f"ends after {have} of {size} bytes"
        except _BROKEN as error:
            stalled = not path.exists() or path.stat().st_size <= have
            reason = explain(error)
        except requests.RequestException as error:
            raise CatalogError(f"{url} {explain(error)}") from error
        except OSError as error:
            raise StorageError(
                f"{path} cannot be written ({error.strerror}): free space there, or choose another folder"
            ) from error
        attempt = attempt + 1 if stalled else 0
        if attempt > session.patience.retries:
            raise CatalogError(f"{url} {reason}")
        if stalled:
            time.sleep(session.patience.pause_s(attempt - 1))


def _append(url: str, path: Path, have: int, session: requests.Session, advance: Callable[[int], object]) -> None:
    headers = {"Accept-Encoding": "identity"}  # a range counts the bytes of the file itself
    if have:
        headers["Range"] = f"bytes={have}-"
    with session.get(url, headers=headers, stream=True) as response:
        if response.status_code not in (requests.codes.ok, requests.codes.partial_content):
            raise requests.HTTPError(response=response)
        resumed = response.status_code == requests.codes.partial_content
        with path.open("ab" if resumed else "wb") as file:
            while chunk := response.raw.read1(_CHUNK_BYTES):  # what has come is kept when the rest does not
                file.write(chunk)
                advance(len(chunk))


def explain(error: BaseException) -> str:
    """What a failed request means to the user: the rest of a sentence that starts with the address."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return explain_status(error.response.status_code)
    given_up = error.args[0] if error.args else None  # what `Retry` raises in the end
    if any(isinstance(e, requests.Timeout | ReadTimeoutError) for e in (error, getattr(given_up, "reason", None))):
        return "does not answer in time: try again later"
    if isinstance(error, requests.exceptions.ChunkedEncodingError | ProtocolError):
        return "ends its answers early: try again later"
    if isinstance(error, requests.exceptions.JSONDecodeError):
        return NOT_JSON
    if isinstance(error, requests.exceptions.InvalidSchema | requests.exceptions.InvalidURL):
        return "is not an address that can be fetched: check it"
    return "cannot be reached: check the address and the network"


def explain_status(status: int) -> str:
    """As `explain`, for the status of an answer."""
    if status in (401, 403):
        return f"refuses access (HTTP {status}): check the credentials"
    if status in _BUSY:
        return f"keeps answering HTTP {status}: try again later"
    return f"answers HTTP {status}: check the address"


_tokens: dict[str, SASToken] = {}
_token_locks: dict[str, threading.Lock] = {}
_locks = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Signer:
    """Signs hrefs of Azure Blob Storage with a token per container, which it asks for when first needed.

    Tokens are shared by the threads of a process, and renewed shortly before they expire. They are neither part of
    the signer nor of what is pickled with it.
    """

    endpoint: str
    """`{endpoint}/{account}/{container}` answers `{"token": ..., "msft:expiry": ...}`."""
    hosts: tuple[str, ...] = ("blob.core.windows.net",)
    """Whose hrefs are signed: domains, behind the first dot of a host name (the account comes before it), or whole
    host names, with a port or without (the account is then the host name)."""
    margin_s: float = 300.0
    """A token is renewed when it has less than this to live."""
    patience: Patience = Patience()

    def __call__(self, href: str) -> str:
        """`href` with a token, or as it is where it needs none.

        Raises:
            CatalogError: The endpoint fails, or answers something else than a token.
        """
        place = self._place(href)
        if place is None or "sig=" in urlsplit(href).query:
            return href
        return f"{href}{'&' if urlsplit(href).query else '?'}{self._token(place).token}"

    def forget(self, href: str) -> None:
        """Drops the token of `href`, so that the next call asks for a new one.

        A signed `href` that was refused drops no token but its own: another thread may have renewed it meanwhile.
        """
        place = self._place(href)
        with _locks:
            token = None if place is None else _tokens.get(place)
            if place is not None and token is not None and ("sig=" not in href or token.token in href):
                _tokens.pop(place, None)

    def _place(self, href: str) -> str | None:
        """Where to ask for the token of `href`; None where it needs none."""
        address = urlsplit(href)
        account, _, domain = address.netloc.partition(".")
        container = address.path.lstrip("/").partition("/")[0]
        if address.netloc in self.hosts or address.hostname in self.hosts:
            account = address.hostname or ""
        elif domain not in self.hosts:
            return None
        return f"{self.endpoint}/{account}/{container}" if container else None

    def _token(self, url: str) -> SASToken:
        with _locks:
            lock = _token_locks.setdefault(url, threading.Lock())
        with lock:
            token = _tokens.get(url)
            if token is None or token.ttl() < self.margin_s:
                token = _tokens[url] = self._ask(url)
            return token

    def _ask(self, url: str) -> SASToken:
        with PatientSession(self.patience) as session:
            if key := Settings.get().subscription_key:
                session.headers["Ocp-Apim-Subscription-Key"] = key
            try:
                return SASToken(**read_json(url, session))
            except ValidationError as error:
                raise CatalogError(f"{url} answers no token: check the address of the sign endpoint") from error


def planetary_computer_signer() -> Signer:
    """The signer of the Planetary Computer; `PC_SDK_SAS_URL` and `PC_SDK_SUBSCRIPTION_KEY` are honoured."""
    return Signer(endpoint=str(Settings.get().sas_url))
