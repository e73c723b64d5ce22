"""A TCP relay: an address that stays while what is behind it changes, or stands still."""

import asyncio
import contextlib


class Relay:
    """Passes bytes between clients and a port of 127.0.0.1; without one it hangs up."""

    def __init__(self, target: int | None) -> None:
        self._target = target
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._streams: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None] | None] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    def stall(self) -> None:
        """Pass nothing on from now on, as a link that hangs."""
        self._flowing.clear()

    def switch(self, target: int | None) -> None:
        """Hang up on everybody and lead to another port from now on."""
        self._target = target
        for stream in list(self._streams):
            stream.transport.abort()
        self._flowing.set()

    async def close(self) -> None:
        """Hang up and stop listening."""
        self.switch(None)
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        while self._serving:
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._serving.add(task)
        try:
            await self._connect(reader, writer)
        finally:
            self._serving.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._target is None:
            writer.transport.abort()
            return
        try:
            behind, ahead = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._streams |= {writer, ahead}
        try:
            await asyncio.gather(self._pass(reader, ahead), self._pass(behind, writer))
        finally:
            self._streams -= {writer, ahead}

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                await self._flowing.wait()
                sink.write(data)
                await sink.drain()
        sink.transport.abort()
