"""An HTTP proxy in front of ClickHouse that breaks what it is told to: before the server has a request, in the middle of it,
or after the server has done what was asked and before the caller hears of it."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter

WAYS = {
    "refuse": "connections are broken off at once",
    "cut": "open connections are broken off, and new ones in the middle of the request",
    "fail before": "503, and the server never sees it",
    "fail after": "500, after the server has done it",
    "drop after": "the connection is broken off after the server has done it",
    "crawl": "the request goes on piece by piece, also after the caller has given up",
    "stall": "the answer comes much later, if the caller still waits",
}
"""What can be wrong with a request."""

CRAWL_PIECES = 12
CRAWL_S = 0.25
STALL_S = 2.5
PIECE = 64 << 10
ANSWERED = {
    "fail before": b"503 Service Unavailable",
    "fail after": b"500 Internal Server Error",
}


class HttpProxy:
    """Listens on one port and asks another; runs in a thread of its own. One request per connection."""

    def __init__(self, listen: int, target: int, seed: str) -> None:
        self.listen = listen
        self.target = target
        self.rng = random.Random(seed)
        self.way: str | None = None
        self.share = 0.0
        """How many of the requests meet it."""
        self.done: Counter[str] = Counter()
        """What was done to requests."""
        self.open: set[asyncio.StreamWriter] = set()
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"proxy-{listen}", daemon=True)
        self.thread.start()
        if not self.ready.wait(10):
            raise RuntimeError(f"the proxy cannot listen on {listen}")

    def be(self, way: str | None, share: float = 1.0) -> None:
        """From now on this is wrong with so many of the requests; `None`: nothing is."""
        assert way is None or way in WAYS, way
        self.way, self.share = way, share
        if way in ("refuse", "cut"):
            self.loop.call_soon_threadsafe(self._cut)

    def end(self) -> None:
        """Ends it."""
        self.be("refuse")
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.listen))
        self.ready.set()
        self.loop.run_forever()
        server.close()

    def _cut(self) -> None:
        for writer in list(self.open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        try:
            await self._exchange(reader, writer)
        except (OSError, EOFError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            writer.transport.abort()
        finally:
            self.open.discard(writer)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way = self.way if self.rng.random() < self.share else None
        if way == "refuse":
            self.done[way] += 1
            writer.transport.abort()
            return
        request = await whole_request(reader)
        if way:
            self.done[way] += 1
        if way == "fail before":
            await answer(writer, ANSWERED[way])
            return
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            if way == "cut":
                back.write(request[: len(request) * self.rng.randrange(1, 10) // 10])
                await back.drain()
                writer.transport.abort()
                return
            if way == "crawl":
                step = max(1, len(request) // CRAWL_PIECES)
                for at in range(0, len(request), step):
                    back.write(request[at : at + step])
                    await back.drain()
                    await asyncio.sleep(CRAWL_S)
            else:
                back.write(request)
                await back.drain()
            if way in ("fail after", "drop after"):
                while await there.read(PIECE):
                    pass
                if way == "fail after":
                    await answer(writer, ANSWERED[way])
                else:
                    writer.transport.abort()
                return
            if way == "stall":
                await asyncio.sleep(STALL_S)
            while piece := await there.read(PIECE):
                writer.write(piece)
                await writer.drain()
        finally:
            back.transport.abort()


async def whole_request(reader: asyncio.StreamReader) -> bytes:
    """A request with its body. The server is asked to close the connection after its answer, which tells where it ends."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *rest = head[:-4].split(b"\r\n")
    fields = [line for line in rest if not line.lower().startswith(b"connection:")]
    body, length = b"", 0
    for line in fields:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
        if name.lower() == b"transfer-encoding" and b"chunked" in value.lower():
            length = -1
    if length >= 0:
        body = await reader.readexactly(length)
    else:
        pieces = []
        while True:
            size = await reader.readuntil(b"\r\n")
            count = int(size.split(b";")[0], 16)
            # The last one is followed by an empty line: no trailers are sent here.
            pieces += [size, await reader.readexactly(count + 2)]
            if count == 0:
                break
        body = b"".join(pieces)
    return b"\r\n".join([first, *fields, b"Connection: close", b"", b""]) + body


async def answer(writer: asyncio.StreamWriter, status: bytes) -> None:
    """An answer of our own, such as a proxy gives."""
    text = b"the proxy has no better answer\n"
    head = b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(text)
    writer.write(head + text)
    await writer.drain()
