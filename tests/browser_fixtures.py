"""A real Chromium without a window, for tests of pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Page, Request, Route, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# so that the browser asks nobody for anything
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WITHIN = ("file:", "data:", "blob:", "http://127.0.0.1:", "http://localhost:")


@dataclass
class Complaints:
    """What a page did that it should not.

    Attributes:
        console: errors and warnings in the browser's console, and exceptions of scripts.
        requests: addresses outside of this machine that were asked for; none is let through.
    """

    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def find_browser() -> str:
    """The Chromium of this machine; without one the test is skipped, or fails where NOISEGEN_NEEDS_BROWSER is set."""
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    if os.environ.get("NOISEGEN_NEEDS_BROWSER"):
        pytest.fail(f"no browser: none of {', '.join(BROWSERS)} is installed")
    pytest.skip(f"needs a browser: {' or '.join(BROWSERS)}")


@contextmanager
def browser_page(width: int = 1280, height: int = 900) -> Iterator[tuple[Page, Complaints]]:
    """An empty page of a new browser, and what it will complain of."""
    executable = find_browser()
    complaints = Complaints()

    def gate(route: Route, request: Request) -> None:
        if request.url.startswith(WITHIN):
            route.continue_()
        else:
            complaints.requests.append(request.url)
            route.abort()

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        try:
            page = browser.new_context(viewport={"width": width, "height": height}).new_page()
            page.route("**/*", gate)
            page.on(
                "console",
                lambda message: (
                    complaints.console.append(message.text) if message.type in ("error", "warning") else None
                ),
            )
            page.on("pageerror", lambda error: complaints.console.append(str(error)))
            yield page, complaints
        finally:
            browser.close()
