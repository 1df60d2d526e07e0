"""HTML and SVG as a tree: whatever is put into it is escaped when it is written out."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree

__all__ = ["Child", "Element", "element", "render"]

Element = ElementTree.Element
Child = Element | str | None


def element(tag: str, attributes: Mapping[str, object] | None = None, *children: Child) -> Element:
    """A new element; text and None, which is nothing, may stand among its children.

    Attributes are text or numbers; numbers are written with two decimals at most, which is as much
    as positions in a drawing need.
    """
    node = Element(tag, {name: _value(value) for name, value in (attributes or {}).items()})
    last: Element | None = None
    for child in children:
        if isinstance(child, str):
            if last is None:
                node.text = (node.text or "") + child
            else:
                last.tail = (last.tail or "") + child
        elif child is not None:
            node.append(child)
            last = child
    return node


def render(page: Element) -> bytes:
    """The HTML document, UTF-8."""
    text = ElementTree.tostring(page, encoding="unicode", method="html")
    return ("<!DOCTYPE html>\n" + text + "\n").encode("utf-8", "backslashreplace")


def _value(value: object) -> str:
    if isinstance(value, float | int):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)
