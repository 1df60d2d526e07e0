"""The page's server: a thread of its own, on a socket that is ours before anything is promised."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType

import uvicorn

from pfedfrz_monitor.settings import WebSettings
from pfedfrz_monitor.watch import Watch
from pfedfrz_protocol import ConfigurationError, OperationError

from .access import Access, Listen
from .application import make_application
from .hub import Hub

__all__ = ["PageServer", "serve"]

_START_WITHIN_S = 10.0
_MOST_CONNECTIONS = 128
"""Browsers hold six at once; what is over is refused before it costs anything."""


class _Server(uvicorn.Server):
    """Ends the streams first: they would go on for as long as there are browsers."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._hub.close()
        await super().shutdown(sockets)


class PageServer:
    """Serves the page of a watch from `with` to its end, in a thread of its own.

    Raises ConfigurationError for a place that cannot be listened on. The watch is the caller's: it
    is neither started nor closed.
    """

    def __init__(
        self,
        watch: Watch,
        web: WebSettings | None = None,
        labels: Mapping[str, str] | None = None,
        *,
        on_first_page: Callable[[], None] | None = None,
    ) -> None:
        self._on_first_page = on_first_page
        self._watch = watch
        self._web = web or WebSettings()
        self._labels = labels or {}
        self._listen = Listen.parse(self._web.listen)
        self.access = Access.of(self._web, self._listen, acts=watch.may_act)

    @property
    def url(self) -> str:
        """The page's address, with the token where one is good for anything."""
        address = f"http://{self._listen.netloc}/"
        return f"{address}#token={self.access.token}" if self.access.needs_token else address

    def __enter__(self) -> PageServer:
        self._socket = _bind(self._listen)
        host, port = self._listen.host, self._socket.getsockname()[1]
        self._listen = Listen(host, port)
        self.access = replace(self.access, listen=self._listen)
        hub = Hub(self._watch, self._labels, on_first_page=self._on_first_page)
        self._server = _Server(
            uvicorn.Config(
                make_application(self._watch, hub, self.access),
                http="h11",
                ws="none",
                lifespan="on",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=_MOST_CONNECTIONS,
                timeout_graceful_shutdown=2,
            ),
            hub,
        )
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="page", daemon=True
        )
        self._thread.start()
        until = time.monotonic() + _START_WITHIN_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > until:
                self._socket.close()
                raise OperationError(f"the page's server did not start on {self._listen.netloc}")
            time.sleep(0.01)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


def serve(
    watch: Watch,
    web: WebSettings,
    labels: Mapping[str, str],
    *,
    say: Callable[[str], None],
    on_first_page: Callable[[], None] | None = None,
) -> None:
    """Serve the page until Ctrl-C; `say` gets its address.

    `on_first_page` is called once, when a page is opened for the first time.

    ConfigurationError for a place that cannot be listened on, or a token file that is not good.
    """
    page = PageServer(watch, web, labels, on_first_page=on_first_page)
    with contextlib.suppress(KeyboardInterrupt), page as server:
        say(f"the page is at {server.url}")
        if server.access.reading_needs_token:
            say(
                f"it listens on {web.listen}, not only on this machine, and nothing on its way is "
                "encrypted: whoever has the address with its token sees the federation"
                + (" and may act" if watch.may_act else "")
            )
        _forever()


def _forever() -> None:
    threading.Event().wait()


def _bind(listen: Listen) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigurationError(
            f"the page cannot listen on {listen.host!r}: no such address here"
        ) from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        why = os.strerror(error.errno).lower() if error.errno else str(error)
        raise ConfigurationError(
            f"the page cannot listen on {listen.host}:{listen.port}: {why}; "
            "give another: --web HOST:PORT"
        ) from error
    return bound
