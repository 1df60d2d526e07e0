"""A link between one member and the broker: a TCP proxy that is as bad as it was told to be."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct

from pfedfrz_transport import BrokerAddress

from .link_conditions import SEGMENT_BYTES, LinkConditions, LinkPath

__all__ = ["LinkProxy"]

_LOOPBACK = "127.0.0.1"
_PLAIN_BYTES = 1 << 16
_IN_FLIGHT = 32
"""Segments between the two ends: a modem's buffer, 46 kB. More would let a sender believe that
everything has gone."""
_BUFFER_BYTES = 16 << 10
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of no time: the peer sees a reset and not an orderly end."""


class LinkProxy:
    """One member's link; its methods are called from its event loop."""

    def __init__(
        self, name: str, broker: BrokerAddress, conditions: LinkConditions, seed: int
    ) -> None:
        self._name = name
        self._broker = broker
        self._conditions = conditions
        self._seed = seed
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._paths: list[LinkPath] = []
        self._passable = asyncio.Event()
        self._passable.set()
        self._connections = 0
        self.port = 0
        self.cuts = 0
        """Connections that were reset."""

    @property
    def stalls(self) -> int:
        """Segments that were lost so far."""
        return sum(path.stalls for path in self._paths)

    async def open(self) -> None:
        """Listen on a free port of loopback, from now on `port`."""
        listening = socket.create_server((_LOOPBACK, 0))
        self._narrow(listening)
        self._server = await asyncio.start_server(self._serve, sock=listening)
        self.port = listening.getsockname()[1]
        if self._conditions.cut_every_s:
            self._keep(asyncio.create_task(self._cut_now_and_then()))

    async def close(self) -> None:
        """End every connection and listen no more."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.cut()

    def hold(self) -> None:
        """Let no byte through, either way, and no new connection: a partition."""
        self._passable.clear()

    def release(self) -> None:
        """Let everything through again, what was held first."""
        self._passable.set()

    def cut(self) -> int:
        """Reset every connection; how many members' there were."""
        count = (len(self._writers) + 1) // 2
        for writer in list(self._writers):
            with contextlib.suppress(OSError):
                end: socket.socket | None = writer.get_extra_info("socket")
                if end is not None:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        return count

    async def _cut_now_and_then(self) -> None:
        source = random.Random(f"{self._seed}/{self._name}/cuts")
        while True:
            await asyncio.sleep(source.expovariate(1 / self._conditions.cut_every_s))
            self.cuts += self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._keep(task)
        self._writers.add(writer)
        with contextlib.suppress(asyncio.CancelledError):
            try:
                await self._carry(reader, writer)
            finally:
                self._writers.discard(writer)
                writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        number = self._connections
        await self._passable.wait()
        try:
            onward = socket.create_connection((self._broker.host, self._broker.port), timeout=1.0)
        except OSError:
            return  # the broker is away: whoever connects sees a connection that ends
        self._narrow(onward)
        onward.setblocking(False)
        broker_reader, broker_writer = await asyncio.open_connection(sock=onward)
        self._writers.add(broker_writer)
        ways = ((reader, broker_writer, "up"), (broker_reader, writer, "down"))
        pumps = [
            asyncio.create_task(self._pump(one, other, f"{self._seed}/{self._name}/{number}/{way}"))
            for one, other, way in ways
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._writers.discard(broker_writer)
            broker_writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seed: str
    ) -> None:
        """Carry bytes one way until that way ends."""
        path = LinkPath(self._conditions, random.Random(seed))
        self._paths.append(path)
        in_flight: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_IN_FLIGHT)
        loop = asyncio.get_running_loop()
        size = _PLAIN_BYTES if self._conditions.is_plain else SEGMENT_BYTES

        async def deliver() -> None:
            while True:
                arrives_s, data = await in_flight.get()
                await asyncio.sleep(max(0.0, arrives_s - loop.time()))
                await self._passable.wait()
                if not data:
                    return
                writer.write(data)
                await writer.drain()

        delivering = asyncio.create_task(deliver())
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(size):
                    await in_flight.put((path.arrives_s(len(data), loop.time()), data))
                    if delivering.done():
                        break
                await in_flight.put((loop.time(), b""))
                await delivering
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)

    def _narrow(self, end: socket.socket) -> None:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._conditions.bytes_s:
            # The kernel's megabytes of buffer would swallow a whole upload at once.
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
