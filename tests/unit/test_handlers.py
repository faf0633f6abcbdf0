"""What is refused of a handler when it is registered, and what must not be."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, TypeVar
from unittest.mock import Mock

import pytest
from pydantic import BaseModel

from logsync import Event
from logsync.core.handlers import check_handler
from logsync.core.write import Write
from logsync.errors import ConfigError
from logsync.stores import postgres
from logsync.stores.postgres import Increment, Upsert
from tests.unit.shop import OrderCancelled, OrderPlaced

T = TypeVar("T", bound=OrderPlaced)
KEY = {"order": "1"}


async def waits(event: Event[OrderPlaced]) -> Upsert:
    return Upsert("orders", KEY)


async def waits_and_yields(event: Event[OrderPlaced]) -> AsyncIterator[Upsert]:
    yield Upsert("orders", KEY)


class Handlers:
    async def __call__(self, event: Event[OrderPlaced]) -> Upsert:
        return Upsert("orders", KEY)

    def method(self, event: Event[OrderPlaced]) -> Upsert:
        return Upsert("orders", KEY)

    async def waiting(self, event: Event[OrderPlaced]) -> Upsert:
        return Upsert("orders", KEY)

    @staticmethod
    def static(event: Event[OrderPlaced]) -> Upsert:
        return Upsert("orders", KEY)

    @classmethod
    def of_class(cls, event: Event[OrderPlaced]) -> Upsert:
        return Upsert("orders", KEY)


class Callable_:
    def __call__(self, event: Event[OrderPlaced]) -> Upsert:
        return Upsert("orders", KEY)


def of_another_type(event: Event[OrderCancelled]) -> Upsert:
    return Upsert("orders", KEY)


def of_two_others(event: Event[OrderCancelled | BaseException]) -> Upsert:  # type: ignore[type-var,unused-ignore]
    return Upsert("orders", KEY)


def returns_a_name_nobody_knows(event: Event[OrderCancelled]) -> Unknown:  # type: ignore[name-defined]  # noqa: F821
    return Upsert("orders", KEY)


def annotated(event: Annotated[Event[OrderCancelled], "x"]) -> Upsert:
    return Upsert("orders", KEY)


def of_its_data(order: OrderPlaced) -> Upsert:
    return Upsert("orders", {"order": order.order})


def forgets_to_return(event: Event[OrderPlaced]) -> None:
    writes = [Upsert("orders", KEY)]
    if event.data.cents > 0:
        writes.append(Upsert("totals", KEY, {"n": 1}))


def forgets_to_return_in_a_loop(event: Event[OrderPlaced]) -> None:
    for name in ("orders", "totals"):
        with open("/dev/null"):
            print(Upsert(name, KEY))


def forgets_to_yield_one(event: Event[OrderPlaced]) -> Iterator[Write]:
    yield Upsert("orders", KEY)
    postgres.Increment("totals", KEY, {"n": 1})


def drops_one_in_a_branch(event: Event[OrderPlaced]) -> Upsert | None:
    if event.data.cents < 0:
        Upsert(
            "refunds",
            KEY,
            {"cents": event.data.cents},
        )
        return None
    return Upsert("orders", KEY)


def returns_from_a_generator(event: Event[OrderPlaced]) -> Iterator[Write]:
    if event.data.cents < 0:
        return [Upsert("refunds", KEY)]  # type: ignore[return-value]
    yield Upsert("orders", KEY)


def takes_two(event: Event[OrderPlaced], store: object) -> Upsert:
    return Upsert("orders", KEY)


def takes_none() -> Upsert:
    return Upsert("orders", KEY)


def by_name_only(*, event: Event[OrderPlaced]) -> Upsert:
    return Upsert("orders", KEY)


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (waits, "`async def`"),
        (waits_and_yields, "`async def`"),
        (Handlers(), "`async def`"),
        (Handlers().waiting, "`async def`"),
        (functools.partial(waits), "`async def`"),
        (functools.partial(Handlers().waiting), "`async def`"),
        (of_another_type, "registered for OrderPlaced and written for OrderCancelled"),
        (functools.partial(of_another_type), "registered for OrderPlaced and written for OrderCancelled"),
        (of_two_others, "registered for OrderPlaced and written for OrderCancelled | BaseException"),
        (returns_a_name_nobody_knows, "registered for OrderPlaced and written for OrderCancelled"),
        (annotated, "registered for OrderPlaced and written for OrderCancelled"),
        (of_its_data, r"write `order: Event\[OrderPlaced\]`"),
        (forgets_to_return, r"makes writes \(Upsert\) and returns none"),
        (forgets_to_return_in_a_loop, r"makes writes \(Upsert\) and returns none"),
        (forgets_to_yield_one, "Increment, and drops it"),
        (drops_one_in_a_branch, "Upsert, and drops it"),
        (returns_from_a_generator, "returns a value as well"),
        (takes_two, "missing a required argument: 'store'"),
        (takes_none, "too many positional arguments"),
        (by_name_only, "too many positional arguments"),
        (Handlers.method, "register a bound method"),
        (Handlers, "found the class Handlers"),
        (functools.partial(Upsert, "orders"), "found the class functools.partial|found the class Upsert"),
        (Upsert, "found the class Upsert"),
        (42, "found a int"),
        ("order_placed", "found a str"),
        (Handlers.__dict__["of_class"], "found a"),
    ],
)
def test_a_handler_that_could_not_work_is_refused(handler: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_handler(handler, [OrderPlaced])


def by_helper(event: Event[OrderPlaced]) -> object:
    return made_elsewhere(event)


def made_elsewhere(event: Event[Any]) -> Upsert:
    return Upsert("orders", KEY)


def notes_nothing(event: Event[OrderPlaced]) -> None:
    """A type that is handled on purpose, and changes nothing."""


def returns_a_name(event: Event[OrderPlaced]) -> list[Write]:
    writes: list[Write] = []
    for n in range(3):
        writes.append(Upsert("orders", {"order": n}))
    return writes


def returns_a_choice(event: Event[OrderPlaced]) -> Upsert | None:
    return Upsert("orders", KEY) if event.data.cents else None


def returns_early(event: Event[OrderPlaced]) -> Upsert | None:
    if not event.data.cents:
        return None
    try:
        return Upsert("orders", KEY)
    finally:
        print("done")


def generator_that_ends_early(event: Event[OrderPlaced]) -> Iterator[Write]:
    if not event.data.cents:
        return
    yield from (Upsert("orders", {"order": n}) for n in range(3))
    for table in ("orders", "totals"):
        yield Upsert(table, KEY)
    return None


def asks_for_a_class(event: Event[OrderPlaced]) -> Write | None:
    found = made_elsewhere(event)
    print(found)
    if isinstance(found, Upsert):
        return found
    return None


def of_any(event: Event[Any]) -> Upsert:
    return Upsert("orders", KEY)


def of_a_base(event: Event[BaseModel]) -> Upsert:
    return Upsert("orders", KEY)


def of_both(event: Event[OrderPlaced | OrderCancelled]) -> Upsert:
    return Upsert("orders", KEY)


def of_either(event: Event[OrderPlaced] | Event[OrderCancelled]) -> Upsert:
    return Upsert("orders", KEY)


def of_a_variable(event: Event[T]) -> Upsert:
    return Upsert("orders", {"order": event.data.order})


def of_a_name_nobody_knows(event: Event[Unknown]) -> Upsert:  # type: ignore[name-defined]  # noqa: F821
    return Upsert("orders", KEY)


def not_annotated(event):  # type: ignore[no-untyped-def]
    return Upsert("orders", KEY)


def with_more(event: Event[OrderPlaced], table: str = "orders", *rest: object, **more: object) -> Upsert:
    return Upsert(table, KEY)


def decorated(function: Callable[[OrderPlaced], Upsert]) -> Callable[[Event[OrderPlaced]], Upsert]:
    @functools.wraps(function)
    def wrapper(event: Event[OrderPlaced]) -> Upsert:
        return function(event.data)

    return wrapper


@pytest.mark.parametrize(
    "handler",
    [
        by_helper, notes_nothing, returns_a_name, returns_a_choice, returns_early, generator_that_ends_early,
        asks_for_a_class, of_any, of_a_base, of_both, of_either, of_a_variable, of_a_name_nobody_knows, not_annotated,
        with_more, decorated(of_its_data), Handlers().method, Handlers.static, Handlers.of_class, Callable_(), Mock(),
        functools.partial(takes_two, store=1), lambda event: Upsert("orders", KEY), lambda event: None, print,
    ],
)  # fmt: skip
def test_a_handler_that_may_work_is_taken(handler: object) -> None:
    check_handler(handler, [OrderPlaced])


def test_a_handler_of_several_types_must_be_written_for_all() -> None:
    check_handler(of_both, [OrderPlaced, OrderCancelled])
    with pytest.raises(ConfigError, match="registered for OrderCancelled and written for OrderPlaced"):
        check_handler(returns_a_name, [OrderPlaced, OrderCancelled])


def test_the_writes_that_a_handler_names_are_known() -> None:
    assert check_handler(forgets_nothing, [OrderPlaced]) == {Upsert, Increment}
    assert check_handler(returns_a_name, [OrderPlaced]) == {Upsert}
    assert check_handler(of_its_kinds, [OrderPlaced]) == {Upsert, Increment}
    assert check_handler(by_helper, [OrderPlaced]) == set()


def forgets_nothing(event: Event[OrderPlaced]):  # type: ignore[no-untyped-def]
    yield postgres.Upsert("orders", KEY)
    yield from [Increment("totals", KEY, {"n": n}) for n in range(2)]


def of_its_kinds(event: Event[OrderPlaced]) -> Iterator[Upsert | Increment]:
    yield from ()


def test_messages_say_where_the_handler_is_written() -> None:
    with pytest.raises(ConfigError, match=rf"waits \(test_handlers.py:{waits.__code__.co_firstlineno}\)"):
        check_handler(waits, [OrderPlaced])
