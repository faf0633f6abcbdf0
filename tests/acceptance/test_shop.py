"""examples/shop under the troubles that it was written for."""

from __future__ import annotations

import asyncio
import re
import signal

import pytest

from devstack import Stack
from examples.shop.app import late
from examples.shop.reads import Product
from examples.shop.tickets import SentDifferently, Ticket, Tickets
from examples.shop.visits import COOKIE, Visits
from logsync import AppendOutcomeUnknown, AppendRejected, Receipt
from logsync.errors import LogIdentityError
from logsync.reading import Seen
from sinks.events import BasketPaid
from tests.acceptance.shopfront import Held, Shop, Visitor, hidden, until

# examples/shop without servers: one form is one order


class Scripted:
    """An AsyncProducer whose log does what the test says, answer by answer; None is success."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.calls: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def append(self, event: BasketPaid) -> Receipt:
        return await self._answer("append")

    async def retry(self, error: AppendOutcomeUnknown) -> Receipt:
        return await self._answer("retry")

    async def _answer(self, call: str) -> Receipt:
        self.calls.append(call)
        await self.gate.wait()
        answer = self.answers.pop(0)
        if answer is not None:
            raise answer
        return RECEIPT


RECEIPT = Receipt("e", "shop.events", 0, 7, "id", "basket.paid")
PRODUCTS = [Product(1, "GROCERY", "Milk"), Product(2, "GROCERY", "Eggs")]
UNKNOWN = AppendOutcomeUnknown("no answer", event_id="e", retry=lambda timeout: pytest.fail("it would block the loop"))


def clicks(log: Scripted, *forms: list[int]) -> list[type[Exception] | None]:
    """Send the form of one ticket with these quantities, one after the other; what came of each."""

    async def send() -> list[type[Exception] | None]:
        ticket, results = Ticket(PRODUCTS, 0), list[type[Exception] | None]()
        for form in forms:
            try:
                await ticket.place(log, 7, form)  # type: ignore[arg-type]
                results.append(None)
            except (AppendRejected, AppendOutcomeUnknown, SentDifferently) as error:
                results.append(type(error))
        return results

    return asyncio.run(send())


def test_after_an_unknown_outcome_the_form_only_retries() -> None:
    log = Scripted(UNKNOWN, UNKNOWN, None)
    assert clicks(log, [1, 2], [1, 2], [1, 2], [1, 2]) == [AppendOutcomeUnknown, AppendOutcomeUnknown, None, None]
    assert log.calls == ["append", "retry", "retry"]


def test_a_changed_form_is_refused_unless_surely_nothing_was_sent() -> None:
    assert clicks(Scripted(UNKNOWN), [1, 2], [1, 3]) == [AppendOutcomeUnknown, SentDifferently]
    assert clicks(Scripted(None), [1, 2], [1, 3]) == [None, SentDifferently]
    assert clicks(Scripted(AppendRejected("full"), None), [1, 2], [1, 3]) == [AppendRejected, None]


def test_a_double_click_and_a_visitor_who_leaves_append_once() -> None:
    async def send() -> list[str]:
        log, ticket = Scripted(None), Ticket(PRODUCTS, 0)
        log.gate.clear()
        left = asyncio.create_task(ticket.place(log, 7, [1, 0]))  # type: ignore[arg-type]
        while not log.calls:
            await asyncio.sleep(0)
        left.cancel()
        second = asyncio.create_task(ticket.place(log, 7, [1, 0]))  # type: ignore[arg-type]
        with pytest.raises(asyncio.CancelledError):
            await left
        log.gate.set()
        await second
        return log.calls

    assert asyncio.run(send()) == ["append"]


def test_tickets_are_bounded_and_expire() -> None:
    now = 0.0
    tickets = Tickets(limit=2, keep=60, clock=lambda: now)
    tokens = [tickets.issue(PRODUCTS) for _ in range(3)]
    assert [tickets.find(token) is not None for token in tokens] == [False, True, True]
    now = 61.0
    assert tickets.find(tokens[2]) is None


def test_receipts_are_kept_for_a_minute_and_for_so_many_visitors() -> None:
    now = 0.0
    visits = Visits(limit=2, keep=60, clock=lambda: now)
    names = [visits.note({}, RECEIPT._replace(offset=n)) for n in range(3)]
    kept = [visits.receipts({COOKIE: name}) for name in names]
    assert [len(found) for found in kept] == [0, 1, 1], "the one that ordered first was forgotten"
    assert visits.note({COOKIE: names[1]}, RECEIPT._replace(offset=9, type="basket.returned")) == names[1]
    assert len(visits.receipts({COOKIE: names[1]})) == 2
    assert visits.receipts({COOKIE: "guessed"}) == visits.receipts({}) == ()
    assert visits.note({COOKIE: "guessed"}, RECEIPT) not in ("guessed", *names), "nobody chooses the name of a visit"
    now = 61.0
    assert visits.receipts({COOKIE: names[1]}) == ()


class Unwell:
    """Views of a topic that was deleted and made again under the running shop."""

    def wait(self, *_: object, **__: object) -> Seen:
        raise LogIdentityError("it is another topic of this name")


def test_a_page_stands_although_nobody_can_tell_how_late_it_is() -> None:
    assert late(Unwell(), [RECEIPT], "search", 0.1) == "where it is cannot be told at the moment"  # type: ignore[arg-type]


# examples/shop: every test has a household and a product of its own, so none sees another's orders


def settled(shop: Shop, visitor: Visitor, household: int, product: int) -> Held:
    """What the stores hold of ``household`` once all have applied everything that is in the log by now.

    A marker order is placed behind it. The topic has one partition, so a store that shows the marker has
    applied everything before it.
    """
    marker = household + 1_000_000
    before = shop.held(marker, 24).sold
    page = visitor.order(marker, 24)
    visitor.sees(page, "Salmon fillet")
    until(lambda: shop.held(marker, 24).sold == tuple(n + 1 for n in before), "the marker is in all three stores")
    return shop.held(household, product)


ONE = Held(rows=1, counted=1, card=1, sold=(1, 1, 1))


def test_an_order_reaches_the_pages_of_all_three_stores(shop: Shop, visitor: Visitor) -> None:
    page = visitor.order(101, 1)
    visitor.sees(page, "Milk, whole")  # Postgres
    visitor.sees("/households/101", "<dd>1</dd>")  # Redis
    visitor.sees("/best?department=GROCERY", "Milk, whole")  # Redis
    visitor.sees("/?q=whole", "1 sold")  # OpenSearch
    assert settled(shop, visitor, 101, 1) == ONE


def test_a_visitor_sees_an_order_at_once_on_the_pages_of_all_three_stores(shop: Shop) -> None:
    patient = Visitor(shop.serve(SHOP_WAIT="120"))  # as patient as a test that asserts no time has to be
    assert "Spaghetti" in patient.http.get(patient.order(109, 9)).text
    assert "<dd>1</dd>" in patient.http.get("/households/109").text
    search = patient.http.get("/?q=spaghetti").text
    assert "1 sold" in search
    assert "Up to date with every order" in search


@pytest.mark.parametrize(("sink", "address", "says"), [
    ("db", None, "The database does not show it yet: it is 1 event behind"),
    ("cache", "/households/110", "The card does not count your last order yet: it is 1 event behind"),
    ("search", "/?q=roll", "What you just ordered is not counted here yet: it is 1 event behind"),
])  # fmt: skip
def test_a_page_whose_worker_stands_still_says_so(
    shop: Shop, visitor: Visitor, sink: str, address: str | None, says: str
) -> None:
    settled(shop, visitor, 110, 18)
    shop.workers[sink].send_signal(signal.SIGSTOP)
    try:
        order = visitor.order(110, 18)
        assert says in visitor.http.get(address or order).text
    finally:
        shop.workers[sink].send_signal(signal.SIGCONT)
    until(lambda: says not in visitor.http.get(address or order).text, "it has caught up")


def test_no_result_of_a_search_leads_to_a_page_that_is_not_there(visitor: Visitor) -> None:
    links = set(re.findall(r'href="(/products/\d+)"', visitor.http.get("/").text))
    assert len(links) == 24
    assert {visitor.http.get(link).status_code for link in links} == {200}
    assert visitor.http.get("/products/999999").status_code == 410


def test_search_finds_by_beginnings_and_narrows_by_facets(visitor: Visitor) -> None:
    found = visitor.http.get("/", params={"q": "che", "brand": "Private"}).text
    assert "Cheddar" in found
    assert "Gouda" not in found, "it is of the other brand"
    assert "Bananas" not in found


def test_a_form_sent_twice_is_one_order(shop: Shop, visitor: Visitor) -> None:
    form = visitor.form(2)
    first, second = visitor.pay(form, 102), visitor.pay(form, 102)
    assert (first.status_code, second.status_code) == (303, 303)
    assert first.headers["location"] == second.headers["location"]
    assert settled(shop, visitor, 102, 2) == ONE


def test_a_form_sent_again_with_other_contents_is_refused(shop: Shop, visitor: Visitor) -> None:
    form = visitor.form(3)
    assert visitor.pay(form, 103).status_code == 303
    answer = visitor.pay({**form, "quantity": [7]}, 103)
    assert answer.status_code == 409
    assert "what you sent first is what counts" in answer.text
    assert settled(shop, visitor, 103, 3) == ONE


def test_a_log_that_does_not_answer_is_503_and_trying_again_orders_once(
    shop: Shop, visitor: Visitor, stack: Stack
) -> None:
    form = visitor.form(4)
    visitor.order(204, 10)  # the producer connects with its first append; before that, nothing could be unknown
    stack.pause("kafka")
    try:
        answer = visitor.pay(form, 104)
        assert answer.status_code == 503
        assert "We do not know yet" in answer.text
        again = {"token": hidden(answer, "token")[0], "quantity": hidden(answer, "quantity")}
        assert again["token"] == form["token"]
        assert visitor.pay(again, 104).status_code == 503, "still no answer, still no guess"
        assert "Milk" in visitor.http.get("/?q=milk").text, "a log that is down takes no page with it"
    finally:
        stack.resume("kafka")
    assert visitor.pay(again, 104).status_code == 303
    assert settled(shop, visitor, 104, 4) == ONE


def test_orders_go_on_while_all_three_stores_are_down_and_appear_when_they_return(
    shop: Shop, visitor: Visitor, stack: Stack
) -> None:
    form = visitor.form(5)
    stores = ("postgres", "redis", "opensearch")
    for name in stores:
        stack.kill(name)
    try:
        answer = visitor.pay(form, 105)
        assert answer.status_code == 303
        page = answer.headers["location"]
        assert "Your order is on its way" in visitor.http.get(page).text
        assert visitor.http.get("/").status_code == 503
        assert visitor.http.get("/households/105").status_code == 503
    finally:
        stack.up(only=stores)
    visitor.sees(page, "Gouda, in wax")
    assert settled(shop, visitor, 105, 5) == ONE


def test_half_a_household_is_shown_while_one_of_its_two_stores_is_down(visitor: Visitor, stack: Stack) -> None:
    page = visitor.order(106, 6)
    visitor.sees(page, "Bread, white")
    stack.pause("redis")
    try:
        answer = visitor.http.get("/households/106")
    finally:
        stack.resume("redis")
    assert answer.status_code == 200
    assert "Redis does not answer" in answer.text
    assert page.split("?")[0] in answer.text


def test_a_token_of_another_process_is_not_guessed_about(shop: Shop, visitor: Visitor) -> None:
    form = visitor.form(7)
    other = Visitor(shop.serve())
    answer = other.pay(form, 107)
    assert answer.status_code == 409
    assert "We cannot tell" in answer.text
    assert 'href="/households/107"' in answer.text
    assert settled(shop, visitor, 107, 7) == Held(rows=0, counted=0, card=0, sold=(0, 0, 0))


def test_the_app_starts_without_kafka_and_says_so_per_order(shop: Shop) -> None:
    nobody = Visitor(shop.serve(LOGSYNC_KAFKA="127.0.0.1:9"))
    answer = nobody.pay(nobody.form(8), 108)
    assert answer.status_code == 503
    assert "Try again" in answer.text


@pytest.mark.parametrize(
    ("household", "quantity"), [(0, [1]), (108, [0]), (108, [100]), (108, [1, 1]), ("x", [1])], ids=str
)
def test_a_form_that_was_filled_in_wrongly_is_400(visitor: Visitor, household: object, quantity: list[int]) -> None:
    form = {**visitor.form(9), "quantity": quantity, "household_id": household}
    answer = visitor.http.post("/orders", data=form)
    assert answer.status_code == 400
    assert "<h1>" in answer.text, "an answer for people"


@pytest.mark.parametrize("path", ["/baskets/12345", "/nowhere"])
def test_what_is_not_there_is_404(visitor: Visitor, path: str) -> None:
    assert visitor.http.get(path).status_code == 404
