"""An HTML document that stands alone: one style sheet, no script, no request to anywhere."""

from __future__ import annotations

from importlib import metadata
from urllib.parse import quote

from .markup import Element, element, render
from .palette import LIGHT
from .style import STYLE, style_digest

__all__ = ["document", "footer"]


def document(title: str, body: Element, style: str = STYLE) -> bytes:
    """The document around `body`; its policy admits `style` and nothing else."""
    page = element("html", {"lang": "en"}, _head(title, style), element("body", {}, body))
    return render(page)


def footer(files: str) -> Element:
    """The version, and which files have the same numbers."""
    version = metadata.version("pfedfrz")
    return element("footer", {}, f"pfedfrz {version}. The same numbers for programs: {files}.")


def _head(title: str, style: str) -> Element:
    policy = (
        f"default-src 'none'; style-src '{style_digest(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    icon = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" fill="{LIGHT.local}">'
        '<rect y="9" width="4" height="7" rx="1"/><rect x="6" y="5" width="4" height="11" rx="1"/>'
        '<rect x="12" width="4" height="16" rx="1"/></svg>'
    )
    return element(
        "head",
        {},
        element("meta", {"charset": "utf-8"}),
        element("meta", {"http-equiv": "Content-Security-Policy", "content": policy}),
        element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("meta", {"name": "color-scheme", "content": "light dark"}),
        element("meta", {"name": "referrer", "content": "no-referrer"}),
        element("title", {}, title),
        # Without an icon of its own a browser asks the server for one.
        element("link", {"rel": "icon", "href": f"data:image/svg+xml,{quote(icon)}"}),
        element("style", {}, style),
    )
