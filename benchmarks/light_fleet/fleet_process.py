"""One process of a fleet: some thousand light clients, one thread, one selector."""

from __future__ import annotations

import resource
import time
from collections import deque
from multiprocessing.connection import Connection as Pipe

from pfedfrz_protocol import Presence, Topics

from .connections import Connection, Connections
from .ledger import Ledger
from .light_client import FleetMaterial, LightClient, Outgoing
from .orders import (
    FleetHeard,
    FleetPlayed,
    FleetSpec,
    FleetUp,
    Play,
    PlayYardstick,
    Quit,
    YardstickPlayed,
)
from .prepared import PreparedUpdates, make_bundle

__all__ = ["allow_many_files", "run_fleet"]

_CONNECTING_AT_ONCE = 100
_WAIT_S = 0.5
_LOOK_S = 0.001


def allow_many_files() -> None:
    """A connection is an open file: raise this process's limit as far as it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run_fleet(spec: FleetSpec, pipe: Pipe) -> None:
    """Connect the clients and do what the pipe says until it says Quit."""
    allow_many_files()
    _Fleet(spec, pipe).run()


class _Fleet:
    def __init__(self, spec: FleetSpec, pipe: Pipe) -> None:
        bundle = make_bundle(spec.parameters)
        updates = PreparedUpdates.make(bundle, spec.variants)
        material = FleetMaterial(spec.federation, bundle.manifest.digest, updates)
        self._spec, self._pipe = spec, pipe
        self._ledger = Ledger(spec.ledger)
        self._clients = [LightClient(n, material) for n in range(spec.first, spec.last)]
        self._connections = Connections(self._on_ready)
        self._connections.attend(pipe.fileno(), self._on_order)
        self._pairs: dict[Connection, LightClient] = {}
        self._by_index: dict[int, Connection] = {}
        self._up = 0
        self._round = 0
        self._heard = 0
        """Clients that have heard the newest round."""
        self._playing: set[LightClient] = set()
        """Selected clients without a verdict."""
        self._uploaded = self._published = self._received = 0
        self._before = (0, 0, 0)
        self._next_beat_s = time.monotonic() + spec.heartbeat_s
        self._beating: deque[LightClient] = deque()
        self._yardstick: PlayYardstick | None = None
        self._yardstick_waiting: deque[LightClient] = deque()
        self._yardstick_sending: set[Connection] = set()
        self._is_over = False

    def run(self) -> None:
        self._connect()
        while not self._is_over:
            self._beat()
            if self._yardstick is not None:
                self._feed_yardstick(self._yardstick)
            soon = self._yardstick is not None
            self._connections.step(_LOOK_S if soon else _WAIT_S / 10)
        self._connections.close()

    def _connect(self) -> None:
        began = time.monotonic()
        for client in self._clients:
            connection = Connection(
                client.client_id, client.filters, client.status(Presence.OFFLINE)
            )
            self._pairs[connection] = client
            self._by_index[client.index] = connection
            self._connections.open(connection, self._spec.host, self._spec.port)
            while len(self._pairs) - self._up >= _CONNECTING_AT_ONCE:
                self._connections.step(_WAIT_S)
        while self._up < len(self._clients):
            self._connections.step(_WAIT_S)
        for connection, client in self._pairs.items():
            self._publish(connection, client.status(Presence.ONLINE))
        self._connections.watch()
        self._pipe.send(FleetUp(len(self._clients), time.monotonic() - began))

    def _publish(self, connection: Connection, message: Outgoing) -> None:
        connection.publish(message)
        self._published += 1

    def _beat(self) -> None:
        """Heartbeats, evenly spread."""
        if not self._spec.heartbeat_s or not self._clients:
            return
        now = time.monotonic()
        while now >= self._next_beat_s:
            if not self._beating:
                self._beating.extend(self._clients)
            client = self._beating.popleft()
            self._publish(self._by_index[client.index], client.heartbeat())
            self._next_beat_s += self._spec.heartbeat_s / len(self._clients)

    # What comes in

    def _on_ready(self, connection: Connection) -> None:
        client = self._pairs[connection]
        if connection.is_up and not connection.is_counted:
            connection.is_counted = True
            self._up += 1
        if connection in self._yardstick_sending and not connection.is_uploading:
            self._yardstick_sending.discard(connection)
        while connection.received:
            message = connection.received.popleft()
            self._received += 1
            before = client.round
            outgoing, shall_upload = client.hear(message.topic, bytes(message.payload))
            for each in outgoing:
                self._publish(connection, each)
            if shall_upload:
                chunks = client.upload()
                self._published += len(chunks)
                self._uploaded += sum(len(chunk.payload) for chunk in chunks)
                connection.upload(chunks)
            if client.round != before:
                self._on_heard(client)
            if client.is_settled and client in self._playing:
                self._playing.discard(client)
                if not self._playing:
                    self._tell_played()

    def _on_heard(self, client: LightClient) -> None:
        if client.round > self._round:
            self._round, self._heard = client.round, 0
        self._heard += 1
        if self._heard == len(self._clients):
            selected = [each for each in self._clients if each.is_selected]
            size = sum(each.payload_bytes for each in selected)
            self._pipe.send(FleetHeard(self._round, time.monotonic(), size))

    def _on_order(self) -> None:
        order = self._pipe.recv()
        match order:
            case Play():
                self._playing = {client for client in self._clients if client.is_selected}
                self._before = self._counts()
                for client in self._clients:
                    if client in self._playing:
                        for message in client.open():
                            self._publish(self._by_index[client.index], message)
                self._connections.watch()
                if not self._playing:
                    self._tell_played()
            case PlayYardstick():
                self._yardstick = order
                self._uploaded = 0
                self._yardstick_waiting.extend(c for c in self._clients if c.is_selected)
            case Quit():
                self._is_over = True

    def _counts(self) -> tuple[int, int, int]:
        return (
            sum(client.accepted for client in self._clients),
            sum(client.rejected for client in self._clients),
            sum(client.granted for client in self._clients),
        )

    def _tell_played(self) -> None:
        at_s = time.monotonic()
        accepted, rejected, granted = (
            now - before for now, before in zip(self._counts(), self._before, strict=True)
        )
        self._pipe.send(
            FleetPlayed(
                *(at_s, accepted, rejected, granted),
                *(self._uploaded, self._published, self._received),
            )
        )
        self._uploaded = self._published = self._received = 0

    def _feed_yardstick(self, order: PlayYardstick) -> None:
        """Begin further uploads as long as a wave of them has room."""
        most = order.wave * order.payload_bytes
        while self._yardstick_waiting and (self._ledger.under_way + order.payload_bytes <= most):
            client = self._yardstick_waiting.popleft()
            connection = self._by_index[client.index]
            chunks = client.upload(Topics(order.federation))
            size = sum(len(chunk.payload) for chunk in chunks)
            self._ledger.add_sent(self._spec.place, size)
            self._uploaded += size
            connection.upload(chunks)
            self._yardstick_sending.add(connection)
            self._connections.watch_one(connection)
        if not self._yardstick_waiting and not self._yardstick_sending:
            self._yardstick = None
            self._pipe.send(YardstickPlayed(self._uploaded))
            self._uploaded = 0
