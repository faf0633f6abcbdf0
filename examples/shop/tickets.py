"""One ticket per order form, so that sending the form again can never be a second order.

A browser sends a form twice more often than one thinks: a double click, a reload of an error page, "Try again"
after a timeout. All of these post the same unguessable token, and the ticket behind it knows what became of
the first attempt. What it cannot know (this process was restarted, the ticket expired) it does not guess.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from examples.shop.reads import Product
from logsync import AppendOutcomeUnknown, AppendRejected, AsyncProducer, Receipt
from sinks.events import BasketPaid, Line

STORE_ID = 1


class SentDifferently(Exception):
    """The form was already sent, with other contents."""


class Ticket:
    """What was offered, and what became of it. ``basket_id`` is chosen here: no store hands out numbers."""

    def __init__(self, products: Sequence[Product], issued: float) -> None:
        self.products = products
        self.issued = issued
        self.basket_id = secrets.randbits(62)
        self._lock = asyncio.Lock()  # the second of two clicks waits for what becomes of the first
        self._sent: tuple[int, tuple[Line, ...]] | None = None
        self._unknown: AppendOutcomeUnknown | None = None
        self._receipt: Receipt | None = None  # once it is placed

    async def place(self, producer: AsyncProducer, household_id: int, quantities: Sequence[int]) -> Receipt:
        """Return when the order is in the log, once, however often this is called.

        Raises AppendRejected (surely not in the log), AppendOutcomeUnknown (may be: call again), SentDifferently.
        """
        lines = tuple(
            Line(product_id=product.id, department=product.department, quantity=count, cents=count * product.cents)
            for product, count in zip(self.products, quantities, strict=True)
            if count
        )
        # A request may be cancelled; its attempt goes on, because otherwise nobody would learn its outcome.
        self._attempt = asyncio.ensure_future(self._place(producer, household_id, lines))
        return await asyncio.shield(self._attempt)

    async def _place(self, producer: AsyncProducer, household_id: int, lines: tuple[Line, ...]) -> Receipt:
        async with self._lock:
            if self._sent is not None and self._sent != (household_id, lines):
                raise SentDifferently
            if self._receipt is not None:
                return self._receipt
            event = BasketPaid(
                basket_id=self.basket_id,
                household_id=household_id,
                store_id=STORE_ID,
                paid_at=datetime.now(UTC),
                lines=lines,
            )
            self._sent = (household_id, lines)
            try:
                # After an unknown outcome only retry() may send it again: a new append could double the order.
                self._receipt = await (producer.retry(self._unknown) if self._unknown else producer.append(event))
            except AppendOutcomeUnknown as error:
                self._unknown = error
                raise
            except AppendRejected:
                if self._unknown is None:
                    self._sent = None  # surely nothing was sent: the form may still change
                raise
            return self._receipt


class Tickets:
    """The tickets of this process, at most ``limit`` and none older than ``keep`` seconds. A dropped one is safe:
    a visitor who still holds its token is told that we cannot tell."""

    def __init__(
        self, *, limit: int = 10_000, keep: float = 3_600, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit, self._keep, self._clock = limit, keep, clock
        self._tickets: dict[str, Ticket] = {}  # in the order of issue, so the oldest is the first

    def issue(self, products: Sequence[Product]) -> str:
        """A token for a form that offers these products."""
        while len(self._tickets) >= self._limit:
            del self._tickets[next(iter(self._tickets))]
        token = secrets.token_urlsafe(24)
        self._tickets[token] = Ticket(products, self._clock())
        return token

    def find(self, token: str) -> Ticket | None:
        ticket = self._tickets.get(token)
        if ticket is None or self._clock() - ticket.issued > self._keep:
            self._tickets.pop(token, None)
            return None
        return ticket
