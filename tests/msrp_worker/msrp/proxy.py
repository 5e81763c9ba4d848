"""A TCP proxy between two endpoints that does harm: cuts, stalls, delivers one byte at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from msrp_worker.msrp.codec import Parser
from msrp_worker.msrp.frames import Data, Request


class Direction:
    """What one side has sent through the proxy."""

    def __init__(self) -> None:
        self.bytes = b""
        self.frames = 0
        self._parser = Parser()

    def take(self, data: bytes, stop_after: int | None) -> bytes:
        """Count frames; returns the part of data up to the end of frame number `stop_after`."""
        for at in range(len(data)):
            if stop_after is not None and self.frames >= stop_after:
                return data[:at]
            self.bytes += data[at : at + 1]
            for event in self._parser.feed(data[at : at + 1]):
                if not isinstance(event, Data) and not (isinstance(event, Request) and event.flag is None):
                    self.frames += 1
        return data


class Proxy:
    """One listening port; every connection to it is passed on to `port`."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.port = 0
        self.to_target = Direction()
        self.to_client = Direction()
        self.cut_after: tuple[int | None, int | None] = (None, None)
        """Frames towards the target and towards the client after which both connections are cut."""
        self.stalled = False
        """Pass nothing on, but keep the connections."""
        self.slice = 0
        """Bytes per write; 0: as they come."""
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers += [writer, back]
        for source, sink, direction, which in (
            (reader, back, self.to_target, 0),
            (there, writer, self.to_client, 1),
        ):
            task = asyncio.create_task(self._pass_on(source, sink, direction, which))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, direction: Direction, which: int
    ) -> None:
        try:
            while data := await source.read(65_536):
                limit = self.cut_after[which]
                allowed = direction.take(data, limit)
                while self.stalled:
                    await asyncio.sleep(0.001)
                step = self.slice or len(allowed) or 1
                for at in range(0, len(allowed), step):
                    sink.write(allowed[at : at + step])
                    await sink.drain()
                    if self.slice:
                        await asyncio.sleep(0)
                if limit is not None and direction.frames >= limit:
                    self.cut()
                    return
            sink.close()
        except ConnectionError:
            self.cut()

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def proxied(port: int, prepare: Callable[[Proxy], None] = lambda _: None) -> AsyncIterator[Proxy]:
    """A running proxy to this port."""
    proxy = Proxy(port)
    prepare(proxy)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        proxy.cut()
        server.close()
