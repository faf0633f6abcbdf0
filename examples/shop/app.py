"""A grocery shop that only appends: `uvicorn examples.shop.app:app`.

Orders go to the log and nowhere else. Pages read what the three sinks made of it: search from OpenSearch,
best sellers and the household's card from Redis, orders from Postgres. A store that is down takes its pages
with it and no order; a log that is down takes the orders with it and no page.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, TypedDict

from fastapi import FastAPI, Form, Query, Request
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from starlette.exceptions import HTTPException

from examples.shop.reads import FACETS, Product, StoreDown, Stores
from examples.shop.tickets import SentDifferently, Tickets
from examples.shop.visits import COOKIE, Visits, in_words
from logsync import AppendOutcomeUnknown, AppendRejected, AsyncProducer, LogsyncError, Receipt
from logsync.reading import Views
from logsync.settings import load_settings
from sinks import cache, db
from sinks import search as search_sink
from sinks.events import log

logger = logging.getLogger(__name__)
HERE = Path(__file__).parent
templates = Jinja2Templates(HERE / "templates")
templates.env.filters["money"] = lambda cents: f"${cents / 100:,.2f}"
tickets = Tickets()
visits = Visits()
WAIT, LOOK = float(os.environ.get("SHOP_WAIT", "0.5")), 0.1
"""Seconds that a page waits for what its visitor has just ordered, and for what others have."""


class State(TypedDict):
    producer: AsyncProducer
    stores: Stores
    views: Views


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
    """Starts with Kafka and every store down, too: none of them is needed to say so."""
    settings = load_settings()
    stores = Stores(settings)
    views = Views(db.sink, cache.sink, search_sink.sink, settings=settings)
    async with AsyncProducer(log, settings=settings) as producer:
        yield {"producer": producer, "stores": stores, "views": views}
    views.close()
    stores.close()


app = FastAPI(title="Corner shop", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")


def page(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    headers = {"Retry-After": "2"} if status == 503 else None
    return templates.TemplateResponse(request, f"{name}.html", values, status_code=status, headers=headers)


def mine(request: Request) -> tuple[Receipt, ...]:
    """What this visitor has just ordered."""
    return visits.receipts(request.cookies)


def late(views: Views, receipts: Sequence[Receipt], sink: str, timeout: float, *, searchable: bool = False) -> str:
    """Wait a moment until the sink's store has these orders; what to say if it does not."""
    try:
        return in_words(views.wait(receipts, sink, timeout=timeout, searchable=searchable))
    except LogsyncError:  # something for a person to mend, and no reason to show nothing
        logger.exception("how far sink %s is cannot be told", sink)
        return "where it is cannot be told at the moment"


Household = Annotated[int, Form(ge=1, le=10**9)]


# Pages. Plain functions: FastAPI runs them in threads, so their blocking clients hold up nobody.


@app.get("/")
def search(request: Request, q: str = "", department: str = "", brand: str = "", category: str = "") -> Response:
    given = {"department": department, "brand": brand, "category": category}
    chosen = {name: given[name] for name in FACETS if given[name]}
    stores: Stores = request.state.stores
    views: Views = request.state.views
    yours = late(views, mine(request), "search", WAIT, searchable=True)
    found = stores.search(q.strip(), chosen)
    shown, unsure = found.products, ""
    try:
        shown = stores.listed(found.products)  # so that no result leads to a page that is not there
    except StoreDown as error:
        unsure = error.store
    fresh = late(views, [visits.latest], "search", LOOK) if visits.latest is not None else None
    return page(
        request, "search", q=q.strip(), chosen=chosen, found=found, shown=shown, yours=yours, fresh=fresh, unsure=unsure
    )


@app.get("/products/{number}")
def product(request: Request, number: Annotated[int, InPath(ge=1, lt=2**63)]) -> Response:
    found = request.state.stores.product(number)
    if found is None:
        raise HTTPException(410, "This product was taken off the list.")
    return page(request, "product", number=number, product=found)


@app.get("/best")
def best_sellers(request: Request, department: str = "") -> Response:
    stores: Stores = request.state.stores
    departments = stores.departments()
    department = department or next(iter(departments), "")
    best = stores.best_sellers(department)
    names: dict[int, Product] = {}
    with suppress(StoreDown):  # the numbers are from Redis; without OpenSearch they lack their names
        names = {product.id: product for product in stores.products([id for id, _ in best])}
    return page(request, "best", departments=departments, department=department, best=best, names=names)


