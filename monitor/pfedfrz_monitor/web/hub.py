"""The pages that are open, and what each of them still has to be told.

One task looks at the watch twice a second and says what changed to all pages at once, in the same
bytes. A page that does not keep up is let go of: its browser comes back and is told everything
anew, which is less than what it would have missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from pfedfrz_monitor.watch import Watch

from .picture import Picture, encode

__all__ = ["Hub", "Page", "TooManyPages"]

_STILL_THERE = b": still there\n\n"
_RATE_OVER_S = 4.0


class TooManyPages(Exception):
    """As many pages are open as may be."""


class Page:
    """One open page: a short queue of events."""

    def __init__(self, waiting_most: int) -> None:
        self._queue: deque[bytes] = deque()
        self._most = waiting_most
        self._news = asyncio.Event()
        self.is_new = True
        """Whether it has still to be told everything."""
        self.gone = asyncio.Event()
        """Set when it is to be told nothing more."""

    def tell(self, event: bytes) -> None:
        """Queue an event; a page whose queue is full is gone."""
        if len(self._queue) >= self._most:
            self.leave()
            return
        self._queue.append(event)
        self._news.set()

    def leave(self) -> None:
        """End it at once: what is queued is dropped."""
        self._queue.clear()
        self.gone.set()
        self._news.set()

    async def events(self) -> AsyncIterator[bytes]:
        """What it is told, until it is gone."""
        while not self.gone.is_set():
            await self._news.wait()
            self._news.clear()
            while self._queue:
                yield self._queue.popleft()


class Hub:
    """Tells pages what a watch sees. For the thread of one event loop."""

    def __init__(
        self,
        watch: Watch,
        labels: Mapping[str, str],
        *,
        period_s: float = 0.5,
        heartbeat_s: float = 10.0,
        most_pages: int = 32,
        waiting_most: int = 8,
        on_first_page: Callable[[], None] | None = None,
    ) -> None:
        """`on_first_page` is called once, when somebody looks for the first time."""
        self._watch = watch
        self._picture = Picture(labels, acts=watch.may_act)
        self._period_s = period_s
        self._heartbeat_s = heartbeat_s
        self._most_pages = most_pages
        self._waiting_most = waiting_most
        self._pages: set[Page] = set()
        self._wake = asyncio.Event()
        self._on_first_page = on_first_page
        self._closing = False
        self._now = 0.0
        self._counts: deque[tuple[float, int]] = deque()

    @property
    def page_count(self) -> int:
        """How many pages are open."""
        return len(self._pages)

    @contextlib.asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        """A page that has just been opened; raises TooManyPages."""
        if len(self._pages) >= self._most_pages or self._closing:
            raise TooManyPages
        page = Page(self._waiting_most)
        self._pages.add(page)
        self._wake.set()
        first, self._on_first_page = self._on_first_page, None
        if first is not None:
            first()
        try:
            yield page
        finally:
            self._pages.discard(page)

    def close(self) -> None:
        """End all pages and `run`."""
        self._closing = True
        self._wake.set()
        for page in self._pages:
            page.leave()

    async def run(self) -> None:
        """Tell pages what changes, until `close`."""
        due = spoke = time.monotonic()
        while not self._closing:
            now = time.monotonic()
            if self._pages and now >= due:
                due = now + self._period_s
                changes = await asyncio.to_thread(self._look)
                if changes and self._say("changes", changes):
                    spoke = now
            new = [page for page in self._pages if page.is_new]
            if new:
                if self._picture.revision < 0:
                    await asyncio.to_thread(self._look)
                event = self._encoded("snapshot", self._picture.whole())
                for page in new:
                    page.is_new = False
                    page.tell(event)
            if now - spoke >= self._heartbeat_s:
                spoke = now
                for page in list(self._pages):
                    page.tell(_STILL_THERE)
            await self._sleep(due - time.monotonic())

    async def _sleep(self, seconds: float) -> None:
        # Where nobody looks, nothing is done; the next page is told everything anyway.
        wait_s = max(0.01, seconds) if self._pages else None
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._wake.wait(), wait_s)
        self._wake.clear()

    def _look(self) -> dict[str, Any]:
        health = self._watch.health
        rate = self._rate(health.traffic.received_messages)
        with self._watch.reading() as view:
            self._now = view.clock()  # that of the run, which is not ours when one is replayed
            return self._picture.update(view, health, rate)

    def _rate(self, count: int) -> float:
        now = time.monotonic()
        self._counts.append((now, count))
        while len(self._counts) > 2 and self._counts[1][0] <= now - _RATE_OVER_S:
            self._counts.popleft()
        began, first = self._counts[0]
        return (count - first) / (now - began) if now > began else 0.0

    def _say(self, event: str, body: dict[str, Any]) -> bool:
        told = [page for page in self._pages if not page.is_new]
        if told:
            encoded = self._encoded(event, body)
            for page in told:
                page.tell(encoded)
        return bool(told)

    def _encoded(self, event: str, body: dict[str, Any]) -> bytes:
        return encode(event, self._picture.revision, {**body, "now": round(self._now, 2)})
