"""Two web apps that only append, for the servers of test_webservers; and processes that fork and end."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from pydantic import BaseModel

from logsync import AppendOutcomeUnknown, AppendRejected, AsyncProducer, Log, Producer

log = Log(os.environ["LOGSYNC_TEST_TOPIC"])


@log.event("basket.paid", key="basket")
class Paid(BaseModel):
    basket: str


producer = Producer(log)
if os.environ.get("LOGSYNC_TEST_USED") == "1":
    producer.append(Paid(basket="before the fork"))  # what --preload forks is then a producer in use


def wsgi(environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    try:
        status, body = "200 OK", producer.append(Paid(basket=environ["PATH_INFO"])).event_id
    except (AppendRejected, AppendOutcomeUnknown) as error:
        status, body = "503 Service Unavailable", str(error)
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps([os.getpid(), body]).encode()]


Messages = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Asgi:
    producer: AsyncProducer

    async def __call__(self, scope: dict[str, Any], receive: Messages, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            async with AsyncProducer(log) as self.producer:
                await send({"type": "lifespan.startup.complete"})
                await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        try:
            status, body = 200, (await self.producer.append(Paid(basket=scope["path"]))).event_id
        except (AppendRejected, AppendOutcomeUnknown) as error:
            status, body = 503, str(error)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps([os.getpid(), body]).encode()})


asgi = Asgi()


def fork() -> None:
    """A producer in use is forked, and both sides go on and end like any interpreter."""
    tell(producer.append(Paid(basket="parent before")).event_id)
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            tell(producer.append(Paid(basket="child")).event_id)
            sys.exit(0)
        children.append(child)
        tell(producer.append(Paid(basket="parent after")).event_id)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))


def end_under_load() -> None:
    """The interpreter ends while daemon threads append; nobody closes anything."""
    enough = threading.Semaphore(0)

    def appends() -> None:
        while True:
            tell(producer.append(Paid(basket="b")).event_id)
            enough.release()

    for _ in range(8):
        threading.Thread(target=appends, daemon=True).start()
    for _ in range(200):
        enough.acquire()


def tell(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # one call: lines of several threads and processes stay whole


if __name__ == "__main__":
    {"fork": fork, "end": end_under_load}[sys.argv[1]]()
