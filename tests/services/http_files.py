"""An HTTP/1.1 file server on loopback: byte ranges, a log of requests, and faults on purpose."""

from __future__ import annotations

import os
import random
import re
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

Fault = Literal["429", "500", "503", "timeout", "truncate", "reset"]


@dataclass(frozen=True)
class Faults:
    """What goes wrong, and how often."""

    kinds: tuple[Fault, ...]
    rate: float = 1.0
    """Probability that a request meets a fault."""
    seed: int = 0
    at_most: int | None = None
    """Number of faults after which all goes well."""
    retry_after_s: int | None = None
    """Value of the header `Retry-After` of answers 429 and 503."""
    only: str = ""
    """Regular expression that the path must match."""
    no_ranges: bool = False
    """Whether the server answers a byte range with the whole file."""


@dataclass(frozen=True)
class Request:
    """One request as it came in."""

    method: str
    path: str
    range: str | None
    body: bytes
    fault: Fault | None


@dataclass
class FileServer:
    """A running server."""

    url: str
    """Without a slash at the end."""
    requests: list[Request] = field(default_factory=list)
    """All requests so far, in the order of arrival."""


@contextmanager
def serve_files(folder: Path, faults: Faults | None = None) -> Iterator[FileServer]:
    """Serves the files under `folder`; a path without suffix is JSON, so that an API can be laid out as files."""
    with no_proxy():
        server = _Server(folder, faults)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.files
        finally:
            server.shutdown()
            server.hang_up()
            server.server_close()
            thread.join()


@contextmanager
def no_proxy() -> Iterator[None]:
    """Keeps requests to loopback away from a proxy that the environment may name."""
    before = {name: os.environ.get(name) for name in ("NO_PROXY", "no_proxy")}
    os.environ.update(dict.fromkeys(before, "127.0.0.1,localhost"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = False
    block_on_close = True

    def __init__(self, folder: Path, faults: Faults | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder.resolve()
        self.files = FileServer(f"http://127.0.0.1:{self.server_address[1]}")
        self.closing = threading.Event()
        self._faults = faults
        self._random = random.Random(faults.seed if faults else 0)
        self._num_faults = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()

    def receive(self, method: str, path: str, byte_range: str | None, body: bytes) -> Fault | None:
        """Logs a request and decides what goes wrong with it."""
        with self._lock:
            fault = self._draw(path)
            self.files.requests.append(Request(method, path, byte_range, body, fault))
            return fault

    def _draw(self, path: str) -> Fault | None:
        faults = self._faults
        if faults is None or not re.search(faults.only, path):
            return None
        if faults.at_most is not None and self._num_faults >= faults.at_most:
            return None
        if self._random.random() >= faults.rate:
            return None
        self._num_faults += 1
        return self._random.choice(faults.kinds)

    @property
    def no_ranges(self) -> bool:
        return self._faults is not None and self._faults.no_ranges

    @property
    def retry_after_s(self) -> int | None:
        return self._faults.retry_after_s if self._faults else None

    def get_request(self):
        connection, address = super().get_request()
        with self._lock:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Ends the connections that clients keep open."""
        self.closing.set()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request, client_address) -> None:
        """A client that goes away is no error of the server."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.receive(self.command, path, self.headers.get("Range"), body)
        if fault == "timeout":
            self.server.closing.wait(60)
            self.close_connection = True
        elif fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif fault and fault.isdigit():
            self._send_status(int(fault))
        else:
            self._send_file(path, truncate=fault == "truncate")

    def _send_status(self, status: int) -> None:
        body = b'{"code": "%d"}' % status
        self.send_response(status)
        if self.server.retry_after_s is not None:
            self.send_header("Retry-After", str(self.server.retry_after_s))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_file(self, path: str, *, truncate: bool) -> None:
        file = (self.server.folder / path.lstrip("/")).resolve()
        if not file.is_relative_to(self.server.folder) or not file.is_file():
            self._send_status(404)
            return
        size = file.stat().st_size
        header = None if self.server.no_ranges else self.headers.get("Range")
        span = _span(header, size)
        if span is None:
            self._send_status(416)
            return
        first, end = span
        self.send_response(206 if header else 200)
        if header:
            self.send_header("Content-Range", f"bytes {first}-{end - 1}/{size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", _content_type(file))
        self.send_header("Content-Length", str(end - first))
        self.end_headers()
        if self.command == "HEAD":
            return
        with file.open("rb") as content:
            content.seek(first)
            self.wfile.write(content.read((end - first) // (2 if truncate else 1)))
        self.close_connection = truncate

    def log_message(self, format: str, *args: object) -> None:
        """The log is `FileServer.requests`."""


def _span(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and end of a range header, or None where the file has no such bytes."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header or "bytes=0-")
    if match is None:
        return 0, size
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    end = min(int(last) + 1, size) if last else size
    return (int(first), end) if int(first) < size or size == 0 else None


def _content_type(file: Path) -> str:
    known = {".tif": "image/tiff", ".zip": "application/zip", ".html": "text/html", ".geojson": "application/geo+json"}
    return known.get(file.suffix, "application/json")
