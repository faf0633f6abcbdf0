"""Models that are no events, events that would not come back, and records that lack what a model has gained."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    FutureDate,
    Json,
    PastDatetime,
    PrivateAttr,
    RootModel,
    SecretBytes,
    SecretStr,
    computed_field,
    create_model,
    field_serializer,
    model_validator,
)
from pydantic.alias_generators import to_camel

from logsync import AppendRejected, ConfigError, Log
from logsync.core.codec import Decoder, encode
from logsync.core.event import Decoded, Event, Headers, Record, Undecodable
from logsync.core.models import JsonModel
from tests.unit.models import NOW, Pet, made

GOOD: Headers = [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_type", b"e")]


def registered(model: type[BaseModel]) -> Log:
    log = Log("t")
    log.event("e", key=lambda _: "k")(model)
    return log


def through(event: BaseModel) -> Any:
    log = registered(type(event))
    coded = encode(log, event, event_id="i", time=NOW)
    found = Decoder(log, ["e"])(Record(0, 0, coded.key, coded.value, coded.headers))
    assert isinstance(found, Event)
    return found.data


def decoded(model: type[BaseModel], value: bytes) -> Decoded:
    return Decoder(registered(model), ["e"])(Record(0, 7, b"k", value, GOOD))


class Nested(BaseModel):
    at: int = Field(alias="atAll")


class Computed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    cents: int

    @computed_field
    @property
    def euros(self) -> float:
        return self.cents / 100


class Kept(BaseModel):
    id: str
    _seen: str = PrivateAttr(default_factory=lambda: uuid.uuid4().hex)


@dataclasses.dataclass
class Place:
    at: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)


CAMEL = ConfigDict(alias_generator=to_camel)


LOST: dict[str, tuple[Callable[[], type[BaseModel]], str]] = {
    "an alias": (lambda: made(int, Field(alias="y")), "Made.x is written as 'x' and read as 'y'"),
    "an alias of an optional field": (lambda: made(int, Field(3, alias="y")), "read as 'y'"),
    "a validation alias": (lambda: made(int, Field(validation_alias=AliasChoices("y", "z"))), "read as 'y' or 'z'"),
    "a path": (lambda: made(int, Field(validation_alias=AliasPath("y", 0))), "read as 'y'"),
    "an alias generator": (lambda: create_model("Made", __config__=CAMEL, a_b=(int, 0)), "read as 'aB'"),
    "an alias that is only written": (
        lambda: made(int, Field(serialization_alias="y"), config=ConfigDict(serialize_by_alias=True)),
        "written as 'y' and read as 'x'",
    ),
    "a nested alias": (lambda: made(list[Nested | None]), "Nested.at is written as 'at'"),
    "exclude": (lambda: made(int, Field(exclude=True)), "Made.x is excluded"),
    "exclude with a default": (lambda: made(int, Field(0, exclude=True)), "Made.x is excluded"),
    "a computed field that is forbidden": (lambda: Computed, "the computed field 'euros'"),
    "Json": (lambda: made(Json[list[int]] | None, None), "read from a string"),
    "SecretStr": (lambda: made(SecretStr), "secret"),
    "a list of SecretBytes": (lambda: made(list[SecretBytes]), "secret"),
    "bytes written as base64 only": (lambda: made(bytes, config=ConfigDict(ser_json_bytes="base64")), "ser_json_bytes"),
    "bytes read as hex only": (lambda: made(bytes | None, config=ConfigDict(val_json_bytes="hex")), "ser_json_bytes"),
    "a function": (lambda: made(Callable[[], int]), "a function"),
    "a class": (lambda: made(type[int]), "a class"),
    "an iterator": (lambda: made(Iterable[int]), "an iterator"),
    "an object": (lambda: made(JsonModel, config=ConfigDict(arbitrary_types_allowed=True)), "an object"),
    "a date in the future": (lambda: made(FutureDate), "with the clock"),
    "a time in the past": (lambda: made(list[PastDatetime] | int), "with the clock"),
    "a private attribute made anew": (lambda: Kept, "Kept._seen"),
    "a dataclass whose field is made anew": (lambda: made(Place), "the field at of a dataclass"),
}


@pytest.mark.parametrize("name", LOST)
def test_a_model_that_cannot_come_back_is_refused_when_it_is_registered(name: str) -> None:
    model, says = LOST[name]
    with pytest.raises(ConfigError, match=r"event e: .* cannot be an event") as caught:
        registered(model())
    assert says in caught.value.message
    assert caught.value.fix


class Repaired(BaseModel):
    lines: list[int]
    total: int = Field(0, exclude=True)

    @model_validator(mode="after")
    def add_up(self) -> Repaired:
        self.__dict__["total"] = sum(self.lines)
        return self


class Initialised(BaseModel):
    lines: list[int]
    total: int = Field(0, exclude=True)

    def model_post_init(self, _: Any) -> None:
        self.__dict__["total"] = sum(self.lines)


class Renamed(BaseModel):
    old: int = Field(alias="new")

    @model_validator(mode="before")
    @classmethod
    def rename(cls, data: Any) -> Any:
        return {"new": data["old"]} if "old" in data else data


class Written(BaseModel):
    body: Json[list[int]]
    token: SecretStr

    @field_serializer("body")
    def as_text(self, body: list[int]) -> str:
        return str(body)

    @field_serializer("token")
    def openly(self, token: SecretStr) -> str:
        return token.get_secret_value()


class Tree(BaseModel):
    of: list[Tree] = []


class Numbers(RootModel[list[int]]):
    pass


class Ignoring(Computed):
    model_config = ConfigDict(extra="ignore")


BOTH = ConfigDict(alias_generator=to_camel, serialize_by_alias=True)


SURVIVE: dict[str, Callable[[], BaseModel]] = {
    "aliases read and written": lambda: create_model("Made", __config__=BOTH, a_b=(int, ...))(aB=3),
    "aliases, and names are read": lambda: made(int, Field(alias="y"), config=ConfigDict(populate_by_name=True))(
        id="1", y=3
    ),
    "a choice that the name is among": lambda: made(int, Field(validation_alias=AliasChoices("y", "x")))(id="1", y=3),
    "a lost field that a validator makes again": lambda: Repaired(lines=[1, 2]),
    "a lost field that model_post_init makes again": lambda: Initialised(lines=[1, 2]),
    "a lost field that comes from the others": lambda: made(
        str, Field(default_factory=lambda data: data["id"] + "x", exclude=True)
    )(id="1"),
    "a lost field that has one value": lambda: made(Any, ..., kind=(Annotated[Any, None], "a"))(id="1", x=None),
    "a name that a validator renames": lambda: Renamed(new=3),
    "what the user writes in their own way": lambda: Written(body="[1, 2]", token="s"),  # type: ignore[arg-type]
    "a model in itself": lambda: Tree(of=[Tree(), Tree(of=[Tree()])]),
    "a root model": lambda: Numbers([1, 2]),
    "a computed field that is ignored": lambda: Ignoring(cents=3),
    "bytes as base64": lambda: made(bytes, config=ConfigDict(ser_json_bytes="base64", val_json_bytes="base64"))(
        id="1", x=b"\xff\x00"
    ),
    "inf as a string": lambda: made(float, config=ConfigDict(ser_json_inf_nan="strings"))(id="1", x=float("inf")),
    "extra fields of JSON": lambda: made(int, config=ConfigDict(extra="allow"))(id="1", x=1, more={"a": [1, None]}),
    "an empty model": lambda: create_model("Made")(),
    "as deep as a parser goes": lambda: made(Any)(id="1", x=deep(190)),
    "an integer of 4,000 digits": lambda: made(int)(id="1", x=10**4000),
}


def deep(levels: int) -> Any:
    found: Any = 1
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize("name", SURVIVE)
def test_a_model_that_comes_back_is_an_event_however_odd_it_is(name: str) -> None:
    event = SURVIVE[name]()
    assert through(event) == event


def changed(event: BaseModel, **values: Any) -> BaseModel:
    """As it is after ``event.x = ...``, which pydantic does not check unless it is told to."""
    return event.model_copy(update=values)


class Person(BaseModel):
    name: str


class Dog(Pet):
    barks: bool = True


CHANGED: dict[str, Callable[[], BaseModel]] = {
    "a value that validation refuses": lambda: changed(made(Annotated[int, Field(gt=0)])(id="1", x=1), x=-1),
    "a value of another type": lambda: changed(made(str)(id="1", x="a"), x=3),
    "None": lambda: changed(made(str)(id="1", x="a"), x=None),
    "a field left out": lambda: made(int).model_construct(id="1"),
    "nan": lambda: made(float)(id="1", x=float("nan")),
    "nan as a string": lambda: made(float, config=ConfigDict(ser_json_inf_nan="strings"))(id="1", x=float("nan")),
    "inf": lambda: made(float | None)(id="1", x=float("-inf")),
    "an infinite Decimal in a list": lambda: made(list[Decimal]).model_construct(id="1", x=[Decimal("nan")]),
    "a subclass": lambda: made(Pet)(id="1", x=Dog(name="rex")),
    "a subclass in a list": lambda: made(list[Pet])(id="1", x=[Pet(name="tom"), Dog(name="rex")]),
    "a tuple where anything goes": lambda: made(Any)(id="1", x=(1, 2)),
    "a date where anything goes": lambda: made(dict[str, Any])(id="1", x={"at": date(2026, 1, 1)}),
    "a union that reads it as the other": lambda: made(Pet | Person)(id="1", x=Person(name="tom")),
    "a union that reads it from the left": lambda: made(Annotated[int | str, Field(union_mode="left_to_right")])(
        id="1", x="1"
    ).model_copy(update={"x": "1"}),
    "keys that are no text": lambda: made(dict[Any, int])(id="1", x={1: 2}),
    "an offset of seconds": lambda: made(datetime)(id="1", x=datetime(1880, 1, 1, tzinfo=ZoneInfo("Europe/Berlin"))),
    "too deep": lambda: made(Any)(id="1", x=deep(300)),
    "too many digits": lambda: made(int)(id="1", x=10**4300),
    "a lone surrogate": lambda: made(str)(id="1", x="\ud800"),
    "an item that was appended": lambda: appended(),
    "an object": lambda: made(Any)(id="1", x=object()),
}


def appended() -> BaseModel:
    event = made(list[int])(id="1", x=[1])
    event.x.append("2")  # type: ignore[attr-defined]
    return event


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("name", CHANGED)
def test_an_event_that_would_not_come_back_equal_is_refused(name: str) -> None:
    with pytest.raises(AppendRejected, match=r"^e (would not come back equal|cannot be written)") as caught:
        through(CHANGED[name]())
    assert caught.value.fix or "cannot be written" in caught.value.message


def test_what_cannot_come_back_is_named_without_its_value() -> None:
    event = made(dict[str, Any])(id="1", x={"card 4111": [(4111, "4111")]})
    with pytest.raises(AppendRejected, match=r"x\[\.\.\.\]\[0\] is tuple and comes back as list") as caught:
        through(event)
    assert "4111" not in str(caught.value)


def test_a_time_of_the_hour_that_comes_twice_is_the_same_instant() -> None:
    """PEP 495: such a time equals none of another zone; for an hour a year nothing could be appended."""
    twice = datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))
    event = made(list[datetime])(id="1", x=[twice])
    (back,) = through(event).x
    assert back.astimezone(UTC) == twice.astimezone(UTC)
    assert back.utcoffset() == twice.utcoffset()


def test_plain_models_are_not_decoded_to_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JsonModel, "compare", None)
    event = made(list[Pet], note=(str | None, None), at=(datetime, NOW))(id="1", x=[Pet(name="tom")])
    assert through(event) == event


def test_a_model_whose_classes_are_defined_later_is_examined_when_it_is_first_used() -> None:
    class Early(BaseModel):
        late: Late  # type: ignore[name-defined]

    class Never(BaseModel):
        late: Missing  # type: ignore[name-defined]  # noqa: F821

    log = Log("t")
    log.event("early", key=lambda _: "k")(Early)
    log.event("never", key=lambda _: "k")(Never)
    with pytest.raises(ConfigError, match="Never names a class that is not defined"):
        Decoder(log, ["never"])

    class Late(BaseModel):
        secret: SecretStr

    Early.model_rebuild(_types_namespace={"Late": Late})
    with pytest.raises(ConfigError, match=r"Late\.secret is secret"):
        Decoder(log, ["early"])
    with pytest.raises(AppendRejected, match=r"Late\.secret is secret"):
        encode(log, Early(late=Late(secret=SecretStr("s"))), event_id="i", time=NOW)


class Grown(BaseModel):
    id: str
    made: datetime = Field(default_factory=lambda: datetime.now(UTC))
    tags: list[str] = Field(default_factory=list)


class Around(BaseModel):
    one: Grown | None = None
    many: dict[str, list[Grown]] = {}
    later: str = Field(default_factory=lambda data: str(len(data["many"])))
    alone: Pet = Field(default_factory=lambda data: Pet(name="tom"))


@pytest.mark.parametrize(
    "lacking", [b'{"one": {"id": "1"}}', b'{"many": {"a": [{"id": "1", "made": "2026-01-01T00:00:00Z"}, {"id": "2"}]}}']
)
def test_a_field_that_is_made_anew_at_each_decoding_makes_a_record_undecodable(lacking: bytes) -> None:
    found = decoded(Around, lacking)
    assert isinstance(found, Undecodable)
    assert found.found.startswith("no Grown.made, whose default_factory makes another value at each decoding")


@pytest.mark.parametrize("given", [b"{}", b'{"one": {"id": "1", "made": "2026-01-01T00:00:00Z"}}'])
def test_a_default_that_is_the_same_each_time_is_taken(given: bytes) -> None:
    found = decoded(Around, given)
    assert isinstance(found, Event)
    assert found == decoded(Around, given)


def test_new_events_hold_what_a_default_factory_made() -> None:
    event = Grown(id="1")
    assert through(event) == event