@app.get("/households")
def find_household(number: Annotated[int, Query(ge=1, le=10**9)]) -> Response:
    return RedirectResponse(f"/households/{number}", 303)


@app.get("/households/{number}")
def household(request: Request, number: Annotated[int, InPath(ge=1, le=10**9)]) -> Response:
    """Two stores on one page; each half stands without the other."""
    stores: Stores = request.state.stores
    card, orders, down = None, None, []
    late_card, late_orders = (late(request.state.views, mine(request), sink, WAIT) for sink in ("cache", "db"))
    try:
        card = stores.household(number)
    except StoreDown as error:
        down.append(error)
    try:
        orders = stores.orders(number)
    except StoreDown as error:
        down.append(error)
    return page(
        request, "household", 503 if len(down) == 2 else 200, number=number, card=card, orders=orders, down=down,
        late_card=late_card, late_orders=late_orders,
    )  # fmt: skip


@app.get("/baskets/{number}")
def basket(request: Request, number: Annotated[int, InPath(ge=1, lt=2**63)], placed: bool = False) -> Response:
    """A basket. ``placed``: it is in the log for sure, and the page waits for the database to have it."""
    why = late(request.state.views, mine(request), "db", WAIT) if placed else ""
    try:
        found = request.state.stores.basket(number)
    except StoreDown as error:
        if not placed:
            raise
        return page(request, "coming", number=number, down=error)
    if found is not None:
        return page(request, "basket", number=number, basket=found[0], lines=found[1])
    if placed:
        return page(request, "coming", number=number, why=why)
    raise HTTPException(404, "There is no such order.")


@app.get("/order")
def order_form(request: Request, product: Annotated[list[int], Query(max_length=50)] = []) -> Response:  # noqa: B006
    products = request.state.stores.products(list(dict.fromkeys(product)))
    if not products:
        raise HTTPException(400, "Choose at least one product first.")
    return page(request, "order", products=products, token=tickets.issue(products))


@app.get("/health")
async def health() -> dict[str, str]:
    """Alive, and no more: a restart would not mend Kafka, and would forget the orders that wait for a retry."""
    return {"status": "ok"}


# Orders. One line writes, and it writes to the log.


@app.post("/orders")
async def pay(
    request: Request,
    token: Annotated[str, Form()],
    household_id: Household,
    quantity: Annotated[list[Annotated[int, Form(ge=0, le=99)]], Form()],
) -> Response:
    ticket = tickets.find(token)
    if ticket is None:
        return page(request, "cannot_tell", 409, household_id=household_id)
    if len(quantity) != len(ticket.products) or not any(quantity):
        raise HTTPException(400, "Choose at least one of something.")
    again = {"token": token, "household_id": household_id, "quantity": quantity}
    try:
        receipt = await ticket.place(request.state.producer, household_id, quantity)
    except SentDifferently:
        return page(request, "sent_differently", 409, household_id=household_id)
    except AppendRejected:
        return page(request, "not_placed", 503, again=again, maybe=False)
    except AppendOutcomeUnknown:
        return page(request, "not_placed", 503, again=again, maybe=True)
    answer = RedirectResponse(f"/baskets/{ticket.basket_id}?placed=1", 303)
    answer.set_cookie(COOKIE, visits.note(request.cookies, receipt), httponly=True, samesite="lax")
    return answer


# What else can happen, as pages.


@app.exception_handler(StoreDown)
async def store_down(request: Request, error: StoreDown) -> Response:
    return page(request, "store_down", 503, error=error)


@app.exception_handler(RequestValidationError)
async def wrong_input(request: Request, error: RequestValidationError) -> Response:
    wrong = [f"{problem['loc'][1]}: {problem['msg']}" for problem in error.errors() if len(problem["loc"]) > 1]
    return page(request, "sorry", 400, title="That does not look right", wrong=wrong)


@app.exception_handler(HTTPException)
async def sorry(request: Request, error: HTTPException) -> Response:
    return page(request, "sorry", error.status_code, title=error.detail, wrong=[])
