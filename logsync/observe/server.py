"""The small server that tells an orchestrator of a worker's health, and Prometheus of its metrics.

One thread and a bounded number of connections, each with a bounded time, because any client that reaches it may hold
connections open: a thread for each of them ended a worker that had no file descriptors left for its store (seen, with
186). When there are too many, the oldest goes, so that the next probe is answered. A connection serves one request.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit

from logsync.observe.listening import Listening
from logsync.observe.metrics import OPENMETRICS, TEXT, Observed, metrics

log = logging.getLogger("logsync.health")
MOST = 64
"""Connections at a time."""
PATIENCE = 5.0
"""Seconds that a connection may last: request, answer, and the client's goodbye."""
_HEAD = 16 * 1024
"""Bytes of a request's head. No request here has a body."""
_PLAIN = "text/plain; charset=utf-8"


class Request(NamedTuple):
    """The parts of a request that matter here."""

    method: str
    path: str
    accept: str


class Answer(NamedTuple):
    status: HTTPStatus
    text: str
    kind: str = _PLAIN


class Health:
    """Serves /live, /ready and /metrics beside a loop. They tell states and numbers, and nothing of other servers."""

    def __init__(self, observed: Observed, listening: Listening, *, bound: float) -> None:
        """``bound``: seconds within which the loop turns. Listens at once; raises ConfigError."""
        self._observed, self._bound = observed, bound
        self._socket = listening.open()
        self.port = int(self._socket.getsockname()[1])
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="logsync-health", daemon=True)

    def __enter__(self) -> Health:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        # What clients and the system's limits do is no news of the worker's.
        self._loop.set_exception_handler(lambda _, about: log.debug("health: %s", about.get("message")))
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._meet, sock=self._socket, limit=_HEAD, backlog=MOST)
        try:
            await self._stop.wait()
        finally:
            server.close()
            for task in list(self._open):
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        if len(self._open) > MOST:
            oldest = next(iter(self._open))
            self._open.pop(oldest).transport.abort()
            oldest.cancel()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._converse(reader, writer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # the client went, or was too slow, or others came after it
        finally:
            self._open.pop(task, None)
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(0)  # drain returns when the client's side has taken all of it
        request = await _request(reader)
        answer = self.answer(request)
        writer.write(_bytes(answer, body=request is None or request.method != "HEAD"))
        await writer.drain()
        writer.write_eof()
        while await reader.read(_HEAD):  # closing before the client does could take the answer away from it
            pass

    def answer(self, request: Request | None) -> Answer:
        """The answer to a request; None stands for one that is none."""
        if request is None:
            return Answer(HTTPStatus.BAD_REQUEST, "expected an HTTP request\n")
        if request.method not in ("GET", "HEAD"):
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, "use GET or HEAD\n")
        try:
            return self._page(request)
        except Exception:
            log.exception("health cannot be told")
            return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, "see the worker's log\n")

    def _page(self, request: Request) -> Answer:
        now = time.monotonic()
        if request.path == "/metrics":
            asked = "application/openmetrics-text" in request.accept
            text = metrics(self._observed, now, openmetrics=asked)
            return Answer(HTTPStatus.OK, text, OPENMETRICS if asked else TEXT)
        if request.path == "/live":
            good, why = self._observed.alive(now, self._bound)
        elif request.path == "/ready":
            good, why = self._observed.ready(now)
        else:
            return Answer(HTTPStatus.NOT_FOUND, "use /live, /ready or /metrics\n")
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        return Answer(status, f"{'ok' if good else 'not ok'}: {why}\n")


async def _request(reader: asyncio.StreamReader) -> Request | None:
    """The next request, or None for what is none. Raises OSError if the client goes before its end."""
    lines: list[bytes] = []
    size = 0
    try:
        while (line := await reader.readline()).strip():
            size += len(line)
            if size > _HEAD:
                return None
            lines.append(line)
    except ValueError:  # a line without an end
        return None
    if not line:
        raise ConnectionResetError("the client went in the middle of its request")
    words = lines[0].decode("latin-1").split() if lines else []
    if len(words) != 3 or not words[2].startswith("HTTP/"):
        return None
    headers = dict(line.decode("latin-1").lower().partition(":")[::2] for line in lines[1:])
    try:
        path = urlsplit(words[1]).path
    except ValueError:
        return None
    return Request(words[0], path, headers.get("accept", ""))


def _bytes(answer: Answer, *, body: bool) -> bytes:
    text = answer.text.encode()
    head = [
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}",
        f"Content-Type: {answer.kind}",
        f"Content-Length: {len(text)}",
        "Connection: close",
        *(["Allow: GET, HEAD"] if answer.status is HTTPStatus.METHOD_NOT_ALLOWED else []),
    ]
    return "\r\n".join([*head, "", ""]).encode() + (text if body else b"")
