"""Two web apps that wait for an event in three stores, for the servers of test_webservers; and a process that forks."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import psutil

from logsync import Receipt
from logsync.reading import Views
from tests.integration.worker import sinks
from tests.waiting import PATIENCE

views = Views(sinks.db, sinks.cache, sinks.search)
NAMES = tuple(sink.name for sink in (sinks.db, sinks.cache, sinks.search))
RECEIPT = Receipt.load(os.environ["READING_TEST_RECEIPT"])
INHERITED: list[int] = []
"""The ports of connections that were open before the fork."""
if os.environ.get("READING_TEST_USED"):
    views.wait(RECEIPT, *NAMES, timeout=PATIENCE)  # what --preload forks are then views in use
    INHERITED += [each.laddr.port for each in psutil.Process().net_connections("tcp")]


def wsgi(environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    seen = views.wait(RECEIPT, *NAMES, timeout=PATIENCE)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([os.getpid(), INHERITED, seen.state]).encode()]


async def asgi(
    scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Callable[..., Awaitable[None]]
) -> None:
    if scope["type"] == "lifespan":
        return
    import asyncio

    seen = await views.seen(RECEIPT, *NAMES, timeout=PATIENCE)
    loop = type(asyncio.get_running_loop()).__module__
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps([os.getpid(), [], seen.state, loop]).encode()})


def fork() -> None:
    """Views in use are forked while somebody waits, and both sides go on and end like any interpreter."""
    tell(views.wait(RECEIPT, *NAMES, timeout=PATIENCE).state)
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            tell(views.wait(RECEIPT, *NAMES, timeout=PATIENCE).state)
            sys.exit(0)
        children.append(child)
        tell(views.wait(RECEIPT, *NAMES, timeout=PATIENCE).state)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    tell(views.wait(RECEIPT, *NAMES, timeout=PATIENCE).state)  # the children's ends have taken nothing from this one
    sys.exit(max(codes))


def tell(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # one call: lines of several processes stay whole


if __name__ == "__main__":
    fork()
