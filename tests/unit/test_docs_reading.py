"""The blocks of docs/reading.md run, in the frameworks that they are for, and do what the page says."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from pydantic import BaseModel

from logsync import Receipt
from logsync.core.book import Book
from logsync.core.position import LogIdentity, Position
from logsync.reading import Views
from logsync.settings import Settings
from logsync.stores.memory import Memory, Server
from tests.unit import shop
from tests.unit.test_docs import DOCS, blocks

INTRO, RECEIPTS, FASTAPI, FLASK, DJANGO, FRESHEST = blocks("reading.md")
ORDER = {"order": "1", "cents": 5}


class Log:
    """What stands in the log, and how far the stores are: nowhere, until ``work`` is called."""

    def __init__(self) -> None:
        self.events: list[BaseModel] = []
        self.server = Server()
        identity = LogIdentity("c", "test.shop", "id", 1)
        for name in ("db", "search", "cache"):
            handled = shop.make_sink().handled
            self.server.books[name] = Book(sink=name, environment="default", log=identity, handled=handled)
            self.server.positions[name] = {0: Position(0, 0)}

    def sink(self, name: str) -> Any:
        sink = shop.make_sink(Memory(self.server))
        sink.name = name
        return sink

    def append(self, event: BaseModel) -> Receipt:
        self.events.append(event)
        offset = len(self.events) - 1
        return Receipt(f"e{offset}", "test.shop", 0, offset, "id", shop.log.by_model[type(event)].name)

    def work(self, *names: str) -> None:
        for name in names or self.server.positions:
            self.server.positions[name] = {0: Position(0, len(self.events))}

    def orders(self) -> list[Any]:
        done = self.server.positions["db"][0].next_offset
        return [event.model_dump() for event in self.events[:done]]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    """The modules that the page names, over a log in memory."""
    log = Log()

    class Appends:
        def __init__(self, _: object) -> None:
            pass

        def append(self, event: BaseModel) -> Receipt:
            return log.append(event)

    class AppendsAsync(Appends):
        async def append(self, event: BaseModel) -> Receipt:  # type: ignore[override]
            return log.append(event)

        async def __aenter__(self) -> AppendsAsync:
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr("logsync.Producer", Appends)
    monkeypatch.setattr("logsync.AsyncProducer", AppendsAsync)
    monkeypatch.delenv("LOGSYNC_ENVIRONMENT", raising=False)
    module(monkeypatch, "shop")
    module(monkeypatch, "shop.events", OrderPlaced=shop.OrderPlaced, log=shop.log)
    module(monkeypatch, "shop.sinks", db=log.sink("db"), search=log.sink("search"))
    run(RECEIPTS, module(monkeypatch, "shop.receipts").__dict__)
    return log


def module(monkeypatch: pytest.MonkeyPatch, name: str, **values: object) -> types.ModuleType:
    made = types.ModuleType(name)
    made.__dict__.update(values)
    monkeypatch.setitem(sys.modules, name, made)
    return made


def run(block: str, namespace: dict[str, Any]) -> dict[str, Any]:
    exec(compile(block, "docs/reading.md", "exec", dont_inherit=True), namespace)
    return namespace


def check(place: Callable[[], Any], orders: Callable[[], Any], log: Log) -> None:
    """What the page promises of a store that is late, and then is not."""
    assert orders() == {"up_to_date": True, "orders": []}, "who wrote nothing waits for nothing"
    place()
    assert len(log.events) == 1
    assert orders() == {"up_to_date": False, "orders": []}
    log.work()
    assert orders() == {"up_to_date": True, "orders": [ORDER]}


def test_the_first_example_waits_and_says_when_it_is_late(log: Log) -> None:
    page = run(INTRO, {})
    assert page["place"](shop.OrderPlaced(**ORDER)).endswith("not up to date yet (behind).")
    append = log.append
    log.append = lambda event: (append(event), log.work("db"))[0]  # type: ignore[method-assign]
    assert page["place"](shop.OrderPlaced(**ORDER)) == "Here it is."
    page["views"].close()


def test_receipts_of_a_session_are_merged_and_forgotten_after_a_minute(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipts, session = import_module("shop.receipts"), dict[str, Any]()
    for _ in range(30):
        receipts.remember(session, log.append(shop.OrderPlaced(**ORDER)))
    session = json.loads(json.dumps(session))  # as a framework keeps it
    assert len(session["receipts"]) == 21
    assert [receipt.offset for receipt in receipts.remembered(session)] == [29]
    now = receipts.time.time()
    monkeypatch.setattr(receipts, "time", types.SimpleNamespace(time=lambda: now + 61))
    assert receipts.remembered(session) == ()


def test_fastapi(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastapi.testclient import TestClient

    async def all_orders() -> list[Any]:
        return log.orders()

    page = module(monkeypatch, "docs_reading_fastapi", all_orders=all_orders)
    with TestClient(run(FASTAPI, page.__dict__)["app"]) as client:
        check(lambda: client.post("/orders", json=ORDER), lambda: client.get("/orders").json(), log)


def test_flask(log: Log) -> None:
    page = run(FLASK, {"__name__": "docs_reading_flask", "all_orders": log.orders})
    client = page["app"].test_client()
    check(lambda: client.post("/orders", json=ORDER), lambda: client.get("/orders").get_json(), log)
    page["views"].close()


def test_django(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    import django
    from django.conf import settings
    from django.test import RequestFactory, override_settings

    if not settings.configured:
        settings.configure(DATABASES={}, USE_TZ=True)
        django.setup()
    page = run(DJANGO, {"all_orders": log.orders})
    requests, session = RequestFactory(), dict[str, Any]()

    def asked(view: str, request: Any) -> Any:
        request.session = session
        return page[view](request)

    def place() -> None:
        answer = asked("place", requests.post("/orders", json.dumps(ORDER), content_type="application/json"))
        assert (answer.status_code, answer.headers["Location"]) == (302, "/orders")

    module(monkeypatch, "docs_reading_urls", urlpatterns=[])
    with override_settings(ROOT_URLCONF="docs_reading_urls"):
        check(place, lambda: json.loads(asked("orders", requests.get("/orders")).content), log)
    page["views"].close()


def test_freshest(log: Log) -> None:
    with Views(log.sink("cache"), log.sink("db"), settings=Settings(_env_file=None)) as views:
        reads = {"from_cache": "cache {}".format, "from_database": "db {}".format}
        page = run(FRESHEST, {"Receipt": Receipt, "views": views, **reads})
        receipts = (log.append(shop.OrderPlaced(**ORDER)),)
        assert page["card"](receipts, "7") == "db 7"
        log.work("db")
        assert views.freshest(receipts, "cache", "db") == "db"
        log.work("cache")
        assert page["card"](receipts, "7") == "cache 7"
        assert page["card"]((), "7") == "cache 7"


def test_the_page_names_every_answer() -> None:
    from logsync.reading import State

    text = (DOCS / "reading.md").read_text()
    assert [state.name for state in State if f"`{state.name}`" not in text] == []
