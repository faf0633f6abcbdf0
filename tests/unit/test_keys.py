"""What the key of an event is: one value, as its JSON says it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any

import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    field_serializer,
)

from logsync import AppendRejected, ConfigError, Log, Tombstone
from logsync.core.codec import encode
from tests.unit.models import NOW, Color, Pet, made


class Level(Enum):
    LOW = 7
    PAIR = (1, 2)


class Own(str):
    def __str__(self) -> str:
        return "something else"


class Upper(BaseModel):
    x: str

    @field_serializer("x")
    def loud(self, x: str) -> str:
        return x.upper()


KEYS: dict[str, tuple[Callable[[], BaseModel], str]] = {
    "str": (lambda: made(str)(id="1", x="ü"), "ü"),
    "an enum of str": (lambda: made(Color)(id="1", x=Color.RED), "red"),
    "an enum in a str": (lambda: made(str).model_construct(id="1", x=Color.RED), "red"),
    "an enum of int": (lambda: made(Level)(id="1", x=Level.LOW), "7"),
    "int": (lambda: made(int)(id="1", x=-5), "-5"),
    "bool": (lambda: made(bool)(id="1", x=True), "true"),
    "float": (lambda: made(float)(id="1", x=1.5), "1.5"),
    "Decimal": (lambda: made(Decimal)(id="1", x=Decimal("1.50")), "1.50"),
    "UUID": (lambda: made(uuid.UUID)(id="1", x=uuid.UUID(int=1)), "00000000-0000-0000-0000-000000000001"),
    "datetime": (lambda: made(datetime)(id="1", x=NOW), "2026-03-01T12:30:00Z"),
    "date": (lambda: made(date)(id="1", x=NOW.date()), "2026-03-01"),
    "bytes": (lambda: made(bytes)(id="1", x=b"ab"), "ab"),
    "bytes as base64": (
        lambda: made(bytes, config=ConfigDict(ser_json_bytes="base64", val_json_bytes="base64"))(id="1", x=b"\xff"),
        "_w==",
    ),
    "a str with a text of its own": (lambda: made(str).model_construct(id="1", x=Own("own")), "own"),
    "an alias that is written": (
        lambda: made(Color, Field(alias="y"), config=ConfigDict(serialize_by_alias=True))(id="1", y="red"),
        "red",
    ),
    "a number written as text": (
        lambda: made(Annotated[int, PlainSerializer(lambda number: f"n{number}")])(id="1", x=5),
        "n5",
    ),
    "a constrained str": (lambda: made(Annotated[str, Field(pattern="a")] | None, None)(id="1", x="a"), "a"),
}


@pytest.mark.parametrize("name", KEYS)
def test_a_key_is_what_the_json_says(name: str) -> None:
    event, expected = KEYS[name][0](), KEYS[name][1].encode()
    log = Log("t")
    log.event("e", key="x")(type(event))
    assert log.by_model[type(event)].key(event).encode() == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(Color.RED, "red"), (7, "7"), (True, "true"), (b"ab", "ab"), (NOW, "2026-03-01T12:30:00Z"), (Level.LOW, "7")],
)
def test_a_key_that_a_function_gives_is_written_as_json_writes_it(value: object, expected: str) -> None:
    log = Log("t")
    log.event("e", key=lambda _: value)(Pet)
    assert encode(log, Pet(name="tom"), event_id="i", time=NOW).key == expected.encode()


@pytest.mark.parametrize("value", [(1, 2), [1], {"a": 1}, Pet(name="a"), float("nan"), Level.PAIR, {1}, object()])
def test_what_is_not_one_value_is_no_key(value: object) -> None:
    log = Log("t")
    log.event("e", key=lambda _: value)(Pet)
    with pytest.raises(AppendRejected, match="key"):
        encode(log, Pet(name="tom"), event_id="i", time=NOW)


@pytest.mark.parametrize("value", [None, ""])
def test_an_event_without_a_key_is_refused(value: object) -> None:
    log = Log("t")
    log.event("e", key=lambda _: value)(Pet)
    with pytest.raises(AppendRejected, match="empty key"):
        encode(log, Pet(name="tom"), event_id="i", time=NOW)


@pytest.mark.parametrize("annotation", [list[str], dict[str, int], Pet, tuple[int, int] | None, set[int]])
def test_a_field_of_many_values_is_no_key(annotation: Any) -> None:
    with pytest.raises(ConfigError, match=r"its key is one value, and Made\.x is a"):
        Log("t").event("e", key="x")(made(annotation))


def test_a_tombstone_of_an_enum_ends_what_its_value_names() -> None:
    assert encode(Log("t"), Tombstone(key=Color.RED), event_id="i", time=NOW).key == b"red"
