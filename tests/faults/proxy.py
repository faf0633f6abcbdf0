"""A TCP relay in front of one server that can do to a connection what networks do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from tests.waiting import PATIENCE

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


class Proxy:
    """Listens on ``port`` as long as the process lives. The attributes are set by the test, at any moment."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self.delay = 0.0
        """Seconds that each piece waits, both ways."""
        self.refusing = False
        """Break every connection at once, and each new one."""
        self.swallowing = False
        """Half open: connections stand and new ones are taken, but no byte arrives at the other side."""
        self.lose_after: Callable[[], int] | None = None
        """How many more answers pass until one is cut off in its middle; asked again after each cut."""
        self.lost = 0
        """Answers that were cut off so far."""
        self.hold_at: tuple[bytes, int] | None = None
        """So many pieces after the one with these bytes, a request is held back, and all that follows it."""
        self.held = threading.Event()
        """One is held."""
        self._left = 0
        self._writers: set[Writer] = set()
        self._loop = asyncio.new_event_loop()
        self._released = asyncio.Event()
        threading.Thread(target=self._loop.run_forever, daemon=True, name="proxy").start()
        starting = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._relay, "127.0.0.1", 0), self._loop)
        self.port: int = starting.result(PATIENCE).sockets[0].getsockname()[1]

    def lose(self, after: Callable[[], int]) -> None:
        self._left, self.lose_after = after(), after

    def hold(self, at: bytes, after: int) -> None:
        self.held.clear()
        self._loop.call_soon_threadsafe(self._released.clear)
        self.hold_at = at, after

    def release(self) -> None:
        """What was held arrives now."""
        self._loop.call_soon_threadsafe(self._released.set)

    def break_all(self) -> None:
        """Reset every connection that stands now."""

        async def reset() -> None:
            for writer in self._writers:
                writer.transport.abort()

        asyncio.run_coroutine_threadsafe(reset(), self._loop).result(PATIENCE)

    def refuse(self) -> None:
        self.refusing = True
        self.break_all()

    def swallow(self) -> None:
        self.swallowing = True

    def pass_again(self) -> None:
        """No fault any more. Connections that lost bytes cannot go on: they are reset."""
        lossy = self.swallowing
        self.delay, self.refusing, self.swallowing, self.lose_after = 0.0, False, False, None
        if lossy:
            self.break_all()

    async def _relay(self, client: Reader, to_client: Writer) -> None:
        writers = {to_client}
        try:
            if self.refusing:
                return
            server, to_server = await asyncio.open_connection(*self._target)
            writers.add(to_server)
            self._writers |= writers
            both = (self._pump(client, to_server), self._pump(server, to_client, answers=True))
            _, other = await asyncio.wait(map(asyncio.ensure_future, both), return_when=asyncio.FIRST_COMPLETED)
            for task in other:  # one side has ended: so has the connection
                task.cancel()
        except OSError:
            pass  # the server is down; the client learns it the same way
        finally:
            self._writers -= writers
            for writer in writers:
                # What was written still arrives if the end is an orderly one.
                (writer.transport.abort if self.refusing else writer.close)()

    async def _pump(self, source: Reader, sink: Writer, *, answers: bool = False) -> None:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                if self.swallowing:
                    continue
                if self.delay:
                    await asyncio.sleep(self.delay)
                if not answers and self.hold_at is not None:
                    text, left = self.hold_at
                    if text in data:
                        text = b""
                    if not text and left == 0:
                        self.hold_at = None
                        self.held.set()
                        await self._released.wait()
                    elif not text:
                        self.hold_at = b"", left - 1
                if answers and self.lose_after is not None:
                    if self._left == 0:
                        self._left = self.lose_after()
                        self.lost += 1
                        sink.write(data[: len(data) // 2])
                        return
                    self._left -= 1
                sink.write(data)
                await sink.drain()
