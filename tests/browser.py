"""A real browser for tests of pages: the system's headless Chromium, driven through playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class OpenPage:
    """A page, and what it said and asked for while it was open."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    """Errors and warnings of its console, and exceptions of its scripts."""
    requests: list[str] = field(default_factory=list)
    """Addresses that it asked for, but for its own file and what it carries inside."""


@contextmanager
def launched_chromium() -> Iterator[Browser]:
    """The browser; without one the test is skipped, or fails where CI is true."""
    executable = next((path for path in map(shutil.which, NAMES) if path), None)
    if executable is None:
        reason = f"no Chromium installed (looked for {', '.join(NAMES)}): apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened_page(browser: Browser, file: Path, *, width: int = 1280, scheme: str = "light") -> Iterator[OpenPage]:
    """A file in a fresh window of a given width (CSS pixels) and colour scheme (`light`, `dark`)."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    opened = OpenPage(page=context.new_page())
    page = opened.page
    page.on("console", lambda m: opened.complaints.append(m.text) if m.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    address = file.resolve().as_uri()
    page.on(
        "request",
        lambda request: (
            None if request.url == address or request.url.startswith("data:") else opened.requests.append(request.url)
        ),
    )
    try:
        page.goto(address)
        yield opened
    finally:
        context.close()
