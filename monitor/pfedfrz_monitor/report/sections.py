"""What sections of a page are made of."""

from __future__ import annotations

from .markup import Element, element

__all__ = ["heading", "region"]


def heading(text: str) -> Element:
    """The title of a section."""
    return element("h2", {}, text)


def region(name: str, content: Element, kind: str = "card scroll") -> Element:
    """Something wide or long; focusable, so that the keyboard can scroll it too."""
    frame = {"class": kind, "tabindex": "0", "role": "region", "aria-label": name}
    return element("div", frame, content)
