"""Patience with raster files: GDAL's settings, attempts with pauses, hrefs that are signed late and anew."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import TypeVar

from rasterio.errors import RasterioError

from csmoe_sampler.errors import RasterAccessError, RasterError, RasterUnreachableError
from csmoe_sampler.rasters.headers import name_of

BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0, 8.0)
"""Pauses before reading from a remote file is tried again, from the opening on."""
MOST_REFUSALS = 5
"""An address that is refused (HTTP 401, 403) so often, with as many tokens, is refused for good."""
GDAL_OPTIONS = {
    "GTIFF_IGNORE_READ_ERRORS": "NO",
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_CONNECTTIMEOUT": "15",
    "GDAL_HTTP_TIMEOUT": "120",
    "GDAL_HTTP_LOW_SPEED_TIME": "30",  # a connection that has gone silent
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "GDAL_HTTP_MAX_RETRY": "0",
    "CPL_VSIL_CURL_NON_CACHED": ":".join(f"/vsi{kind}/" for kind in ("curl", "s3", "gs", "az")),
}
"""How files are read wherever GDAL reads them: errors are errors, nothing is asked that is not needed."""
REOPENING = GDAL_OPTIONS | {
    "CPL_VSIL_CURL_NON_CACHED": "",
    "GDAL_HTTP_MAX_RETRY": "2",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
}
"""As `GDAL_OPTIONS`, for files that are opened again and again: their size and header are asked for once, and a request
of many that fails is repeated alone before the file is opened anew."""
_REMOTE = re.compile(r"(https?|s3|gs|az)://|/vsi(curl|s3|gs|az|adls|oss|swift|webhdfs)")
_VSI_PREFIXES = {"s3://": "/vsis3/", "gs://": "/vsigs/", "az://": "/vsiaz/"}
_MISSING = re.compile(r"response code: (404|410)\b")
_REFUSED = re.compile(r"response code: (401|403)\b")

Result = TypeVar("Result")

_failed: dict[str, int] = {}
"""Remote file -> number of its last failure in this process."""
_numbers = count(1)


def is_remote(href: str) -> bool:
    """Whether reading may fail for a moment."""
    return _REMOTE.match(href) is not None


class PatientFile:
    """A raster file that is opened and read in attempts; a local one gets a single attempt.

    Args:
        href: Its address, unsigned.
        sign: Makes an address that its server takes; where it has a method `forget`, that is told which was refused.
        reopened: Whether it is opened with the settings `REOPENING`.
    """

    def __init__(self, href: str, sign: Callable[[str], str] | None = None, *, reopened: bool = False) -> None:
        self.href = href
        self.name = name_of(href)
        self._sign = sign
        self._reopened = reopened
        self._signed = href

    def address(self) -> str:
        """What GDAL opens, signed now.

        After a failure, that of a `reopened` file is another to GDAL, and the same to a server: nothing that came
        incomplete, and no refusal, is served again from GDAL's caches, to this reader of the file or to the next.
        """
        self._signed = href = self._sign(self.href) if self._sign else self.href
        for scheme, prefix in _VSI_PREFIXES.items():
            href = href.replace(scheme, prefix, 1) if href.startswith(scheme) else href
        failed = _failed.get(self.href) if self._reopened and href.startswith("http") else None
        return f"/vsicurl/{href}#{failed}" if failed else href

    def insist(
        self, attempt: Callable[[], Result], what: str, close: Callable[[], None], pauses: Sequence[float] = BACKOFF_S
    ) -> Result:
        """`attempt()`; for a remote file again after `pauses`.

        Args:
            attempt: Opens the file by its `address()` where it is not open.
            what: Begins the account of a failure: "opening".
            close: Called after a failure.
            pauses: Seconds.

        Raises:
            RasterUnreachableError: A remote file fails beyond patience, in a way that may pass.
            RasterAccessError: Its server refuses access.
            RasterError: The file is missing or damaged.
        """
        refusals = 0
        for pause_s in (*(pauses if is_remote(self.href) else ()), None):
            try:
                return attempt()
            except RasterError:
                close()
                raise
            except RasterioError as error:
                close()
                if self._reopened and is_remote(self.href):
                    _failed[self.href] = next(_numbers)
                reason = gdal_reason(error).replace(self.href, self.name)
                refusals += self._note_refusal(reason)
                if pause_s is None or refusals == MOST_REFUSALS or _MISSING.search(reason):
                    raise self._error(f"raster {self.name}: {what} failed: {reason}", reason) from error
            time.sleep(pause_s)
        raise AssertionError("the last attempt returns or raises")

    def _note_refusal(self, reason: str) -> bool:
        """Whether the server refused; a token that was in use is forgotten then."""
        refused = _REFUSED.search(reason) is not None
        forget = getattr(self._sign, "forget", None)
        if refused and forget is not None:
            forget(self._signed)
        return refused

    def _error(self, account: str, reason: str) -> RasterError:
        if not is_remote(self.href):
            return RasterError(f"{account}; if the file is there, it is damaged or incomplete: bring it again")
        advised = f"{account}; try again later, or check the address and the permissions"
        if _REFUSED.search(reason):
            return RasterAccessError(advised)
        return RasterError(advised) if _MISSING.search(reason) else RasterUnreachableError(advised)


def gdal_reason(error: BaseException | None) -> str:
    """The innermost message of GDAL, without signatures."""
    message = ""
    while error is not None:
        message, error = getattr(error, "errmsg", None) or str(error), error.__cause__
    return re.sub(r"\?[^\s,'\"]+|#\d+\b", "", message).strip().rstrip(".")
