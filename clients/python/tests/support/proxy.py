"""A TCP proxy before the service that loses connections and answers when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Proxy:
    """Passes bytes on, as long as it does."""

    def __init__(self, address: str) -> None:
        self._host, port = address.split(":")
        self._port = int(port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.url = ""
        #: How many connections were made.
        self.connections = 0
        #: Turns new connections away.
        self.refusing = False
        #: Takes in what is sent, and passes nothing on.
        self.black_hole = False
        #: How many calls it has taken in so.
        self.swallowed = 0
        #: Counts answers of the service from now on, and cuts the connection in place of passing them on, so often.
        self.lose_answers = 0
        # Bytes of the service that belong to the handshake: passed on also by one that loses answers.
        self._asked: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Ends all connections, as a network does: by a reset."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        self.connections += 1
        upstream_reader, upstream_writer = await asyncio.open_connection(self._host, self._port)
        self._writers |= {writer, upstream_writer}
        for source, target, answers in ((reader, upstream_writer, False), (upstream_reader, writer, True)):
            task = asyncio.ensure_future(self._pass(source, target, writer, answers))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
        answers: bool,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if self.black_hole:
                    if not answers:
                        self.swallowed += _headers(data)
                    continue
                # HEADERS of an answer: the only frames that begin a response to a call.
                if answers and self.lose_answers > 0 and _headers(data):
                    self.lose_answers -= 1
                    break
                target.write(data)
                await target.drain()
        for writer in (target, client):
            self._writers.discard(writer)
            writer.transport.abort()


def _headers(data: bytes) -> int:
    """How many HEADERS frames are among HTTP/2 bytes, which begin with a frame."""
    at = count = 0
    while at + 9 <= len(data):
        if data[at + 3] == 1:
            count += 1
        at += 9 + int.from_bytes(data[at : at + 3], "big")
    return count


@asynccontextmanager
async def proxied(address: str) -> AsyncIterator[Proxy]:
    """A proxy before a service."""
    proxy = Proxy(address)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
