"""A container of Azure Blob Storage on loopback: listings in pages, byte ranges, and tokens that expire."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from services.http_files import no_proxy


@dataclass
class BlobServer:
    """A running server: `{url}/{container}/...` are files, `{url}/sign/{account}/{container}` gives tokens."""

    folder: Path
    page_blobs: int = 5000
    token_uses: int | None = None
    """Requests after which a token is refused; None: no request needs a token."""
    url: str = ""
    requests: list[str] = field(default_factory=list)
    """Path and query of all requests but those for tokens."""
    tokens: int = 0
    """Tokens given out."""
    broken_every: int = 0
    """Every how many requests a file is cut off in the middle."""
    _uses: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def new_token(self) -> str:
        with self._lock:
            self.tokens += 1
            return f"sig=token{self.tokens}"

    def admits(self, query: str) -> bool:
        """Whether the token of a request is good; counts its uses."""
        if self.token_uses is None:
            return True
        match = re.search(r"sig=token\d+", query)
        with self._lock:
            if match is None or self._uses.get(match[0], 0) >= self.token_uses:
                return False
            self._uses[match[0]] = self._uses.get(match[0], 0) + 1
            return True


@contextmanager
def serve_blobs(server: BlobServer) -> Iterator[BlobServer]:
    """Runs the server; `server.url` has no slash at the end."""
    handler = type("Handler", (_Handler,), {"blobs": server})
    with no_proxy(), ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        server.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    blobs: BlobServer

    def do_GET(self) -> None:
        blobs, parts = self.blobs, urlsplit(self.path)
        path = unquote(parts.path).strip("/")
        if path.startswith("sign/"):
            expiry = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
            self._send(200, json.dumps({"token": blobs.new_token(), "msft:expiry": expiry}).encode())
            return
        blobs.requests.append(self.path)
        if not blobs.admits(parts.query):
            self._send(403, b"<Error/>")
        elif "comp=list" in parts.query:
            self._send(200, self._listing(path, {k: v[0] for k, v in parse_qs(parts.query).items()}))
        elif (file := blobs.folder / path).is_file():
            self._send_file(file.read_bytes())
        else:
            self._send(404, b"<Error/>")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _listing(self, container: str, query: dict[str, str]) -> bytes:
        root = self.blobs.folder / container
        names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        names = [name for name in names if name.startswith(query.get("prefix", ""))]
        first = int(query.get("marker", 0))
        last = first + self.blobs.page_blobs
        entries = "".join(
            f"<Blob><Name>{escape(name)}</Name><Properties><Content-Length>{(root / name).stat().st_size}"
            "</Content-Length></Properties></Blob>"
            for name in names[first:last]
        )
        marker = f"<NextMarker>{last}</NextMarker>" if last < len(names) else "<NextMarker />"
        return f"<EnumerationResults><Blobs>{entries}</Blobs>{marker}</EnumerationResults>".encode()

    def _send_file(self, content: bytes) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        first = int(match[1]) if match else 0
        self.send_response(206 if match else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        if self.command == "HEAD":
            return
        every = self.blobs.broken_every
        broken = every and len(self.blobs.requests) % every == 0
        self.wfile.write(content[first : (first + len(content)) // 2 if broken else None])
        self.close_connection = True

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """The log is `BlobServer.requests`."""
