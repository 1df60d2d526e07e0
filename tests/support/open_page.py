"""Pages in a browser, with a witness of all that they ask for and all that goes wrong in them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, BrowserContext, Page, Route

__all__ = ["OpenPage", "Window", "picture", "serious_faults", "whole"]


@dataclass(frozen=True)
class Window:
    """A screen."""

    name: str
    width: int = 1440
    height: int = 900
    scheme: Literal["light", "dark"] = "light"
    scale: float = 1.0


class OpenPage:
    """Opens pages and remembers what must not have happened."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.faults: list[str] = []
        self.requests: list[str] = []

    def __call__(self, url: str, window: Window | None = None, *, ready: bool = True) -> Page:
        window = window or Window("light")
        context = self._browser.new_context(
            viewport={"width": window.width, "height": window.height},
            color_scheme=window.scheme,
            device_scale_factor=window.scale,
            reduced_motion="reduce",
        )
        self._contexts.append(context)
        own = "/".join(url.split("/")[:3]) + "/"

        def on_route(route: Route) -> None:
            self.requests.append(route.request.url)
            if route.request.url.startswith(own):
                route.continue_()
            else:
                self.faults.append(f"asked for {route.request.url}")
                route.abort()

        context.route("**/*", on_route)
        page = context.new_page()
        page.on("pageerror", lambda error: self.faults.append(f"{error}\n{error.stack}"))
        page.on("console", lambda said: self._on_console(said.type, said.text))
        page.on("dialog", lambda dialog: self.faults.append(f"said {dialog.message}"))
        page.add_init_script(
            "addEventListener('securitypolicyviolation', (event) => console.error("
            "`content security policy: ${event.violatedDirective} ${event.blockedURI}`))"
        )
        page.goto(url)
        if ready:
            page.wait_for_selector("html[data-ready]")
        return page

    def _on_console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and "401" not in text and "ERR_" not in text:
            self.faults.append(f"{kind}: {text}")

    def close(self) -> None:
        """Close all pages."""
        for context in self._contexts:
            context.close()

    def check(self) -> None:
        """AssertionError with what went wrong in any page."""
        assert not self.faults, "\n".join(self.faults)


def whole(page: Page) -> None:
    """Make the window as high as the page, so that everything in it is drawn."""
    size = page.viewport_size
    assert size is not None
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": size["width"], "height": min(6000, height)})
    page.wait_for_timeout(700)


def picture(page: Page, name: str) -> None:
    """Keep a picture of the page, where pictures are wanted."""
    folder = os.environ.get("PFEDFRZ_PAGE_PICTURES")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png")


def serious_faults(page: Page, axe: str) -> list[str]:
    """What axe-core finds that is serious or critical, one line for each element."""
    page.evaluate(axe)
    found: list[dict[str, Any]] = page.evaluate("axe.run().then((found) => found.violations)")
    return [
        f"{fault['id']} ({fault['impact']}): {node['html'][:160]} {node.get('failureSummary', '')}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
