"""A real browser, and what has to hold for every page that it opens."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from open_page import OpenPage, Window
from playwright.sync_api import Browser, sync_playwright


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's chromium."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("needs Debian's chromium: scripts/test-page")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    path = os.environ.get("PFEDFRZ_AXE")
    if path is None:
        pytest.skip("needs axe-core: scripts/test-page")
    return Path(path).read_text()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens pages; afterwards nothing may have gone wrong in any of them."""
    opener = OpenPage(browser)
    yield opener
    opener.close()
    opener.check()


@pytest.fixture(params=["light", "dark", "phone"])
def window(request: pytest.FixtureRequest) -> Window:
    """What people look with."""
    return {
        "light": Window("light"),
        "dark": Window("dark", scheme="dark"),
        "phone": Window("phone", width=360, height=740, scale=2.0),
    }[request.param]
