"""A genuine STAC API on loopback (`rustac serve`)."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.http_files import no_proxy

START_S = 20


@contextmanager
def serve_stac(*hrefs: Path) -> Iterator[str]:
    """Serves collections, items and item collections from files; gives the URL of the landing page."""
    with no_proxy(), tempfile.TemporaryFile() as log:
        port = _free_port()
        url = f"http://127.0.0.1:{port}"
        program = Path(sys.executable).with_name("rustac")
        command = [str(program), "serve", "--addr", f"127.0.0.1:{port}", *map(str, hrefs)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait(url, process)
            yield url
        except ConnectionError as error:
            log.seek(0)
            raise RuntimeError(f"rustac does not serve {hrefs}: {log.read().decode()}") from error
        finally:
            process.terminate()
            process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.02)
        else:
            return
    raise ConnectionError(url)
