"""The emulated network: every member's link to the broker, on one thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, TypeVar

from pfedfrz_transport import BrokerAddress

from .link_conditions import LinkConditions
from .link_proxy import LinkProxy

__all__ = ["EmulatedNetwork"]

Result = TypeVar("Result")


class EmulatedNetwork:
    """Links by the names of members; a context manager that closes them all."""

    def __init__(
        self, broker: BrokerAddress, links: Mapping[str, LinkConditions], seed: int
    ) -> None:
        """`links` says what each member's link is like; `seed` settles losses and cuts."""
        self._broker = broker
        self._links = dict(links)
        self._seed = seed
        self._proxies: dict[str, LinkProxy] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="emulated network")

    def url(self, name: str) -> str:
        """Where that member finds the broker."""
        return f"mqtt://127.0.0.1:{self._proxies[name].port}"

    def hold(self, names: Iterable[str]) -> None:
        """Cut these members off: their bytes wait, and so do their new connections."""
        self._each(names, LinkProxy.hold)

    def release(self, names: Iterable[str]) -> None:
        """End their partition."""
        self._each(names, LinkProxy.release)

    @property
    def cuts(self) -> int:
        """Connections that were reset so far."""
        return sum(proxy.cuts for proxy in self._proxies.values())

    @property
    def stalls(self) -> int:
        """Segments that were lost so far."""
        return sum(proxy.stalls for proxy in self._proxies.values())

    def __enter__(self) -> EmulatedNetwork:
        self._thread.start()
        try:
            self._run(self._open())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._run(self._close())
        finally:
            self._end()

    async def _open(self) -> None:
        for name, conditions in self._links.items():
            proxy = LinkProxy(name, self._broker, conditions, self._seed)
            await proxy.open()
            self._proxies[name] = proxy

    async def _close(self) -> None:
        for proxy in self._proxies.values():
            await proxy.close()

    def _each(self, names: Iterable[str], do: Any) -> None:
        for name in names:
            self._loop.call_soon_threadsafe(do, self._proxies[name])

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
