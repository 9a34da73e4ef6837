"""A file server that answers HTTP 403 without a live token, and the endpoint that gives tokens out."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from services.http_files import Faults, FileServer, _Handler, _Server, no_proxy


@dataclass
class SignedServer:
    """A running server; `{sign}/{account}/{container}` gives a token."""

    files: FileServer
    sign: str
    tokens: list[str] = field(default_factory=list)
    """All that were given out."""
    refused: int = 0


@contextmanager
def serve_signed(folder: Path, requests_per_token: int, faults: Faults | None = None) -> Iterator[SignedServer]:
    """Serves the files under `folder` to those with a token, which dies after some requests, long before it says."""
    with no_proxy():
        server = _Server(folder, faults)
        signed = SignedServer(server.files, f"{server.files.url}/token")
        server.RequestHandlerClass = type("Handler", (_SignedHandler,), {"gate": _Gate(signed, requests_per_token)})
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield signed
        finally:
            server.shutdown()
            server.hang_up()
            server.server_close()
            thread.join()


class _Gate:
    def __init__(self, signed: SignedServer, requests_per_token: int) -> None:
        self._signed = signed
        self._left: dict[str, int] = {}
        self._limit = requests_per_token
        self._lock = threading.Lock()

    def give(self) -> str:
        with self._lock:
            token = f"sig=t{len(self._signed.tokens)}"
            self._signed.tokens.append(token)
            self._left[token] = self._limit
            return token

    def admits(self, query: str) -> bool:
        token = "sig=" + parse_qs(query).get("sig", [""])[0]
        with self._lock:
            left = self._left.get(token, 0)
            self._left[token] = left - 1
            self._signed.refused += left < 1
            return left > 0


class _SignedHandler(_Handler):
    gate: _Gate

    def _send_file(self, path: str, *, truncate: bool) -> None:
        if path.startswith("/token/"):
            expiry = datetime.now(UTC) + timedelta(hours=1)
            body = json.dumps({"token": self.gate.give(), "msft:expiry": expiry.isoformat()}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)
        elif self.gate.admits(urlsplit(self.path).query):
            super()._send_file(path, truncate=truncate)
        else:
            self._send_status(403)
