"""A real browser: Debian's Chromium, driven by Playwright, with nothing to phone home to."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, sync_playwright

PHONE, SMALL_PHONE, DESK = (390, 844), (320, 568), (1280, 900)
Scheme = Literal["light", "dark"]

CANDIDATES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for the tests of a file."""
    program = next(filter(None, map(shutil.which, CANDIDATES)), None)
    if program is None:
        missing = "no Chromium is here: sudo apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page, and what happened while it was opened."""

    page: Page
    requests: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def refuse(self, dialog: Dialog) -> None:
        """Note a dialog and close it."""
        self.dialogs.append(dialog.message)
        dialog.dismiss()


class OpenPage(Protocol):
    """Opens a file in a fresh profile."""

    def __call__(self, file: Path, size: tuple[int, int] = DESK, scheme: Scheme = "light") -> Opened:
        """Return the opened page."""


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Open a file in a fresh profile of a given size and colour scheme."""
    contexts: list[BrowserContext] = []

    def opened(file: Path, size: tuple[int, int] = DESK, scheme: Scheme = "light") -> Opened:
        width, height = size
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            offline=True,
        )
        contexts.append(context)
        found = Opened(context.new_page())
        found.page.on("request", lambda request: found.requests.append(request.url))
        found.page.on("console", lambda message: found.messages.append(message.text))
        found.page.on("pageerror", lambda error: found.messages.append(str(error)))
        found.page.on("dialog", found.refuse)
        found.page.goto(file.as_uri())
        return found

    yield opened
    for context in contexts:
        context.close()
