"""A federation as a page: one small server, live through server-sent events."""

from __future__ import annotations

from .server import PageServer, serve

__all__ = ["PageServer", "serve"]
