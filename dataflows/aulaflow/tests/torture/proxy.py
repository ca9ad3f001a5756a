"""A TCP proxy between a process and a broker, that can cut connections, hold them up, or slow them down."""

from __future__ import annotations

import asyncio
import threading

SLOW_S = 0.15
"""What a slow connection adds to every piece of data, in both directions."""
PIECE = 64 << 10


class Proxy:
    """Listens on one port and connects to another; runs in a thread of its own."""

    def __init__(self, listen: int, target: int) -> None:
        self.listen = listen
        self.target = target
        self.mode = "pass"
        """`pass`, `stall`, `slow`, or `refuse`."""
        self.open: set[asyncio.StreamWriter] = set()
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"proxy-{listen}", daemon=True)
        self.thread.start()
        if not self.ready.wait(10):
            raise RuntimeError(f"the proxy cannot listen on {listen}")

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.listen))
        self.ready.set()
        self.loop.run_forever()
        server.close()

    def cut(self, refuse: bool = False) -> None:
        """Breaks every connection off; new ones are refused from now on, or not."""
        self.mode = "refuse" if refuse else "pass"
        self.loop.call_soon_threadsafe(self._cut)

    def end(self) -> None:
        """Ends it."""
        self.cut(refuse=True)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)

    def _cut(self) -> None:
        for writer in list(self.open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "refuse":
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self.open |= {writer, back}
        try:
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        finally:
            self.open -= {writer, back}
            writer.transport.abort()
            back.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while piece := await source.read(PIECE):
                while self.mode == "stall":
                    await asyncio.sleep(0.05)
                if self.mode == "slow":
                    await asyncio.sleep(SLOW_S)
                sink.write(piece)
                await sink.drain()
        except OSError:
            pass
        finally:
            # Whoever closes one direction closes both: brokers and clients do not half-close.
            sink.transport.abort()
