"""The address where Prometheus asks: an HTTP server on threads of its own that only reads."""

from __future__ import annotations

import logging
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from importlib.util import find_spec
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from pfedfrz_protocol import Bundle, ConfigurationError

from .configuration import CoordinatorSettings
from .instruments import Instruments
from .metrics_policy import MetricsPolicy

if TYPE_CHECKING:  # the package is an extra, and needed by those alone who are measured
    from prometheus_client import CollectorRegistry

__all__ = ["MetricsServer", "require_prometheus_client", "show_metrics"]

log = logging.getLogger(__name__)
_PATIENCE_S = 10.0
"""For a client that says nothing."""
_MOST_AT_ONCE = 8


def require_prometheus_client(policy: MetricsPolicy) -> None:
    """ConfigurationError where numbers are to be shown and the package for that is missing."""
    if policy.listen and find_spec("prometheus_client") is None:
        raise ConfigurationError(
            f'[metrics] listen = "{policy.listen}" needs the package prometheus-client; run: '
            "pip install 'pfedfrz[metrics]'"
        )


class _Handler(WSGIRequestHandler):
    timeout = _PATIENCE_S

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a line every fifteen seconds tells nobody anything."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64
    block_on_close = False
    """Nobody waits for a client that says nothing."""

    def __init__(self, family: socket.AddressFamily, address: tuple[object, ...]) -> None:
        self.address_family = family
        self._room = threading.BoundedSemaphore(_MOST_AT_ONCE)
        super().__init__(address, _Handler)  # type: ignore[arg-type]

    def server_bind(self) -> None:
        """Without the look for the machine's full name, which may ask a name server for long."""
        socketserver.TCPServer.server_bind(self)
        host, port = self.socket.getsockname()[:2]
        self.server_name, self.server_port = host, port
        self.setup_environ()

    def process_request(self, request: object, client_address: object) -> None:
        """Answer on a thread; close at once what comes while too many are answered."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)  # type: ignore[arg-type]
            return
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        """Answer, and make room for the next."""
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._room.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away in mid-answer is no fault of ours."""
        log.debug("a request for metrics from %s was not answered", client_address, exc_info=True)


class MetricsServer:
    """Shows a registry to whoever asks, from its making until it is closed."""

    def __init__(self, policy: MetricsPolicy, registry: CollectorRegistry) -> None:
        """Listen; ConfigurationError, in one line, where that cannot be."""
        from prometheus_client import make_wsgi_app

        host, port = policy.address()
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, _, _, _, address = found[0]
            self._server = _Server(family, address)
        except (OSError, UnicodeError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise ConfigurationError(
                f'[metrics] listen = "{policy.listen}": {reason}; choose an address of this '
                "machine and a port that is free"
            ) from error
        self._server.set_app(make_wsgi_app(registry))
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="metrics",
            daemon=True,
        )  # fmt: skip
        self._thread.start()
        log.info("metrics for Prometheus: %s", self.url)

    @property
    def url(self) -> str:
        """Where they are, with the port that was found for port 0."""
        host, port = self._server.server_address[:2]
        name = host.decode() if isinstance(host, bytes | bytearray) else str(host)
        return f"http://{f'[{name}]' if ':' in name else name}:{port}/metrics"

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def show_metrics(settings: CoordinatorSettings, bundle: Bundle) -> Iterator[Instruments | None]:
    """What the coordinator's loop feeds while its numbers are shown; None where nobody may ask.

    ConfigurationError, in one line, where the address cannot be had.
    """
    policy = settings.metrics
    if not policy.listen:
        yield None
        return
    from .prometheus_instruments import FederationFacts, PrometheusInstruments

    facts = FederationFacts(
        settings.federation,
        _version(),
        bundle.manifest.digest,
        settings.aggregation,
        settings.rounds.rounds,
    )
    instruments = PrometheusInstruments(facts, per_device=policy.per_device)
    server = MetricsServer(policy, instruments.registry)
    try:
        yield instruments
    finally:
        server.close()


def _version() -> str:
    try:
        return metadata.version("pfedfrz")
    except metadata.PackageNotFoundError:
        return "not installed"  # it runs from its sources
